"""`stackgan tsne` at the smallest size, through the real `main()`."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_verbs import QUICK, VIVID, Shell, shell  # noqa: F401

from stackgan_cli.viz.maps import group_colour

SMALL = ["tsne", "--extractor", "pixels", "--count", "30", "--perplexity", "5"]


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "coordinates.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def picture(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path)).astype(int)


@pytest.mark.parametrize("snap", ["assign", "nearest"])
def test_a_map_and_what_belongs_to_it(shell: Shell, tmp_path: Path, snap: str) -> None:  # noqa: F811
    shell.ok("train", "--preset", "tiny-stage1", *VIVID)
    made = shell.ok(*SMALL, "--snap", snap)
    folder = shell.workspace.runs / "tiny-stage1-demo" / "tsne"
    assert Path(made["folder"]) == folder
    assert {path.name for path in folder.iterdir()} == {"map.png", "real.png", "map.html", "coordinates.csv", "tsne.json"}
    facts = json.loads((folder / "tsne.json").read_text())
    assert (facts["generated"]["images"], facts["generated"]["grid"], facts["real"]["images"]) == (30, 5, 20)
    assert facts["real"]["repeats"]["groups"] == 0 and facts["features"]["extractor"] == "pixels"
    assert (facts["generated"]["shown"] == 25) == (snap == "assign")
    assert picture(folder / "map.png").shape == (5 * 32, 5 * 32, 3) and picture(folder / "real.png").shape == (4 * 32, 4 * 32, 3)

    rows = rows_of(folder)
    assert [row["set"] for row in rows] == ["generated"] * 30 + ["real"] * 20
    assert all(0 <= float(row["x"]) <= 1 and 0 <= float(row["y"]) <= 1 and row["text"] for row in rows)
    shown = [row for row in rows if row["set"] == "generated" and row["row"]]
    assert len(shown) == facts["generated"]["shown"]
    one = next((row for row in shown if not row["repeats"]), None)
    if one is not None:
        out = tmp_path / "again"
        shell.ok("sample", one["text"], "--seed", one["seed"], "--count", "1", "--no-grid", "--output", str(out))
        top, left = 32 * int(one["row"]), 32 * int(one["column"])
        assert (picture(folder / "map.png")[top : top + 32, left : left + 32] == picture(next(out.glob("*.png")))).all()


def test_a_collapsed_generator(shell: Shell) -> None:  # noqa: F811
    """The weights that noise and caption enter by are zero: one image for every input."""
    shell.ok("train", "--preset", "tiny-stage1", *VIVID)
    path = shell.workspace.runs / "tiny-stage1-demo" / "weights" / "latest.safetensors"
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tensors["generator.fc.0.weight"] = torch.zeros_like(tensors["generator.fc.0.weight"])
    path.unlink()
    save_file(tensors, path, metadata=metadata)
    made = shell.ok(*SMALL)
    assert made["generated"]["repeats"] == {"groups": 1, "images": 30, "sizes": [30]}
    assert made["real"]["repeats"] == {"groups": 0, "images": 0, "sizes": []}
    assert (picture(Path(made["folder"]) / "map.png")[0] == group_colour(0)).all()


def test_models_without_captions_and_without_a_cache(shell: Shell) -> None:  # noqa: F811
    words = ["model.condition=none", "model.wrong_pairs=none", "requires.text_encoder=null"]
    shell.ok("train", "--preset", "tiny-v2", *words, *QUICK)
    made = shell.ok(*SMALL, "--scale", "16", "--pca", "0")
    assert rows_of(Path(made["folder"]))[0]["text"].startswith("seed ")
    shell.workspace.cache_path("demo").unlink()
    assert "real" not in shell.ok(*SMALL)


def test_words_that_make_no_sense(shell: Shell) -> None:  # noqa: F811
    shell.ok("train", "--preset", "tiny-v2", *QUICK)
    for words, code, expected in (
        (["--count", "8"], 2, "a map needs at least 9 images"),
        (["--grid", "9"], 2, "do not fill"),
        (["--grid", "4", "--count", "15"], 2, "--grid 3"),
        (["--split", "tset"], 4, "no split"),
        (["--scale", "64"], 2, "16|32"),
        (["--snap", "never"], 2, "never"),
        (["--cache", "cub"], 4, "cub"),
        (["--run", "x", "--weights", "y"], 2, "not both"),
    ):
        found, err = shell.fails(*SMALL, *words)
        assert found == code and expected in err, err
