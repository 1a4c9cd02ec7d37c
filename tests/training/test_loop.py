"""The training loop: resuming, splitting a batch, averages, schedules, divergence."""

from __future__ import annotations

import math
import weakref
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stackgan_cli.config.presets import load_config
from stackgan_cli.config.schema import OptimConfig, RunConfig, TrainConfig
from stackgan_cli.data.cache import Cache
from stackgan_cli.data.caption_vectors import CaptionVectors
from stackgan_cli.data.demo_birds import demo_records
from stackgan_cli.data.feed import Feed
from stackgan_cli.data.prefetch import Prefetcher
from stackgan_cli.data.prepare import prepare
from stackgan_cli.errors import DataError, Diverged, MismatchError
from stackgan_cli.objectives.base import Batch, Needs, Noise, Objective, Phase, Turn
from stackgan_cli.runs import Run
from stackgan_cli.training.inputs import ResolvedInputs
from stackgan_cli.training.job import Job, open_job
from stackgan_cli.training.loop import Progress, Trainer, log_interval, total_steps, train
from stackgan_cli.training.optim import MovingAverage, base_rate, decay_at
from stackgan_cli.viz.report import loss_series
from stackgan_cli.workspace import Workspace

CPU = torch.device("cpu")


def job(workspace: Workspace, name: str = "run", *overrides: str, preset: str = "tiny-stage1") -> Job:
    return opened(load_config(preset, ["requires.text_encoder=null", *overrides]), workspace, name)


def opened(config: RunConfig, workspace: Workspace, name: str) -> Job:
    inputs = ResolvedInputs(config, workspace)
    return open_job(inputs, Run.open_or_create(workspace.runs / name, inputs.config), device=CPU)


def finish(made: Job, **options: Any) -> dict[str, Tensor]:
    train(made.trainer, made.run, save_weights=made.save_weights, **options)
    return {f"{name}.{key}": value for name, module in made.trainer.objective.modules.items() for key, value in module.state_dict().items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_stopping_anywhere_and_continuing_gives_the_same_bits(workspace: Workspace) -> None:
    whole = finish(job(workspace, "whole", "train.ema=0.9"))
    first = job(workspace, "first", "train.ema=0.9")
    for stop in (1, 7, 10, 19):
        while first.trainer.step < stop:
            first.trainer.run_step()
        again = job(workspace, f"stopped-{stop}", "train.ema=0.9")
        again.run.save_state(first.trainer.state())
        assert same(whole, finish(again))
    averages = [Run(workspace.runs / name).latest_weights() for name in ("whole", "stopped-7")]
    assert averages[0].read_bytes() == averages[1].read_bytes()  # type: ignore[union-attr]


def state_at_7(first: Job, *, of_gpu: bool) -> dict[str, Any]:
    """The state as another kind of device saves it: on a GPU optimizers keep the rate in a tensor, and a flag that allows recording."""
    for _ in range(7):
        first.trainer.run_step()
    state = first.trainer.state()
    for optimizer in state["optimizers"].values():
        for group in optimizer["param_groups"]:
            rate = float(group["lr"])
            group |= {"lr": torch.tensor(rate) if of_gpu else rate, "capturable": of_gpu}
    return state


@pytest.mark.parametrize("kind", ["adam", "rmsprop"])
def test_a_state_of_a_gpu_continues_here(workspace: Workspace, kind: str) -> None:
    words = [f"train.optim.kind={kind}", "train.optim.decay_every=0.2"]
    state = state_at_7(job(workspace, "first", *words), of_gpu=True)
    again = job(workspace, "again", *words)
    again.run.save_state(state)
    assert same(finish(job(workspace, "whole", *words)), finish(again))
    groups = [group for player in again.trainer.players.values() for group in player.optimizer.param_groups]
    assert all(isinstance(group["lr"], float) and not group["capturable"] for group in groups)


@pytest.mark.parametrize(
    ("preset", "overrides"),
    [
        ("tiny-stage1", ["model.instance_noise=0.2", "train.accumulate=2"]),
        ("tiny-v2", ["model.wrong_pairs=batch", "train.ema_snap_every=4"]),
        ("tiny-v2", ["model.condition=none", "model.wrong_pairs=none", "model.color_weight=50"]),
        ("tiny-hdgan", []),
        ("tiny-hdgan", ["model.variant=paper", "train.ema=0.9"]),
        ("tiny-classifier", ["train.ema=0.9"]),
        ("tiny-vs", ["requires.extractor=extractor"]),
    ],
)
def test_other_models_continue_to_the_same_bits(workspace: Workspace, preset: str, overrides: list[str]) -> None:
    if preset == "tiny-vs":
        finish(job(workspace, "extractor", preset="tiny-classifier"))
    whole = finish(job(workspace, "whole", *overrides, preset=preset))
    first = job(workspace, "stopped", *overrides, preset=preset)
    while first.trainer.step < 7:
        first.trainer.run_step()
    first.run.save_state(first.trainer.state())
    assert same(whole, finish(job(workspace, "stopped", *overrides, preset=preset)))


def test_stage2_of_hdgan_does_not_change_the_frozen_generator(workspace: Workspace) -> None:
    """In 50 steps the 64-px generator does not change at all, buffers included, and the reconstruction gets closer to its images."""
    finish(job(workspace, "base", "train.steps=2", preset="tiny-hdgan"))
    config = load_config(
        "tiny-hdgan-stage2",
        [
            "requires.text_encoder=null",
            "requires.stage1=base",
            "train.steps=50",
            "train.optim.lr=2e-3",
            "model.reconstruction_weight=20",
            "data.cache=large",
        ],
    )
    prepare(demo_records(100, 50, image_size=152), workspace.cache_path_for("large"), dataset="demo", image_size=152, workers=1)
    cache, vectors = Cache.open(workspace.cache_path("large")), CaptionVectors.find(workspace.cache_path("demo"))[0]
    found = CaptionVectors.open(vectors, Cache.open(workspace.cache_path("demo")))
    CaptionVectors.write(cache, np.asarray(found.vectors), found.encoder, found.encoder_hash)
    made = opened(config, workspace, "continued")
    frozen = made.trainer.objective.modules["generator"].earlier_stage
    assert isinstance(frozen, nn.Module)
    before = {key: value.clone() for key, value in frozen.state_dict().items()}
    finish(made)
    assert same(before, frozen.state_dict())
    losses = [line["losses"]["g/reconstruction"] for line in made.run.log_lines()]
    assert losses[-1] < 0.95 * losses[0]


def test_snapping_sets_the_weights_to_their_average() -> None:
    live = nn.Linear(3, 3)
    average = MovingAverage(live, 0.9)
    with torch.no_grad():
        live.weight.add_(1.0)
    average.update()
    average.snap()
    assert torch.equal(live.weight, average.module.weight)  # type: ignore[arg-type]


def test_a_class_conditional_model_needs_labels_that_it_knows(workspace: Workspace) -> None:
    with pytest.raises(DataError, match=r"has 50 classes, but the model has 7"):
        job(workspace, "few", "model.condition=class", "model.num_classes=7", preset="tiny-v2")


def test_the_log_is_rewound_with_the_state(workspace: Workspace) -> None:
    made = job(workspace, "run", "train.log_steps=10")
    finish(made, stop_after=0.0)
    made.run.append_log({"step": 15, "total_steps": 20})
    finish(job(workspace, "run", "train.log_steps=10"))
    assert [line["step"] for line in made.run.log_lines()] == [1, 10, 20]


def test_residencies_train_to_the_same_bits(workspace: Workspace) -> None:
    results = [finish(job(workspace, residency, f"data.residency={residency}")) for residency in ("device", "ram", "mmap")]
    assert same(results[0], results[1]) and same(results[0], results[2])


def test_accumulated_gradients_are_those_of_the_whole_batch(workspace: Workspace) -> None:
    """Without batch statistics a split batch has the gradients of the whole one, noise and captions included."""
    nets = []
    for parts in (1, 4):
        trainer = Trainer(NormFree(), job(workspace, f"feed-{parts}").trainer.feed, tiny(accumulate=parts), device=CPU)
        for _ in range(3):
            trainer.run_step()
        nets.append(trainer.objective.modules["net"].state_dict())
    for key in nets[0]:
        torch.testing.assert_close(nets[0][key], nets[1][key], rtol=1e-5, atol=1e-6)


def test_stage2_leaves_stage1_alone_and_runs_are_complete(workspace: Workspace) -> None:
    finish(job(workspace, "tiny-stage1-demo"))
    config = load_config("tiny-stage2", ["requires.text_encoder=null", "requires.stage1=tiny-stage1-demo"])
    made = opened(config, workspace, "two")
    before = {key: value.clone() for key, value in made.trainer.objective.modules["generator"].STAGE1_G.named_parameters()}  # type: ignore[union-attr,operator]
    finish(made)
    after = dict(made.trainer.objective.modules["generator"].STAGE1_G.named_parameters())  # type: ignore[union-attr,operator]
    assert all(torch.equal(before[key], after[key]) for key in before)


def test_another_configuration_or_cache_is_refused(workspace: Workspace) -> None:
    job(workspace, "run")
    with pytest.raises(MismatchError, match=r"train\.seed"):
        job(workspace, "run", "train.seed=1")
    (workspace.runs / "run" / "inputs.json").write_text('{"cache": "another"}')
    with pytest.raises(MismatchError, match="another cache"):
        job(workspace, "run")


def test_a_non_finite_loss_stops_and_keeps_the_last_good_state(workspace: Workspace) -> None:
    made = job(workspace)
    trainer = made.trainer

    def poisoned(phase: Phase[Any], draw: Any) -> dict[str, Tensor]:
        losses = phase.loss(draw)
        return {name: value * (math.nan if trainer.step >= 12 else 1.0) for name, value in losses.items()}

    phases = trainer.objective.phases
    trainer.objective.phases = tuple(replace(phase, loss=partial(poisoned, phase)) for phase in phases)
    with pytest.raises(Diverged):
        finish(made)
    state = made.run.load_state()
    assert state is not None and state["step"] == 10
    assert all(torch.isfinite(value).all() for value in state["modules"]["generator"].values())


def test_learning_rates_follow_the_schedule() -> None:
    halved = OptimConfig(lr=2e-4, decay_every=100)
    assert [decay_at(epoch, halved) for epoch in (0, 99.9, 100, 250, 599)] == [1, 1, 0.5, 0.25, 1 / 32]
    late = OptimConfig(decay_every=100, decay_after=600)
    assert [decay_at(epoch, late) for epoch in (650, 700)] == [1, 0.5]
    assert decay_at(1e6, OptimConfig()) == 1


def test_moving_average_is_the_recursion() -> None:
    live = nn.BatchNorm1d(3)
    average = MovingAverage(live, 0.9)
    expected = live.weight.detach().double()
    for _ in range(5):
        with torch.no_grad():
            live.weight.add_(torch.randn(3))
        average.update()
        expected = 0.9 * expected + 0.1 * live.weight.detach().double()
    torch.testing.assert_close(average.module.weight.double(), expected, rtol=1e-5, atol=1e-6)  # type: ignore[arg-type,operator]


def test_the_average_has_statistics_of_its_own_and_the_live_weights_keep_theirs() -> None:
    torch.manual_seed(0)
    live = nn.Sequential(nn.Linear(4, 3, bias=False), nn.BatchNorm1d(3, momentum=0.3))
    frozen = nn.BatchNorm1d(4).eval()
    net = nn.Sequential(frozen, live)
    average = MovingAverage(net, 0.5)
    with torch.no_grad():
        live[0].weight.mul_(3)  # type: ignore[operator,union-attr]
    average.update()
    net(torch.randn(8, 4))
    before = {key: value.clone() for key, value in net.state_dict().items()}
    batches = [torch.randn(16, 4) for _ in range(3)]
    average.settle(lambda: [net(batch) for batch in batches] and None)
    assert same(before, net.state_dict()) and live[1].momentum == 0.3
    reached = [average.module[1][0](frozen(batch)) for batch in batches]  # type: ignore[index,operator]
    norm = average.module[1][1]  # type: ignore[index]
    torch.testing.assert_close(norm.running_mean, torch.stack([h.mean(0) for h in reached]).mean(0))  # type: ignore[union-attr]
    torch.testing.assert_close(norm.running_var, torch.stack([h.var(0) for h in reached]).mean(0))  # type: ignore[union-attr]
    assert torch.equal(average.module[0].running_mean, frozen.running_mean)  # type: ignore[index,union-attr,arg-type]

    def broken() -> None:
        net(batches[0])
        raise MemoryError

    with pytest.raises(MemoryError):
        average.settle(broken)
    assert same(before, net.state_dict()) and live[1].momentum == 0.3


def test_length_of_a_run() -> None:
    assert total_steps(TrainConfig(epochs=600, batch_size=64), 8855) == math.ceil(600 * 8855 / 64)
    assert total_steps(TrainConfig(steps=5), 10) == 5


# -- turns: objectives of other shapes than StackGAN's -------------------------------------------------------------------------


def tiny(**options: Any) -> TrainConfig:
    return TrainConfig(**{"steps": 8, "batch_size": 8, "tick_steps": 4, "precision": "fp32", **options})


@dataclass
class Pixels:
    """Four pixels per image, real and generated."""

    real: Tensor
    fake: Tensor
    batch: Batch


class NormFree(Objective[Pixels]):
    """A generator of four pixels and a critic, without normalization; turns are given by `plan`."""

    def __init__(self, plan: tuple[Turn, ...] = (Turn("d"), Turn("g")), dropout: float = 0.0) -> None:
        torch.manual_seed(0)
        self.generator = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 12))
        self.critic = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 1))
        self.modules = {"net": nn.ModuleList([self.generator, self.critic])}
        self.phases = (
            Phase("d", "discriminator", (self.critic,), self.critic_loss),
            Phase("g", "generator", (self.generator,), self.generator_loss),
        )
        self.needs = Needs(images=(32,))
        self.plan = plan
        self.batches_per_step = len({turn.batch for turn in plan})
        self.forwards = 0

    def turns(self, step: int, memory: Any) -> tuple[Turn, ...]:
        return self.plan + (Turn("g", draw=9),) * int(memory.get("extra", 0))

    def draw(self, batch: Batch, noise: Noise) -> Pixels:
        self.forwards += 1
        real = torch.nn.functional.adaptive_avg_pool2d(batch.images[32], 2).flatten(1)
        return Pixels(real, self.generator(noise.normal(batch.size, 6)), batch)

    def critic_loss(self, draw: Pixels) -> dict[str, Tensor]:
        return {"total": (self.critic(draw.fake.detach()) - self.critic(draw.real)).mean()}

    def generator_loss(self, draw: Pixels) -> dict[str, Tensor]:
        return {"total": -self.critic(draw.fake).mean()}

    def remember(self, step: int, seen: Any) -> dict[str, float]:
        return {"extra": float(seen["d"].item() < 0)}


def play(objective: NormFree, feed: Feed, config: TrainConfig) -> Trainer:
    """A trainer, with a feed that gives as many batches per step as the objective asks for."""
    feed.batches_per_step = objective.batches_per_step
    return Trainer(objective, feed, config, device=CPU)


def critic_turns(count: int) -> tuple[Turn, ...]:
    """`count` turns of the critic and one of the generator, each with its own batch (WGAN)."""
    return (*(Turn("d", batch=number) for number in range(count)), Turn("g", batch=count))


@dataclass
class Shape:
    plan: tuple[Turn, ...]
    forwards: int


@pytest.mark.parametrize(
    "shape",
    [
        Shape((Turn("d"), Turn("g")), 1),
        Shape((Turn("d"), Turn("g", draw=1)), 2),
        Shape(critic_turns(5), 6),
        Shape((Turn("d"), Turn("g"), Turn("g", draw=1)), 2),
    ],
    ids=["shared", "fresh-noise", "wgan", "tac-gan"],
)
def test_turns_share_draws_and_resume_exactly(workspace: Workspace, shape: Shape) -> None:
    feed = job(workspace, "feed").trainer.feed

    def trainer() -> Trainer:
        return play(NormFree(shape.plan, dropout=0.3), feed, tiny(optim={"decay_every": 0.25}))

    whole, first = trainer(), trainer()
    whole.run_step()
    assert whole.objective.forwards == shape.forwards  # type: ignore[attr-defined]
    for _ in range(5):
        whole.run_step()
    for _ in range(3):
        first.run_step()
    state, second = first.state(), trainer()
    second.load(state)
    for _ in range(3):
        second.run_step()
    assert same(whole.objective.modules["net"].state_dict(), second.objective.modules["net"].state_dict())
    assert second.epoch == whole.epoch == 6 * whole.objective.batches_per_step * 4 / 80


def test_only_the_moving_phase_gets_gradients(workspace: Workspace) -> None:
    objective = NormFree((Turn("d"),))
    trainer = Trainer(objective, job(workspace, "feed").trainer.feed, tiny(), device=CPU)
    trainer.run_step()
    assert all(param.grad is None for param in objective.generator.parameters())


class Watched(NormFree):
    """Counts the draws and the batches that are alive whenever a new draw is made."""

    def __init__(self, plan: tuple[Turn, ...]) -> None:
        super().__init__(plan)
        self.draws: list[weakref.ref[Pixels]] = []
        self.batches: list[weakref.ref[Batch]] = []
        self.alive: list[tuple[int, int]] = []

    def draw(self, batch: Batch, noise: Noise) -> Pixels:
        made = super().draw(batch, noise)
        self.draws.append(weakref.ref(made))
        if all(known() is not batch for known in self.batches):
            self.batches.append(weakref.ref(batch))
        self.alive.append((self.living(self.draws), self.living(self.batches)))
        return made

    @staticmethod
    def living(references: list[Any]) -> int:
        return sum(reference() is not None for reference in references)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_draws_and_batches_are_dropped_after_their_last_turn(workspace: Workspace, accumulate: int) -> None:
    """Of a hundred batches one is in memory at a time; batch 0, which the generator uses again, is kept to the end."""
    feed = job(workspace, "feed").trainer.feed
    trainer = play(Watched(critic_turns(100)), feed, tiny(accumulate=accumulate))
    trainer.batches = Prefetcher(feed)
    trainer.run_step()
    watched = trainer.objective
    assert isinstance(watched, Watched)
    assert len(watched.alive) == 101 * accumulate and set(watched.alive) == {(1, 1)}
    assert watched.living(watched.draws) == watched.living(watched.batches) == 0

    plan = (Turn("d"), Turn("d", batch=1), Turn("d", batch=2), Turn("g"), Turn("g", draw=1))
    trainer = Trainer(Watched(plan), feed, tiny(), device=CPU)
    trainer.run_step()
    assert trainer.objective.alive == [(1, 1), (2, 2), (2, 2), (1, 1)]  # type: ignore[attr-defined]


def test_an_objective_remembers_means_over_turns(workspace: Workspace) -> None:
    """`remember` gets the same losses of a step as the log."""

    class Remembering(NormFree):
        def remember(self, step: int, seen: Any) -> dict[str, float]:
            return {name: float(value) for name, value in seen.items()}

    for accumulate in (1, 2):
        feed = job(workspace, "feed").trainer.feed
        trainer = play(Remembering(critic_turns(5)), feed, tiny(accumulate=accumulate))
        trainer.run_step()
        assert trainer.memory == pytest.approx(trainer.meters.read(), rel=1e-5)


def test_epochs_and_speed_count_every_batch(workspace: Workspace) -> None:
    """80 images in batches of 4: six batches per step make 0.3 epochs."""
    made = job(workspace, "run")
    seen: list[Progress] = []
    made.trainer = play(NormFree(critic_turns(5)), made.trainer.feed, tiny(steps=None, epochs=1.5))
    train(made.trainer, made.run, save_weights=lambda trainer: None, on_log=seen.append)
    assert total_steps(tiny(steps=None, epochs=1.5), 80, 4, batches_per_step=6) == 5
    assert [progress.step for progress in seen] == [1, 2, 3, 4, 5]
    assert [progress.epoch for progress in seen] == pytest.approx([0.3, 0.6, 0.9, 1.2, 1.5])
    seconds_per_step = [6 * 4 / progress.images_per_second for progress in seen]
    left = [seconds * (5 - progress.step) for seconds, progress in zip(seconds_per_step, seen, strict=True)]
    assert [progress.seconds_left for progress in seen] == pytest.approx(left)


def test_a_state_without_a_count_of_batches_has_one_per_step(workspace: Workspace) -> None:
    feed = job(workspace, "feed").trainer.feed
    first, second = (Trainer(NormFree(), feed, tiny(), device=CPU) for _ in range(2))
    for _ in range(3):
        first.run_step()
    state = first.state()
    del state["batches"]
    second.load(state)
    assert second.epoch == first.epoch == 0.15


def test_weights_are_clipped_after_the_step_and_before_they_are_averaged(workspace: Workspace) -> None:
    objective = NormFree()
    params = list(objective.generator.parameters())

    def clip() -> None:
        torch._foreach_clamp_min_(params, -0.01)
        torch._foreach_clamp_max_(params, 0.01)

    d, g = objective.phases
    objective.phases = (d, replace(g, after_step=clip, ema=objective.modules["net"]))
    trainer = Trainer(objective, job(workspace, "feed").trainer.feed, tiny(ema=1e-9), device=CPU)
    trainer.run_step()
    average = trainer.players["g"].average
    assert average is not None and any(param.abs().max() > 0.011 for param in objective.critic.parameters())
    for param, mean in zip(params, average.module.parameters(), strict=False):
        assert param.abs().max() <= 0.01 and mean.abs().max() <= 0.01001


def test_learning_rates_and_gradients_through_the_draw_go_by_role() -> None:
    config, loss = OptimConfig(lr=1e-3, lr_discriminator=4e-3), NormFree().critic_loss
    roles: list[Any] = ["discriminator", "generator", "encoder"]
    phases = [Phase("x", role, (), loss) for role in roles]
    assert [base_rate(phase, config) for phase in phases] == [4e-3, 1e-3, 1e-3]
    assert [base_rate(phase, OptimConfig(lr=1e-3)) for phase in phases] == [1e-3] * 3
    assert [phase.through_draw for phase in phases] == [False, True, True]


# -- the log -------------------------------------------------------------------------------------------------------------------


def test_intervals_of_the_log() -> None:
    assert [log_interval(TrainConfig(steps=5), steps) for steps in (1, 199, 200, 399, 400, 20_000, 10**6)] == [1, 1, 1, 1, 2, 100, 100]
    assert log_interval(TrainConfig(steps=5, tick_steps=7), 20_000) == 7
    assert log_interval(TrainConfig(steps=5, log_steps=30), 10) == 30
    assert log_interval(TrainConfig(steps=5, log_steps=30, tick_steps=20), 10) == 20


def test_losses_are_logged_between_ticks(workspace: Workspace) -> None:
    """Every line is the mean since the previous line, every tick has a line, and even the report of a short run has curves."""
    ticks: list[int] = []
    made = job(workspace, "each")
    finish(made, on_tick=lambda trainer, progress: ticks.append(progress.step))
    lines = made.run.log_lines()
    assert [line["step"] for line in lines] == list(range(1, 21)) and ticks == [10, 20]
    assert {len(series.xs) for chart in loss_series(lines).values() for series in chart} == {20}

    thinner = job(workspace, "fourth", "train.log_steps=4")
    finish(thinner)
    steps = [line["step"] for line in thinner.run.log_lines()]
    assert steps == [4, 8, 10, 12, 16, 20]
    for first, last, line in zip([0, *steps], steps, thinner.run.log_lines(), strict=False):
        for name, value in line["losses"].items():
            assert value == pytest.approx(sum(each["losses"][name] for each in lines[first:last]) / (last - first), rel=1e-4, abs=1e-6)
    assert same(*(dict(made_.trainer.objective.modules["generator"].state_dict()) for made_ in (made, thinner)))


def losses_of(run: Run) -> list[dict[str, Any]]:
    return [{key: line[key] for key in ("step", "total_steps", "epoch", "losses")} for line in run.log_lines()]


@pytest.mark.parametrize("cut", [10, 13])
def test_a_run_that_was_killed_has_the_log_of_an_undisturbed_one(workspace: Workspace, cut: int) -> None:
    """Killed between the state at step 10 and its line in the log, or a few lines later."""
    whole = job(workspace, "whole")
    finish(whole)
    made = job(workspace, "killed")

    def die(trainer: Trainer) -> None:
        raise KeyboardInterrupt

    append = made.run.append_log
    made.run.append_log = lambda line: die(made.trainer) if line["step"] == cut else append(line)  # type: ignore[method-assign,func-returns-value]
    with pytest.raises(KeyboardInterrupt):
        finish(made)
    assert made.run.log_lines()[-1]["step"] == cut - 1
    again = job(workspace, "killed")
    finish(again)
    assert losses_of(again.run) == losses_of(whole.run)


def test_a_run_of_an_earlier_version_continues_with_any_interval(workspace: Workspace) -> None:
    """Its `config.yaml` lacks the key, and its log has a line per tick."""
    made = job(workspace, "run")
    path = made.run.folder / "config.yaml"
    text = path.read_text()
    assert "  log_steps: null\n" in text
    path.write_text(text.replace("  log_steps: null\n", ""))
    finish(job(workspace, "run", "train.log_steps=10"), stop_after=0.0)
    finish(job(workspace, "run", "train.log_steps=5"))
    assert [line["step"] for line in made.run.log_lines()] == [1, 5, 10, 15, 20]
    assert made.run.status()["finished"]
