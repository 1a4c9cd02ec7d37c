"""From a photograph to the pixels of the cache: StackGAN's released bounding-box crop, then a resize.

The crop is the one in the released code of StackGAN v1 and v2 (the same in all three repositories): a square with 1.5 times the longer
side of the box, around the center of the box, clipped at the edges of the image. v1 then squashes it to a square; v2 keeps the aspect
ratio. The filter is Pillow's bilinear, whose support widens when it shrinks an image (antialiasing), as in the released PyTorch code.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from stackgan_cli.data.image_files import read_header, read_image
from stackgan_cli.errors import DataError

FILTER = "bilinear"
MAX_ASPECT = 20
"""Ratio of the sides above which an image cannot keep its aspect ratio: the longer side would be enormous."""
Box = tuple[float, float, float, float]
Window = tuple[int, int, int, int]


def box_crop(width: int, height: int, box: Box) -> Window:
    """(left, top, right, bottom) of the released crop of a `width` x `height` image; `box` is x, y, width, height in its pixels.

    Coordinates are truncated to integers first, and half the side is int(0.75 * longer side), as in the released code.
    """
    x, y, w, h = (int(value) for value in box)
    half = int(0.75 * max(w, h))
    centre_x, centre_y = int((2 * x + w) / 2), int((2 * y + h) / 2)
    return max(0, centre_x - half), max(0, centre_y - half), min(width, centre_x + half), min(height, centre_y + half)


def crop_window(width: int, height: int, box: Box | None, crop: str) -> Window:
    """The part of the image that is kept: the box crop when `crop` is 'box' and there is a box, otherwise all of it.

    Raises DataError for a box outside the image.
    """
    if crop == "none" or box is None:
        return 0, 0, width, height
    left, top, right, bottom = box_crop(width, height, box)
    if left >= right or top >= bottom:
        raise DataError(f"its bounding box {box} is outside the {width} x {height} image")
    return left, top, right, bottom


def fitted_size(width: int, height: int, image_size: int, fit: str) -> tuple[int, int]:
    """(width, height) after the resize: `squash` gives a square, `keep` makes the shorter side `image_size`.

    Raises DataError with `keep` when one side is more than MAX_ASPECT times the other.
    """
    if fit == "squash":
        return image_size, image_size
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise DataError(f"its {width} x {height} px are too narrow to keep their aspect ratio (at most {MAX_ASPECT} to 1)")
    if width <= height:
        return image_size, int(image_size * height / width)
    return int(image_size * width / height), image_size


def load_image(image: Path | Callable[[], np.ndarray]) -> Image.Image:
    """The whole image in RGB, from a file or from a drawing function. Raises DataError when it cannot be decoded completely."""
    return read_image(image) if isinstance(image, Path) else Image.fromarray(image())


def image_extent(image: Path | Callable[[], np.ndarray]) -> tuple[int, int]:
    """(width, height) of an image; only the header of a file is read. Raises DataError when it cannot be read."""
    if isinstance(image, Path):
        return read_header(image)[0]
    height, width = image().shape[:2]
    return width, height


def render(image: Image.Image, box: Box | None, *, image_size: int, fit: str, crop: str) -> Image.Image:
    """Crop and resize an RGB image. Raises DataError as `crop_window` and `fitted_size` do."""
    left, top, right, bottom = crop_window(*image.size, box, crop)
    # Crop first: resize(box=...) would blend pixels from outside the window into its edges.
    return image.crop((left, top, right, bottom)).resize(
        fitted_size(right - left, bottom - top, image_size, fit), Image.Resampling.BILINEAR
    )


def move_box(box: Box, window: Window, size: tuple[int, int]) -> np.ndarray:
    """(4,) float32: `box` in pixels of the image that `render` made from `window` at `size` (width, height)."""
    left, top, right, bottom = window
    scale = np.array([size[0] / (right - left), size[1] / (bottom - top)])
    return np.concatenate([(np.array(box[:2]) - (left, top)) * scale, np.array(box[2:]) * scale]).astype(np.float32)


def move_parts(parts: np.ndarray, window: Window, size: tuple[int, int]) -> np.ndarray:
    """(15, 3) float32 parts in pixels of the rendered image. One that is not visible, or falls outside, becomes (0, 0, 0)."""
    left, top, right, bottom = window
    scale = np.array([size[0] / (right - left), size[1] / (bottom - top)])
    moved = np.zeros_like(parts, dtype=np.float32)
    moved[:, :2] = (parts[:, :2] - (left, top)) * scale
    inside = ((moved[:, :2] >= 0) & (moved[:, :2] < size)).all(1)
    moved[:, 2] = (parts[:, 2] > 0) & inside
    moved[moved[:, 2] == 0] = 0
    return moved
