"""The first losses of every `tiny-*` preset, compared with those stored in the file next to this one.

A change that is not meant to change results must not change them. They were computed on one processor; rounding differs on others, so
they are compared with a tolerance. `python tests/golden/test_first_losses.py` writes the file again.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from stackgan_cli.__main__ import main
from stackgan_cli.config.presets import load_config, preset_names

FILE = Path(__file__).with_name("first-losses.json")
PRESETS = [name for name in preset_names() if name.startswith("tiny-")]
STEPS = 3
TOLERANCES = ((5e-3, 5e-4), (0.05, 0.01), (0.05, 0.02))
"""Relative and absolute, by step: differences in rounding grow. Without AVX the smallest terms of HDGAN change by this much."""
SHORT = ["samples.rows=1", "samples.columns=1", "--device", "cpu", "--quiet"]

Losses = list[dict[str, float]]


def first_losses(preset: str, root: Path) -> Losses:
    """The losses of each of the first steps of a preset; its Stage-I, if it has one, is trained for one step."""
    config = load_config(preset)
    data = ("demo", "--count", "100", "--species", "50", "--image-size", "152") if config.data.cache == "demo" else (config.data.cache,)
    if not (root / "caches" / f"{config.data.cache}.h5").exists():
        assert main(["prepare", *data, "--workers", "1", "--quiet", "--workspace", str(root)]) == 0
    stage1 = config.requires.stage1
    if stage1 is not None:
        assert main(["train", "--preset", stage1, "train.steps=1", *SHORT, "--workspace", str(root)]) == 0
    steps = [f"train.steps={STEPS}", "train.tick_steps=1"]
    assert main(["train", "--preset", preset, "--name", "golden", *steps, *SHORT, "--workspace", str(root)]) == 0
    lines = (root / "runs" / "golden" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["losses"] for line in lines]


@pytest.mark.parametrize("preset", PRESETS)
def test_first_losses_are_those_of_the_file(preset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden = json.loads(FILE.read_text(encoding="utf-8"))
    found = first_losses(preset, tmp_path)
    assert len(found) == STEPS
    for ours, theirs, (relative, absolute) in zip(found, golden[preset], TOLERANCES, strict=True):
        assert ours == pytest.approx(theirs, rel=relative, abs=absolute)


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    written = {}
    for name in PRESETS:
        with tempfile.TemporaryDirectory() as folder:
            written[name] = first_losses(name, Path(folder))
    text = json.dumps(written, indent=1)
    (Path(sys.argv[1]) if len(sys.argv) > 1 else FILE).write_text(text + "\n", encoding="utf-8")
