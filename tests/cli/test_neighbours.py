"""`stackgan neighbours` at the smallest size, through the real `main()`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_verbs import QUICK, VIVID, Shell, shell  # noqa: F401

from stackgan_cli.data.cache import Cache
from stackgan_cli.data.demo_birds import demo_records
from stackgan_cli.data.prepare import prepare
from stackgan_cli.data.stores import centre_views
from stackgan_cli.runs import Weights, write_weights
from stackgan_cli.viz.grids import save_png

EVERY = ("discriminator", "pixels")


@pytest.mark.parametrize("preset", ["tiny-stage1", "tiny-stage2", "tiny-v2", "tiny-hdgan"])
def test_real_images_are_their_own_nearest(shell: Shell, preset: str) -> None:  # noqa: F811
    shell.ok("train", "--preset", preset, *QUICK)
    for by in EVERY:
        made = shell.ok("neighbours", "--real", "7", "--by", by, "--nearest", "3")
        assert (made["own_nearest"], len(made["queries"])) == (7, 7)
        for query in made["queries"]:
            distances = [one["distance"] for one in query["neighbours"]]
            assert distances == sorted(distances) and len(distances) == 3
            assert distances[0] < 1e-3 * distances[1], "and no other image is"


def test_images_whose_aspect_was_kept(shell: Shell, tmp_path: Path) -> None:  # noqa: F811
    path = shell.workspace.cache_path_for("kept")
    prepare(demo_records(60, 50, image_size=76), path, dataset="demo", image_size=76, fit="keep", workers=1)
    words = ["model.condition=none", "model.wrong_pairs=none", "requires.text_encoder=null", "data.cache=kept"]
    shell.ok("train", "--preset", "tiny-v2", *words, *QUICK)
    for by in EVERY:
        assert shell.ok("neighbours", "--real", "5", "--by", by)["own_nearest"] == 5


def test_generated_images_and_pictures_of_a_folder(shell: Shell, tmp_path: Path) -> None:  # noqa: F811
    shell.ok("train", "--preset", "tiny-stage1", *VIVID)
    made = shell.ok("neighbours", "a red bird", "a blue bird", "--count", "3", "--seed", "5")
    assert [(query["caption"], query["seed"]) for query in made["queries"]] == [("a red bird", 5), ("a blue bird", 6), ("a red bird", 7)]
    folder = shell.workspace.runs / "tiny-stage1-demo" / "neighbours"
    page = np.asarray(Image.open(folder / "neighbours.png"))
    assert page.shape == (3 * 32 + 2 * 2, 32 + 10 + 5 * 32 + 4 * 2, 3)
    shell.ok("sample", "a blue bird", "--seed", "6", "--count", "1", "--no-grid", "--output", str(tmp_path / "s"))
    assert (page[34:66, :32] == np.asarray(Image.open(next((tmp_path / "s").glob("*.png"))))).all()
    cache = Cache.open(shell.workspace.cache_path("demo"))
    nearest = made["queries"][1]["neighbours"][0]
    assert cache.names[nearest["row"]] == nearest["name"] and nearest["row"] in cache.rows("train")
    assert (page[34:66, 42:74] == centre_views(cache, np.array([nearest["row"]]), 32)[0]).all()
    assert json.loads((folder / "neighbours.json").read_text())["queries"] == made["queries"]

    pictures = tmp_path / "pictures"
    rows = cache.rows("train")[[3, 11]]
    for number, view in enumerate(centre_views(cache, rows, 32)):
        save_png(pictures / f"{number}.png", view)
    Image.new("L", (50, 80), 7).save(pictures / "grey.png")
    found = shell.ok("neighbours", "--images", str(pictures), "--by", "discriminator")
    assert [query["neighbours"][0]["row"] for query in found["queries"][:2]] == rows.tolist() and len(found["queries"]) == 3
    assert (folder / "images.png").exists() and np.array_equal(np.asarray(Image.open(folder / "neighbours.png")), page)


def test_what_was_seen_is_kept_until_the_weights_change(shell: Shell) -> None:  # noqa: F811
    shell.ok("train", "--preset", "tiny-stage1", *QUICK)
    folder = shell.workspace.runs / "tiny-stage1-demo" / "neighbours"
    first = shell.ok("neighbours", "a bird")
    (kept,) = folder.glob("training-*.npy")
    assert np.load(kept).shape[0] == first["training_images"] == 80
    stamp = kept.stat().st_mtime_ns
    assert shell.ok("neighbours", "a bird")["queries"] == first["queries"] and kept.stat().st_mtime_ns == stamp
    shell.ok("neighbours", "a bird", "--by", "pixels")
    weights = folder.parent / "weights"
    shell.ok("train", "--preset", "tiny-stage1", *VIVID, "--name", "other")
    (shell.workspace.runs / "other" / "weights" / "latest.safetensors").replace(weights / "latest.safetensors")
    shutil.rmtree(shell.workspace.runs / "other")
    second = shell.ok("neighbours", "a bird")
    assert [path.name for path in folder.glob("training-*.npy")] != [kept.name] and not kept.exists()
    assert second["seen_by"]["weights_sha256"] != first["seen_by"]["weights_sha256"]


def test_weights_without_discriminators(shell: Shell, tmp_path: Path) -> None:  # noqa: F811
    shell.ok("train", "--preset", "tiny-v2", *QUICK)
    weights = Weights.open(shell.workspace.runs / "tiny-v2-demo" / "weights" / "latest.safetensors")
    bare = tmp_path / "bare.safetensors"
    tensors = {f"{part}.{key}": value for part in ("generator", "text_encoder") for key, value in weights.tensors(part).items()}
    write_weights(bare, tensors, config=weights.config, step=2, text_encoder=weights.text_encoder)
    code, err = shell.fails("neighbours", "a bird", "--weights", str(bare))
    assert code == 5 and "no discriminator for 32 px" in err and "--by features" in err
    made = shell.ok("neighbours", "a bird", "--weights", str(bare), "--by", "pixels")
    assert Path(made["folder"]) == shell.workspace.root / "neighbours" / "bare"
    assert shell.ok("neighbours", "a bird", "--scale", "16")["seen_by"]["network"] == "discriminator16"


def test_words_that_make_no_sense(shell: Shell, tmp_path: Path) -> None:  # noqa: F811
    shell.ok("train", "--preset", "tiny-v2", *QUICK)
    for words, code, expected in (
        (["a bird", "--real", "3"], 2, "give only one of"),
        (["--images", str(tmp_path / "absent")], 4, "no such folder"),
        (["--by", "nothing"], 2, "nothing"),
        (["--label", "1"], 2, "no class labels"),
        (["--scale", "64"], 2, "16|32"),
        (["--cache", "cub"], 4, "cub"),
    ):
        found, err = shell.fails("neighbours", *words)
        assert found == code and expected in err, err
    (tmp_path / "empty").mkdir()
    assert shell.fails("neighbours", "--images", str(tmp_path / "empty"))[0] == 4
