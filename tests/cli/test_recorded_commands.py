"""Commands in sidecars make the same images again, later and from another folder; paths and patterns are read as people type them."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_verbs import VIVID, Shell, shell  # noqa: F401

from stackgan_cli.__main__ import hoist, main
from stackgan_cli.errors import UsageError
from stackgan_cli.workflows.evaluate import _matching
from stackgan_cli.workspace import Workspace


def pixels(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)) for path in sorted(folder.glob("0*.png"))]


def test_a_recorded_command_after_training_went_on(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    words = ["train", "--preset", "tiny-stage1", "--name", "half", *VIVID, "train.tick_steps=1", "train.keep_weights=2"]
    monkeypatch.chdir(shell.workspace.root)
    shell.ok("train", "--preset", "tiny-stage1", "--name", "half", *VIVID, "train.keep_weights=2")
    captions = tmp_path / "captions.txt"
    captions.write_text("- a red bird\n--json is what this bird says\na blue bird\n")
    made = shell.ok("sample", "--file", str(captions), "--run", "half", "--count", "1", "--output", str(tmp_path / "one"))
    file = Path(made["weights"])
    assert file.is_absolute() and file.name == f"step-{made['step']:08d}.safetensors" and file.is_file()
    assert made["pictures"][0]["caption"] == "- a red bird"

    latest = shell.workspace.runs / "half" / "weights" / "latest.safetensors"
    other = shell.ok("train", *words[1:3], "--name", "other", *VIVID, "train.seed=9")
    latest.unlink()
    latest.write_bytes(Path(other["weights"]).read_bytes())  # as if training had gone on
    monkeypatch.chdir(tmp_path)
    for number, entry in enumerate(made["pictures"]):
        assert main([*shlex.split(entry["command"])[1:], "--device", "cpu", "--output", str(tmp_path / f"again{number}")]) == 0
        (again,) = pixels(tmp_path / f"again{number}")
        assert (again == pixels(tmp_path / "one")[number]).all()
    shell.capsys.readouterr()

    file.unlink()
    assert main(shlex.split(made["pictures"][0]["command"])[1:]) == 2
    assert "no longer exists" in shell.capsys.readouterr().err


def test_the_encoder_that_was_given_is_recorded(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    shell.ok("train", "--preset", "tiny-stage1", *VIVID)
    encoder = next((shell.workspace.root / "encoders").glob("*.safetensors"))
    monkeypatch.chdir(encoder.parent)
    for verb, words in (
        ("sample", ["a bird", "--count", "1"]),
        ("interpolate", ["a red bird", "--noise", "--frames", "1"]),
    ):
        made = shell.ok(verb, *words, "--text-encoder", encoder.name, "--output", str(tmp_path / verb))
        command = shlex.split(made["command"] if verb == "interpolate" else made["pictures"][0]["command"])
        assert command[command.index("--text-encoder") + 1] == str(encoder)


def test_captions_after_two_dashes(shell: Shell, tmp_path: Path) -> None:  # noqa: F811
    assert hoist(["sample", "-q", "--", "--json", "-q"]) == ["-q", "sample", "--", "--json", "-q"]
    shell.ok("train", "--preset", "tiny-stage1", *VIVID)
    root = ["--workspace", str(shell.workspace.root), "--device", "cpu", "--count", "1"]
    assert main(["sample", *root, "--output", str(tmp_path / "a"), "--", "--json"]) == 0
    out, _ = shell.capsys.readouterr()
    assert not out.startswith("{"), "the caption is not an option"
    made = json.loads((tmp_path / "a" / "samples.json").read_text())
    assert made["pictures"][0]["caption"] == "--json"


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    assert main(["presets", "cp", "tiny-stage1", "~/mine.yaml"]) == 0
    assert main(["sample", "x", "--weights=~/none.safetensors"]) == 2
    assert str(tmp_path / "home" / "none.safetensors") in capsys.readouterr().err
    assert main(["sample", "x", "--output=~nobody-is-called-so/x"]) == 2
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["home", "mine.yaml"]


def test_patterns_below_folders_with_brackets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "exp[1]"
    folders = [root / "runs" / name / "weights" for name in ("a[x]", "b")]
    for folder in folders:
        folder.mkdir(parents=True)
        for name in ("step-1.safetensors", "step-2.safetensors", "latest.safetensors"):
            (folder / name).touch()
    steps = [folder / name for folder in folders for name in ("step-1.safetensors", "step-2.safetensors")]
    workspace = Workspace(root)
    assert _matching(workspace, "runs/*/weights/step-*") == steps
    assert _matching(workspace, f"{root}/runs/*/weights/*") == steps
    assert _matching(workspace, f"{root}/runs/a[x]/weights/step-[2]*") == [steps[1]]
    assert _matching(workspace, str(folders[0] / "latest.safetensors")) == [folders[0] / "latest.safetensors"]
    monkeypatch.chdir(root / "runs")
    assert _matching(Workspace(tmp_path), "b/weights/step-*") == steps[2:]
    with pytest.raises(UsageError):
        _matching(workspace, "runs/[ab]/weights/none*")
