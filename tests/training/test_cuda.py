"""What can only be tested on a GPU: no device sync in a step, equal batches from every residency, recorded steps, exact resume, bf16."""

from __future__ import annotations

import pytest
import torch
from test_loop import same, state_at_7
from torch import Tensor

from stackgan_cli.config.presets import load_config
from stackgan_cli.data.prepare import prepare
from stackgan_cli.data.sources import SourceOptions, gather
from stackgan_cli.runs import Run
from stackgan_cli.training import cuda_graphs as graphs
from stackgan_cli.training.inputs import ResolvedInputs
from stackgan_cli.training.job import Job, open_job
from stackgan_cli.training.loop import train
from stackgan_cli.workspace import Workspace

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]
GPU = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")

GAMES = [
    ("tiny-stage1", ["model.instance_noise=0.2", "train.ema=0.9", "train.optim.decay_every=0.2", "train.ema_snap_every=4"]),
    ("tiny-stage1", ["model.variant=pytorch", "model.wrong_pairs=shift"]),
    ("tiny-stage1", ["model.variant=tensorflow", "model.wrong_pairs=image"]),
    ("tiny-v2", ["train.ema=0.9"]),
    ("tiny-v2", ["model.wrong_pairs=batch", "model.color_weight=50"]),
    ("tiny-hdgan", []),
    ("tiny-hdgan", ["model.variant=paper"]),
    ("tiny-classifier", ["train.optim.kind=rmsprop", "train.optim.decay_every=0.5"]),
    ("tiny-encoder", []),
    ("tiny-vs", ["requires.extractor=extractor"]),
    ("tiny-stage2", ["requires.stage1=stage1"]),
    ("tiny-v2", ["model.condition=class", "model.num_classes=50"]),
]


def job(workspace: Workspace, name: str, *overrides: str, preset: str = "tiny-stage1") -> Job:
    unencoded = [] if "sgan" in preset else ["requires.text_encoder=null"]
    inputs = ResolvedInputs(load_config(preset, [*unencoded, *overrides]), workspace)
    return open_job(inputs, Run.open_or_create(workspace.runs / name, inputs.config), device=GPU)


def weights(made: Job) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value.cpu()
        for name, module in made.trainer.objective.modules.items()
        for key, value in module.state_dict().items()
    }


def finish(made: Job) -> dict[str, Tensor]:
    train(made.trainer, made.run, save_weights=made.save_weights)
    return weights(made)


def different(a: dict[str, Tensor], b: dict[str, Tensor]) -> list[str]:
    """Names of tensors that differ, with the largest difference."""
    return [f"{key}: {(a[key].float() - b[key].float()).abs().max():.2g}" for key in a if not torch.equal(a[key], b[key])]


def required(workspace: Workspace, preset: str) -> None:
    before = {"tiny-vs": "tiny-classifier", "tiny-stage2": "tiny-stage1"}.get(preset)
    if before:
        finish(job(workspace, "extractor" if preset == "tiny-vs" else "stage1", preset=before))


def steps_without_waiting(made: Job) -> None:
    for _ in range(graphs.WARM_UP + 1):
        made.trainer.run_step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(5):
            made.trainer.run_step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(torch.isfinite(torch.tensor(list(made.trainer.meters.read().values()))))


@pytest.mark.parametrize("cuda_graphs", ["auto", "off"])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize(("preset", "overrides"), GAMES)
def test_a_step_does_not_wait_for_the_device(
    workspace: Workspace, preset: str, overrides: list[str], precision: str, cuda_graphs: str
) -> None:
    required(workspace, preset)
    words = [*overrides, f"train.precision={precision}", f"train.cuda_graphs={cuda_graphs}"]
    steps_without_waiting(job(workspace, "run", *words, preset=preset))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("preset", "overrides"), GAMES)
def test_recorded_steps_are_plain_ones(workspace: Workspace, preset: str, overrides: list[str], precision: str) -> None:
    required(workspace, preset)
    words = [*overrides, f"train.precision={precision}"]
    recorded = job(workspace, "recorded", *words, preset=preset)
    assert recorded.trainer.recorder is not None
    plain, again = (finish(job(workspace, name, *words, "train.cuda_graphs=off", preset=preset)) for name in ("plain", "again"))
    assert not different(plain, again)
    assert not different(plain, finish(recorded))


def test_residencies_give_identical_batches(workspace: Workspace) -> None:
    feeds = [job(workspace, residency, f"data.residency={residency}").trainer.feed for residency in ("device", "ram", "mmap")]
    for step in range(4):
        first, *others = [feed.batch(step) for feed in feeds]
        assert first.images[32].is_cuda
        for other in others:
            assert torch.equal(first.images[32], other.images[32]) and torch.equal(first.text, other.text)  # type: ignore[arg-type]


@pytest.mark.parametrize("stop", [2, 7, 10])
@pytest.mark.parametrize(("preset", "overrides"), GAMES)
def test_resume_is_exact(workspace: Workspace, preset: str, overrides: list[str], stop: int) -> None:
    required(workspace, preset)
    whole = finish(job(workspace, "whole", *overrides, preset=preset))
    first = job(workspace, "again", *overrides, preset=preset)
    for _ in range(stop):
        first.trainer.run_step()
    first.run.save_state(first.trainer.state())
    assert not different(whole, finish(job(workspace, "again", *overrides, preset=preset)))


@pytest.mark.parametrize("kind", ["adam", "rmsprop"])
def test_a_state_of_a_cpu_continues_here(workspace: Workspace, kind: str) -> None:
    words = [f"train.optim.kind={kind}", "train.optim.decay_every=0.2"]
    state = state_at_7(job(workspace, "first", *words), of_gpu=False)
    again = job(workspace, "again", *words)
    again.run.save_state(state)
    assert not different(finish(job(workspace, "whole", *words)), finish(again))


def test_sgan_repeats_itself_and_continues(workspace: Workspace) -> None:
    records = gather("digits", SourceOptions(workspace.root)).records
    prepare(records, workspace.cache_path_for("digits"), dataset="digits", image_size=28, crop="none", workers=1)
    finish(job(workspace, "tiny-sgan-encoder-digits", preset="tiny-sgan-encoder"))
    whole = finish(job(workspace, "whole", preset="tiny-sgan"))
    first = job(workspace, "again", preset="tiny-sgan")
    for _ in range(14):
        first.trainer.run_step()
    first.run.save_state(first.trainer.state())
    assert same(whole, finish(job(workspace, "again", preset="tiny-sgan")))
