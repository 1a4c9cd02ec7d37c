"""SGAN in the training loop: runs resume exactly in every stage, and the encoder must fit the dataset."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from test_kill import DRIVER
from torch import Tensor

from stackgan_cli.config.presets import load_config
from stackgan_cli.data.prepare import prepare
from stackgan_cli.data.sources import SourceOptions, gather
from stackgan_cli.errors import DataError, MismatchError
from stackgan_cli.objectives.inverting import InvertingObjective
from stackgan_cli.runs import Run, Weights
from stackgan_cli.training.inputs import ResolvedInputs
from stackgan_cli.training.job import Job, open_job
from stackgan_cli.training.loop import train
from stackgan_cli.training.plan import plan
from stackgan_cli.workspace import Workspace

CPU = torch.device("cpu")


def job(workspace: Workspace, name: str, *overrides: str, preset: str = "tiny-sgan") -> Job:
    inputs = ResolvedInputs(load_config(preset, [*overrides]), workspace)
    return open_job(inputs, Run.open_or_create(workspace.runs / name, inputs.config), device=CPU)


def finish(made: Job, **options: Any) -> dict[str, Tensor]:
    train(made.trainer, made.run, save_weights=made.save_weights, **options)
    return {f"{name}.{key}": value for name, module in made.trainer.objective.modules.items() for key, value in module.state_dict().items()}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace with the digits and an encoder trained on them."""
    torch.set_num_threads(1)
    workspace = Workspace(tmp_path_factory.mktemp("digits"))
    records = gather("digits", SourceOptions(workspace.root)).records
    prepare(records, workspace.cache_path_for("digits"), dataset="digits", image_size=28, crop="none", workers=1)
    finish(job(workspace, "tiny-sgan-encoder-digits", preset="tiny-sgan-encoder"))
    return workspace


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["model.variant=released", "model.networks=cifar10", "model.independent_steps=7"],
        ["model.variant=released-mnist", "model.independent_steps=0"],
        ["model.levels=[]", "model.z_dims=[8]"],
        ["model.levels=[fc3,pool2]", "model.z_dims=[8,8,8]", "train.accumulate=2"],
    ],
    ids=["paper", "released", "released-mnist", "one generator", "three levels"],
)
def test_it_resumes_exactly_in_every_stage(trained: Workspace, request: pytest.FixtureRequest, overrides: list[str]) -> None:
    name = request.node.callspec.id
    whole = finish(job(trained, f"whole {name}", *overrides))
    first = job(trained, f"first {name}", *overrides)
    for stop in (3, 7, 10, 14, 17) if not overrides else (7, 14):
        while first.trainer.step < stop:
            first.trainer.run_step()
        second = job(trained, f"stopped {name} {stop}", *overrides)
        second.run.save_state(first.trainer.state())
        again = finish(second)
        assert whole.keys() == again.keys() and all(torch.equal(whole[key], again[key]) for key in whole), stop


@pytest.mark.slow
@pytest.mark.parametrize("countdown", [2, 5, 9])
@pytest.mark.parametrize("moment", ["while-writing", "before-rename", "after-rename"])
def test_killed_in_any_stage_it_ends_with_the_same_weights(trained: Workspace, moment: str, countdown: int) -> None:
    """A state is saved every 2 steps, levels change after steps 6 and 12, and generators make 1 to 7 steps."""
    overrides = ["model.variant=released", "model.networks=cifar10", "model.independent_steps=6", "train.tick_steps=2"]

    def run(name: str, moment: str) -> int:
        words = ["train", "--preset", "tiny-sgan", *overrides, "--name", name, "--device", "cpu", "--workspace", str(trained.root)]
        command = [sys.executable, "-c", DRIVER, moment, str(countdown), *words]
        return subprocess.run(command, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=120, check=False).returncode

    def weights(name: str) -> bytes:
        return (trained.runs / name / "weights" / "latest.safetensors").read_bytes()

    assert run("undisturbed", "never") == 0
    name = f"killed {moment} {countdown}"
    assert run(name, moment) == -signal.SIGKILL
    assert run(name, "never") == 0
    assert weights(name) == weights("undisturbed")


def test_a_stage_starts_with_new_optimizers_and_the_encoder_stays_as_it_was(trained: Workspace) -> None:
    made = job(trained, "stages")
    encoder = {key: value.clone() for key, value in made.trainer.objective.modules["encoder"].state_dict().items()}
    source = Weights.open(trained.runs / "tiny-sgan-encoder-digits" / "weights" / "latest.safetensors").tensors("classifier")
    assert all(torch.equal(encoder[key], source[key]) for key in source)
    objective = made.trainer.objective
    assert isinstance(objective, InvertingObjective)
    counts = []
    while made.trainer.step < 12:
        made.trainer.run_step()
        state = made.trainer.players["g"].optimizer.state_dict()["state"]
        counts.append(int(state[0]["step"]))
    assert counts == [*range(1, 11), 1, 2]
    assert all(torch.equal(encoder[key], value) for key, value in made.trainer.objective.modules["encoder"].state_dict().items())


def test_only_the_level_in_training_changes(trained: Workspace) -> None:
    made = job(trained, "sequential", "model.schedule=sequential")
    generator = made.trainer.objective.modules["generator"]
    before = {key: value.clone() for key, value in generator.state_dict().items()}
    made.trainer.run_step()
    moved = {key.split(".")[0] for key, value in generator.state_dict().items() if not torch.equal(before[key], value)}
    assert moved == {"level0"}


def test_its_weights_name_the_labels(trained: Workspace) -> None:
    made = job(trained, "named", "train.steps=1")
    finish(made)
    weights = Weights.open(made.run.folder / "weights" / "latest.safetensors")
    assert weights.classes == tuple("0123456789")


def test_a_missing_encoder_is_planned_or_refused(trained: Workspace, tmp_path: Path) -> None:
    other = Workspace(tmp_path)
    other.caches.mkdir(parents=True)
    other.cache_path_for("digits").symlink_to(trained.cache_path_for("digits"))
    config = load_config("tiny-sgan")
    assert [item.command for item in plan(ResolvedInputs(config, other))] == ["stackgan train --preset tiny-sgan-encoder"]
    for words, error in (("requires.extractor=null", "no classifier is named"), ("requires.extractor=nothing", "does not exist")):
        with pytest.raises(MismatchError, match=error):
            ResolvedInputs(load_config("tiny-sgan", [words]), other)
    with pytest.raises(MismatchError, match="extractor 'tiny-sgan-encoder' is missing"):
        job(other, "early")


def encoder_of(workspace: Workspace, name: str, *overrides: str) -> str:
    finish(job(workspace, name, *overrides, preset="tiny-sgan-encoder"))
    return f"requires.extractor={name}"


def test_an_encoder_that_does_not_recognize_the_images_is_refused(trained: Workspace) -> None:
    word = encoder_of(trained, "untrained", "train.steps=1", "train.optim.lr=1e-9")
    with pytest.raises(MismatchError, match=r"recognizes \d+ of 100 training images of this dataset: it was trained on another one"):
        job(trained, "foreign", word)


def test_an_encoder_of_another_number_of_labels_is_refused(trained: Workspace, workspace: Workspace) -> None:
    with pytest.raises(DataError, match=r"has 40 labels \(class\), but the model has 10"):
        job(trained, "birds", f"data.cache={workspace.cache_path('demo')}", "requires.extractor=tiny-sgan-encoder-digits")


def test_images_smaller_than_the_encoder_takes_are_refused(trained: Workspace) -> None:
    small = trained.cache_path_for("small")
    prepare(gather("digits", SourceOptions(trained.root)).records, small, dataset="digits", image_size=20, crop="none", workers=1)
    with pytest.raises(DataError, match="images are 20 px"):
        job(trained, "small", "data.cache=small", "requires.extractor=tiny-sgan-encoder-digits")


def test_a_classifier_with_another_backbone_is_refused(trained: Workspace, workspace: Workspace) -> None:
    finish(job(workspace, "plain", "train.steps=2", preset="tiny-classifier"))
    with pytest.raises(MismatchError, match="only encoders with backbone 'sgan' can be inverted"):
        job(trained, "not-invertible", f"requires.extractor={workspace.runs / 'plain'}")
