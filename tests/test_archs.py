"""Every architecture of the registry goes through the same life: a new row is tested by being there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from stackgan_cli import registry
from stackgan_cli.__main__ import main
from stackgan_cli.config.archs import CONFIGS, ImageModelConfig
from stackgan_cli.config.presets import load_config, preset_names
from stackgan_cli.registry import ARCHS, ArchSpec
from stackgan_cli.runs import Run, Weights
from stackgan_cli.training.inputs import ResolvedInputs
from stackgan_cli.training.job import open_job
from stackgan_cli.workspace import Workspace

TINY = [name for name in preset_names() if name.startswith("tiny-")]
ONE_STEP = ["train.steps=2", "train.tick_steps=1", "samples.rows=1", "samples.columns=2", "--device", "cpu"]


def presets_of(spec: ArchSpec) -> list[str]:
    """The tiny presets of an architecture."""
    return [name for name in TINY if load_config(name).model.arch == spec.name]


def test_both_tables_name_the_same_architectures() -> None:
    assert [spec.config for spec in ARCHS] == list(CONFIGS)
    assert [spec.name for spec in ARCHS] == [config.model_fields["arch"].default for config in CONFIGS]
    assert all(presets_of(spec) for spec in ARCHS), "every architecture has a tiny preset"


@pytest.mark.parametrize("spec", ARCHS, ids=lambda spec: spec.name)
def test_a_model_of_images_has_its_properties(spec: ArchSpec) -> None:
    for preset in (name for name in preset_names() if load_config(name).model.arch == spec.name):
        model = load_config(preset).model
        assert isinstance(model, ImageModelConfig) == model.GENERATES_IMAGES
        if isinstance(model, ImageModelConfig):
            assert model.conditioning in ("text", "class", "none")
            assert model.sides and all(isinstance(side, int) for side in model.sides)
            assert (model.conditioning == "text") <= (model.text_dim is not None)
            assert (model.conditioning == "class") <= (model.num_classes is not None)
            with torch.device("meta"):
                networks = spec.build(model)
            assert "generator" in networks and set(model.judged_sides) <= set(networks)


class Life:
    """One run of an architecture, through the command line."""

    def __init__(self, root: Path, preset: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.workspace, self.preset, self.capsys = Workspace(root), preset, capsys
        self.config = load_config(preset)

    def command(self, *words: str) -> tuple[int, dict[str, Any]]:
        code = main([*words, "--json", "--workspace", str(self.workspace.root)])
        out, err = self.capsys.readouterr()
        document = json.loads(out)
        assert "this is a bug" not in str(document.get("error", "")), document["error"]
        assert "Traceback" not in err
        return code, document.get("result", {})


@pytest.mark.parametrize("preset", TINY)
def test_the_life_of_a_run(preset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    life = Life(tmp_path, preset, capsys)
    cache = life.config.data.cache
    size = ["--count", "100", "--species", "50", "--image-size", "152"] if cache == "demo" else []
    assert life.command("prepare", cache, *size, "--workers", "1")[0] == 0

    code, status = life.command("train", "--preset", preset, "--name", "run", *ONE_STEP)
    assert code == 0 and status["finished"] and status["step"] == 2
    weights = Weights.open(Path(status["weights"]))
    spec = registry.find(weights.config.model.arch)
    assert weights.config.model.arch == life.config.model.arch and weights.step == 2

    # Saved after one step and continued, it has the same weights as the run that was not interrupted.
    config = load_config(preset, ["train.steps=2", "train.tick_steps=1", "samples.rows=1", "samples.columns=2"])
    inputs = ResolvedInputs(config, life.workspace)
    run = Run.open_or_create(life.workspace.runs / "resumed", inputs.config)
    job = open_job(inputs, run, device=torch.device("cpu"))
    job.trainer.run_step()
    run.save_state(job.trainer.state())
    code, status = life.command("train", "--preset", preset, "--name", "resumed", *ONE_STEP)
    assert code == 0
    assert Path(status["weights"]).read_bytes() == (life.workspace.runs / "run" / "weights" / "latest.safetensors").read_bytes()

    # It makes images, or says that it does not.
    code, sampled = life.command("sample", "--run", "run", "--count", "1", "--output", str(tmp_path / "images"), "--device", "cpu")
    if weights.config.model.GENERATES_IMAGES:
        assert code == 0 and all((tmp_path / "images" / entry["file"]).is_file() for entry in sampled["pictures"])
    else:
        assert code == 2

    # It is exported in its published layout, or refused.
    code, exported = life.command("export", "--run", "run", "--output", str(tmp_path / "published"))
    assert (code == 0 and exported["files"]) or code == 5
    assert spec.export is not None or code == 5

    code, facts = life.command("info", "run")
    assert code == 0 and facts["arch"] == spec.name and facts["finished"]
    code, dry = life.command("train", "--preset", preset, "--dry-run")
    assert code == 0 and dry["flops"] > 0 and sum(dry["parameters"].values()) > 0
    assert life.command("report", "run")[0] == 0
