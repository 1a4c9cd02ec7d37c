"""Multi-scale models from a cache to pictures, through the real `main()`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_verbs import QUICK, Shell, shell  # noqa: F401


def sides(folder: Path) -> set[int]:
    return {Image.open(path).width for path in folder.glob("*px.png") if not path.name.startswith("grid")}


def test_v2_from_captions(shell: Shell, tmp_path: Path) -> None:  # noqa: F811
    shell.ok("train", "--preset", "tiny-v2", *QUICK)
    drawn = shell.ok("sample", "a red bird", "--count", "2", "--scale", "all", "--output", str(tmp_path / "all"))
    assert sides(tmp_path / "all") == {16, 32} and len(drawn["pictures"]) == 4
    shell.ok("sample", "a red bird", "--count", "2", "--scale", "16", "--output", str(tmp_path / "small"))
    assert sides(tmp_path / "small") == {16}
    picture = drawn["pictures"][0]
    words = picture["command"].split(" ", 2)[2].replace("'a red bird'", "").split()
    shell.ok("sample", "a red bird", *words, "--output", str(tmp_path / "again"))
    again = next((tmp_path / "again").glob("0000*.png"))
    assert np.array_equal(Image.open(again), Image.open(tmp_path / "all" / picture["file"]))
    assert "16|32|all" in shell.fails("sample", "a bird", "--scale", "64")[1]
    assert shell.fails("sample", "a bird", "--scale", "16", "--stage", "1")[0] == 2
    assert "no class labels" in shell.fails("sample", "a bird", "--label", "1")[1]


def test_v2_from_class_labels(shell: Shell, tmp_path: Path) -> None:  # noqa: F811
    shell.ok("train", "--preset", "tiny-v2", "model.condition=class", "model.num_classes=50", "requires.text_encoder=null", *QUICK)
    drawn = shell.ok("sample", "--label", "3", "--label", "7", "--count", "1", "--output", str(tmp_path / "a"))
    assert [picture["label"] for picture in drawn["pictures"]] == [3, 7]
    assert shell.ok("sample", "--count", "1")["pictures"][5]["label"] == 5
    assert "--label" in shell.fails("sample", "a red bird")[1]
    assert "0 to 49" in shell.fails("sample", "--label", "50")[1]


def test_v2_without_a_condition(shell: Shell) -> None:  # noqa: F811
    words = ["model.condition=none", "model.wrong_pairs=none", "model.color_weight=50", "requires.text_encoder=null"]
    shell.ok("train", "--preset", "tiny-v2", *words, *QUICK)
    assert len(shell.ok("sample", "--count", "3")["pictures"]) == 3
    assert "takes no captions" in shell.fails("sample", "a red bird")[1]


@pytest.mark.parametrize("variant", ["released", "paper"])
def test_hdgan(shell: Shell, variant: str) -> None:  # noqa: F811
    shell.ok("train", "--preset", "tiny-hdgan", f"model.variant={variant}", *QUICK)
    assert len(shell.ok("sample", "a red bird", "--count", "1")["pictures"]) == 1


def test_a_game_that_makes_no_sense_is_refused(shell: Shell) -> None:  # noqa: F811
    for words, expected in (
        (["model.wrong_pairs=none"], "wrong_as_real"),
        (["model.condition=none"], "wrong_pairs"),
        (["model.condition=class"], "num_classes"),
        (["model.branches=[16,64]"], "branches"),
        (["model.branches=[16]", "model.color_weight=1"], "color_weight"),
        (["model.discriminator_sees=text"], "discriminator_sees"),
    ):
        code, err = shell.fails("train", "--preset", "tiny-v2", *words)
        assert code == 3 and expected in err
