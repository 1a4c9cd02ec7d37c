"""`stackgan interpolate` on every kind of model, at the smallest size, through the real `main()`."""

from __future__ import annotations

import importlib.util
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_verbs import QUICK, VIVID, Shell, shell  # noqa: F401

from stackgan_cli.viz.grids import GAP


def picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def last_row(path: Path, side: int, columns: int) -> list[np.ndarray]:
    """The images of the lowest row of a grid."""
    page = picture(path)[-side:]
    return [page[:, column * (side + GAP) : column * (side + GAP) + side] for column in range(columns)]


def test_a_walk_between_captions_and_back(shell: Shell, tmp_path: Path) -> None:  # noqa: F811
    shell.ok("train", "--preset", "tiny-stage1", *VIVID)
    made = shell.ok("interpolate", "a red bird", "a blue bird", "--steps", "5", "--frames", "4", "--seed", "3")
    folder = shell.workspace.runs / "tiny-stage1-demo" / "interpolate"
    assert Path(made["folder"]) == folder and made["files"] == ["strip.png", "walk.gif"]
    first, *_, last = last_row(folder / "strip.png", 32, 5)
    for caption, image in (("a red bird", first), ("a blue bird", last)):
        shell.ok("sample", caption, "--count", "1", "--seed", "3", "--no-grid", "--output", str(tmp_path / caption))
        assert (picture(next((tmp_path / caption).glob("*.png"))) == image).all(), "the ends are what sample draws"
    with Image.open(folder / "walk.gif") as gif:
        assert gif.info["loop"] == 0 and gif.size == (192, 192)
        assert gif.n_frames <= 8  # type: ignore[attr-defined]

    before = picture(folder / "strip.png")
    assert json.loads((folder / "strip.json").read_text())["command"] == made["command"]
    shell.ok(*shlex.split(made["command"])[1:], "--output", str(tmp_path / "again"))
    assert (picture(tmp_path / "again" / "strip.png") == before).all()

    three = shell.ok("interpolate", "a red bird", "a blue bird", "a bird", "--steps", "3", "--frames", "1", "--zero-noise")
    assert three["files"] == ["strip.png", "grid.png", "walk.gif"]
    assert picture(folder / "grid.png").shape[0] > picture(folder / "strip.png").shape[0] > before.shape[0]
    assert shell.ok("interpolate", "--frames", "1")["mode"] == "captions"


def test_grids_of_noise(shell: Shell) -> None:  # noqa: F811
    shell.ok("train", "--preset", "tiny-stage2", *QUICK)
    shell.ok("train", "--preset", "tiny-hdgan", *VIVID)
    for run in ("tiny-stage2-demo", "tiny-hdgan-demo"):
        folder = shell.workspace.runs / run / "interpolate"
        shell.ok("interpolate", "a bird", "--run", run, "--noise-grid", "2x3")
        assert picture(folder / "noise-grid.png").shape[1] == 240 and (folder / "noise-grid.json").exists()
        shell.ok("interpolate", "a bird", "a red bird", "--run", run, "--ca-only", "--steps", "4")
        images = last_row(folder / "conditioning.png", 64, 4)
        assert run != "tiny-hdgan-demo" or not (images[0] == images[1]).all()
        assert shell.ok("interpolate", "a bird", "--run", run, "--noise", "--frames", "1", "--steps", "2")["mode"] == "noise"


def test_models_without_captions(shell: Shell) -> None:  # noqa: F811
    words = ["model.wrong_pairs=none", "requires.text_encoder=null", *QUICK]
    shell.ok("train", "--preset", "tiny-v2", "model.condition=none", *words, "--name", "free")
    free = ["interpolate", "--run", "free", "--frames", "1", "--steps", "2"]
    assert shell.ok(*free)["files"] == ["strip.png", "grid.png", "walk.gif"]
    assert "takes no captions" in shell.fails(*free, "a bird", "a red bird")[1]
    assert "no conditioning noise" in shell.fails(*free, "--ca-only")[1]

    shell.ok("train", "--preset", "tiny-v2", "model.condition=class", "model.num_classes=50", *words[1:], "--name", "classes")
    classes = ["interpolate", "--run", "classes", "--frames", "1", "--steps", "2"]
    assert shell.ok(*classes, "--label", "3", "--label", "9", "--scale", "16")["labels"] == [3, 9]
    ends = last_row(shell.workspace.runs / "classes" / "interpolate" / "strip.png", 16, 2)
    shell.ok("sample", "--run", "classes", "--label", "9", "--count", "1", "--scale", "16", "--no-grid", "--output", "classes")
    assert (picture(next(Path("classes").glob("*.png"))) == ends[1]).all()
    assert shell.ok(*classes)["labels"] == [0, 1]
    assert "--label" in shell.fails(*classes, "a bird", "a red bird")[1]
    assert "at least two captions or classes" in shell.fails(*classes, "--label", "1")[1]


def test_words_that_make_no_sense(shell: Shell) -> None:  # noqa: F811
    shell.ok("train", "--preset", "tiny-v2", *QUICK)
    for words, expected in (
        (["a bird"], "at least two captions"),
        (["--noise", "--ca-only"], "one of"),
        (["--noise", "--zero-noise"], "no noise"),
        (["--noise-grid", "4"], "not a shape"),
        (["--noise-grid", "0x4"], "not a shape"),
        (["--scale", "all"], "16|32"),
        (["--scale", "64"], "16|32|all"),
        (["--label", "1"], "no class labels"),
        (["--run", "x", "--weights", "y"], "not both"),
    ):
        code, err = shell.fails("interpolate", *words)
        assert code == 2 and expected in err, err


def test_video_is_an_extra(shell: Shell) -> None:  # noqa: F811
    shell.ok("train", "--preset", "tiny-v2", *QUICK)
    words = ["interpolate", "a bird", "a red bird", "--frames", "2", "--video"]
    if importlib.util.find_spec("av") is None:
        code, message = shell.fails(*words)
        assert code == 6 and "stackgan[video]" in message
    else:
        assert "walk.mp4" in shell.ok(*words)["files"]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
