"""Recorded steps without a GPU: a stand-in for a recording runs its function again, which checks inputs, noise and order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_loop import NormFree, critic_turns, finish, job, play, same, tiny

from stackgan_cli.data.prefetch import Prefetcher
from stackgan_cli.errors import MismatchError
from stackgan_cli.objectives.base import Objective
from stackgan_cli.runtime import Noise
from stackgan_cli.training import cuda_graphs as graphs
from stackgan_cli.training.cuda_graphs import KeptNoise, Recorder
from stackgan_cli.workspace import Workspace


class Rerun:
    """A launch runs the function again and overwrites the tensors that the first run returned, as on a GPU."""

    recorded = 0

    def __init__(self, function: Callable[[], Any], pool: Any) -> None:
        Rerun.recorded += 1
        self.function, self.result = function, None

    def launch(self) -> Any:
        result = self.function()
        if self.result is None:
            self.result = result
        elif isinstance(result, dict):
            self.result.update(result)
        else:
            self.result.__dict__.update(result.__dict__)
        return self.result


@pytest.mark.parametrize(
    ("preset", "overrides"),
    [
        ("tiny-stage1", ["model.instance_noise=0.2", "train.ema=0.9", "train.optim.decay_every=0.2", "train.ema_snap_every=4"]),
        ("tiny-stage1", ["model.variant=tensorflow", "model.wrong_pairs=image"]),  # new noise for the generator
        ("tiny-v2", ["train.ema=0.9"]),
        ("tiny-hdgan", []),
        ("tiny-classifier", ["train.optim.kind=rmsprop"]),
        ("tiny-encoder", []),
    ],
)
def test_recorded_steps_are_plain_ones(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, preset: str, overrides: list[str]) -> None:
    monkeypatch.setattr(graphs, "Recording", Rerun)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: 1)
    monkeypatch.setattr(Rerun, "recorded", 0)
    words = [*overrides, "train.steps=8", "train.tick_steps=4"]
    plain = finish(job(workspace, "plain", *words, preset=preset))
    made = job(workspace, "recorded", *words, preset=preset)
    made.trainer.recorder, made.trainer.batches = Recorder(), Prefetcher(made.trainer.feed)
    assert same(plain, finish(made))
    turns = made.trainer.objective.turns(0, {})
    assert Rerun.recorded == len(turns) + len({(turn.batch, turn.draw) for turn in turns})


@pytest.mark.parametrize(("critics", "recordings"), [(2, 6), (graphs.MOST_TURNS, 0)])
def test_steps_of_many_turns_are_not_recorded(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, critics: int, recordings: int) -> None:
    """Recordings keep their batches and draws."""
    monkeypatch.setattr(graphs, "Recording", Rerun)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: 1)
    monkeypatch.setattr(Rerun, "recorded", 0)
    monkeypatch.setattr(NormFree, "remember", Objective.remember)
    feed = job(workspace, "feed").trainer.feed
    plain, recorded = (play(NormFree(critic_turns(critics)), feed, tiny()) for _ in range(2))
    recorded.recorder = Recorder()
    for _ in range(graphs.WARM_UP + 2):
        plain.run_step()
        recorded.run_step()
    assert same(plain.objective.modules["net"].state_dict(), recorded.objective.modules["net"].state_dict())
    assert Rerun.recorded == recordings


def test_a_run_continues_with_or_without_recordings(workspace: Workspace) -> None:
    job(workspace, "run")
    job(workspace, "run", "train.cuda_graphs=off")
    with pytest.raises(MismatchError, match="seed: 0 -> 1"):
        job(workspace, "run", "train.cuda_graphs=off", "train.seed=1")


def test_noise_is_renewed_in_its_place() -> None:
    kept = KeptNoise(Noise("a"))
    first = [kept.normal(2, 3), kept.uniform(4), kept.truncated_normal(2, 2)]
    assert torch.equal(first[0], Noise("a").normal(2, 3))
    kept.renew(Noise("b"))
    again = [kept.normal(2, 3), kept.uniform(4), kept.truncated_normal(2, 2)]
    assert [tensor.data_ptr() for tensor in first] == [tensor.data_ptr() for tensor in again]
    fresh = Noise("b")
    for found, kind, shape in zip(again, ("normal", "uniform", "truncated_normal"), ((2, 3), (4,), (2, 2)), strict=True):
        assert torch.equal(found, getattr(fresh, kind)(*shape))


def test_another_game_is_recorded_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graphs, "Recording", Rerun)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: 1)
    monkeypatch.setattr(Rerun, "recorded", 0)
    recorder = Recorder()
    for game in "abcdefghijkl":
        for _ in range(graphs.WARM_UP + 2):
            recorder.begin(game)
            recorder.run("piece", dict)
    assert Rerun.recorded == graphs.MOST_GAMES  # and then no more
