"""Grids and PNG files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFont

from stackgan_cli.viz.grids import GAP, grid, save_png, to_uint8, wrap


def test_floats_are_scaled_and_clipped() -> None:
    assert to_uint8(np.array([-2.0, -1.0, 0.0, 1.0, 3.0])).tolist() == [0, 0, 128, 255, 255]


def test_a_grid_holds_every_image_at_its_place() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    page = grid(images, 3)
    assert page.shape == (2 * 8 + GAP, 3 * 8 + 2 * GAP, 3)
    for number, image in enumerate(images):
        top, left = number // 3 * (8 + GAP), number % 3 * (8 + GAP)
        assert (page[top : top + 8, left : left + 8] == image).all()
    assert (page[-8:, -8:] == 255).all()


def test_captions_stand_above_their_row_and_do_not_touch_the_images() -> None:
    images = np.zeros((4, 64, 64, 3), np.uint8)
    page = grid(images, 2, ["a red bird with black wings and a very long description that has to be wrapped", ""])
    head = page.shape[0] - 2 * 64 - GAP
    assert head > 2 * 12
    assert (page[head : head + 64, :64] == 0).all()
    assert 20 < (page[:head].min(axis=2) < 128).sum() < 4000
    with pytest.raises(ValueError, match="2 rows"):
        grid(images, 2, ["one"])


def test_wrapped_lines_fit_and_lose_nothing() -> None:
    font = ImageFont.load_default(12)
    text = "this bird has wings that are blue and supercalifragilisticexpialidocious" * 2
    lines = wrap(text, 100, font)
    assert all(font.getlength(line) <= 100 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert wrap("", 100, font) == []


def test_a_png_is_whole_or_not_there(tmp_path: Path) -> None:
    image = np.random.default_rng(1).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    save_png(tmp_path / "new" / "a.png", image)
    assert (np.asarray(Image.open(tmp_path / "new" / "a.png")) == image).all()
    with pytest.raises(TypeError):
        save_png(tmp_path / "b.png", np.zeros((2, 2, 7), np.uint8))
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
