"""The package as a library: the example in the README, without the command line."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import stackgan_cli as sg
from stackgan_cli.cli.app import app

README = Path(__file__).resolve().parents[1] / "README.md"


def example() -> str:
    """The Python example in the README, with the smallest preset and dataset."""
    found = re.search(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    code = found[1]
    for shown, tiny in (
        ('sg.prepare("demo", workspace=ws)', 'sg.prepare("demo", workspace=ws, count=100, species=50, image_size=76, workers=1)'),
        ('"demo-stage2"', '"tiny-stage2"'),
        ("images[128]", "images[64]"),
        ('metrics=["fid"], workspace=ws)', 'metrics=["fid"], workspace=ws, extractor="classifier:tiny-classifier-demo", count=20)'),
    ):
        assert shown in code, f"the README no longer shows {shown}"
        code = code.replace(shown, tiny)
    return code


PROGRAM = """
import os, sys
import torch
torch.set_num_threads(1)
os.chdir(sys.argv[1])
space = {}
code = sys.argv[2]
train = "run = sg.train("
exec(code[: code.index(train)], space)
space["sg"].train("tiny-classifier", workspace=space["ws"], device="cpu")
exec(code[code.index(train) :], space)
assert space["images"][64].shape == (1, 64, 64, 3), space["images"].keys()
assert space["fid"]["fid"].value > 0
loaded = [name for name in sys.modules if name.startswith("stackgan_cli.cli")] + [name for name in ("typer", "rich") if name in sys.modules]
assert not loaded, loaded
"""


def test_the_example_of_the_readme(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(tmp_path), example()], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(1, 64, 64, 3) ") and done.stdout.count("\n") == 1 and "note" not in done.stderr  # silent by default


def test_public_names_are_imported_when_they_are_used() -> None:
    code = "import sys, stackgan_cli as sg; assert 'torch' not in sys.modules; sg.Workspace; assert set(sg.__all__) <= set(dir(sg))"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert all(callable(getattr(sg, name)) and getattr(sg, name).__doc__ for name in sg.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = sg.nonsense


VERBS = {"import": "import_weights", "export": "export_weights", "rank-study": "make_rank_study", "presets": ""}
"""Subcommands whose functions have different names; `presets` is in `config.presets`."""


def test_every_subcommand_has_its_function() -> None:
    named = [command.name or "" for command in app.registered_commands] + [group.name or "" for group in app.registered_groups]
    for name in named:
        function = VERBS.get(name, name.replace("-", "_"))
        assert not function or function in sg.__all__, name


def test_a_workflow_tells_its_reporter(tmp_path: Path) -> None:
    class Listener(sg.Reporter):
        def __init__(self) -> None:
            self.said: list[str] = []

        def say(self, text: str) -> None:
            self.said.append(text)

    listener, workspace = Listener(), sg.Workspace(tmp_path)
    made = sg.prepare("digits", workspace=workspace, workers=1, reporter=listener)
    assert made["path"] == str(workspace.cache_path_for("digits"))
    run = sg.train("tiny-sgan", ["train.steps=2", "model.independent_steps=1"], workspace=workspace, device="cpu", reporter=listener)
    assert run.status()["finished"] and any("needs, first" in line for line in listener.said)
    images = sg.Sampler.load(run).sample(None, seeds=[0, 1], labels=[3, 4])
    assert images[28].dtype == np.uint8 and images[28].shape == (2, 28, 28, 3)
