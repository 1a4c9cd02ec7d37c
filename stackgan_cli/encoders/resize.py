"""Resize images to the size that a network expects, exactly as the original code does: other methods change scores more than models do.

| mode | method |
|---|---|
| `tf1-bilinear` | TensorFlow 1, inside its graph of 2015: source = destination * scale, no half-pixel centers, no antialiasing |
| `pil-bilinear` | Pillow on 8-bit images: antialiased triangle filter, rounded to integers after each direction |
| `pil-bicubic` | Pillow on floating-point images (clean-fid): antialiased cubic filter with a = -1/2, clipped to 0..255 at the end |
| `area` | mean of the old pixels that a new pixel covers |
| `none` | unchanged |

Pillow's filters are linear maps of rows and columns, so each is two matrix products over a batch, on any device. Columns come first, as
in every Pillow before 13, which the published numbers were computed with; newer versions begin with the rows of tall images, which gives
other values after rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stackgan_cli.errors import UsageError, did_you_mean

MODES = ("tf1-bilinear", "pil-bilinear", "pil-bicubic", "area", "none")
_FIXED_POINT = float(1 << 22)
"""Pillow keeps the coefficients for 8-bit images as integer multiples of 2^-22."""


def resize(images: Tensor, side: int, mode: str) -> Tensor:
    """uint8 or float (N, 3, H, W) in 0..255 to float32 (N, 3, side, side) in 0..255.

    Raises UsageError for an unknown mode.
    """
    if mode not in MODES:
        raise UsageError(f"unknown resizing method {mode!r}{did_you_mean(mode, MODES)}", where="resize", hint=f"one of: {', '.join(MODES)}")
    if mode == "none" or images.shape[-2:] == (side, side):
        return images.float()
    match mode:
        case "tf1-bilinear":
            return _tf1_bilinear(images.float(), side)
        case "area":
            return F.adaptive_avg_pool2d(images.float(), side)
        case "pil-bicubic":
            rows, columns = (_matrix(size, side, "bicubic").to(images.device, torch.float32) for size in images.shape[-2:])
            return (rows @ (images.float() @ columns.T)).clamp_(0, 255)
        case _:
            rows, columns = (_matrix(size, side, "bilinear").to(images.device) for size in images.shape[-2:])
            across = _round_8bit(images.double() @ columns.T)
            return _round_8bit(rows @ across).float()


def _tf1_bilinear(images: Tensor, side: int) -> Tensor:
    """Horizontal, then vertical, in TensorFlow's order of operations, so that the result is bit-exact on a CPU."""
    for axis in (3, 2):
        size = images.shape[axis]
        place = torch.arange(side, device=images.device, dtype=torch.float32) * np.float32(size / side).item()
        low = place.long()
        share = (place - low).view(-1, *(1,) * (3 - axis))
        first = images.index_select(axis, low)
        second = images.index_select(axis, (low + 1).clamp_max(size - 1))
        images = first + (second - first) * share
    return images


def _round_8bit(sums: Tensor) -> Tensor:
    """Sums of pixels times fixed-point coefficients (exact in float64) to integers in 0..255, halves rounded up."""
    return sums.add_(_FIXED_POINT / 2).div_(_FIXED_POINT).floor_().clamp_(0, 255)


def _triangle(x: np.ndarray) -> np.ndarray:
    return np.clip(1 - np.abs(x), 0, None)


def _cubic(x: np.ndarray, a: float = -0.5) -> np.ndarray:
    """The kernel of Keys (1981)."""
    x = np.abs(x)
    inner = ((a + 2) * x - (a + 3)) * x * x + 1
    outer = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, inner, np.where(x < 2, outer, 0.0))


_FILTERS: dict[str, tuple[Callable[[np.ndarray], np.ndarray], float]] = {"bilinear": (_triangle, 1.0), "bicubic": (_cubic, 2.0)}
"""Kernel and half of its width."""


@lru_cache(maxsize=64)
def _matrix(size: int, side: int, kind: str) -> Tensor:
    """float64 (side, size): row i holds the weights of the old pixels in new pixel i, as Pillow's ImagingResample computes them.

    The kernel is widened by the scale when images shrink. Bilinear weights are multiplied by 2^22 and rounded.
    """
    kernel, support = _FILTERS[kind]
    scale = size / side
    stretch = max(scale, 1.0)
    matrix = np.zeros((side, size))
    for i in range(side):
        centre = (i + 0.5) * scale
        first = max(int(centre - support * stretch + 0.5), 0)
        last = min(int(centre + support * stretch + 0.5), size)
        shares = kernel((np.arange(first, last) - centre + 0.5) * (1 / stretch))
        matrix[i, first:last] = shares / shares.sum()
    if kind == "bilinear":
        matrix = np.floor(matrix * _FIXED_POINT + 0.5)
    return torch.from_numpy(matrix)
