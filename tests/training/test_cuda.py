"""What only a GPU can show: no device sync inside a step, the same batches from every residency, exact resume, bf16."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_loop import same

from stackgan_cli.config.presets import load_config
from stackgan_cli.runs import Run, Workspace
from stackgan_cli.training.loop import train
from stackgan_cli.training.setup import Job, open_job

pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]
GPU = torch.device("cuda")


def job(workspace: Workspace, name: str, *overrides: str) -> Job:
    config = load_config("tiny-stage1", ["requires.text_encoder=null", *overrides])
    return open_job(config, Run.open_or_create(workspace.runs / name, config), workspace, device=GPU)


def weights(made: Job) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{key}": value.cpu()
        for name, module in made.trainer.objective.modules.items()
        for key, value in module.state_dict().items()
    }


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
@pytest.mark.parametrize("variant", ["paper", "pytorch", "tensorflow"])
def test_a_step_does_not_wait_for_the_device(workspace: Workspace, variant: str, precision: str) -> None:
    pairs = {"paper": "text", "pytorch": "shift", "tensorflow": "image"}[variant]
    words = [f"model.variant={variant}", f"model.wrong_pairs={pairs}", f"train.precision={precision}", "train.ema=0.9"]
    trainer = job(workspace, f"{variant}-{precision}", *words).trainer
    for _ in range(3):
        trainer.run_step()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(5):
            trainer.run_step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert all(torch.isfinite(torch.tensor(list(trainer.meters.read().values()))))


def test_residencies_give_identical_batches(workspace: Workspace) -> None:
    feeds = [job(workspace, residency, f"data.residency={residency}").trainer.feed for residency in ("device", "ram", "mmap")]
    for step in range(4):
        first, *others = [feed.batch(step) for feed in feeds]
        assert first.images[32].is_cuda
        for other in others:
            assert torch.equal(first.images[32], other.images[32]) and torch.equal(first.text, other.text)  # type: ignore[arg-type]


def test_resume_is_exact(workspace: Workspace, tmp_path: Path) -> None:
    whole = job(workspace, "whole")
    train(whole.trainer, whole.run, save_weights=whole.save_weights)
    first = job(workspace, "again")
    for _ in range(7):
        first.trainer.run_step()
    first.run.save_state(first.trainer.state())
    again = job(workspace, "again")
    train(again.trainer, again.run, save_weights=again.save_weights)
    assert same(weights(whole), weights(again))
