"""Conversion between bytes and [-1, 1], the proportions of the released crop, and reduction by area averaging."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

CROP, LOAD = 64, 76
"""Crops have 64/76 of the loaded side, as in all released StackGAN code (64 of 76, 256 of 304)."""


def load_size(resolution: int) -> int:
    """Side length that images are loaded at before a crop of `resolution` px is taken."""
    return resolution * LOAD // CROP


def from_uint8(images: np.ndarray | Tensor, device: torch.device | None = None) -> Tensor:
    """uint8 (B, S, S, 3) to float32 (B, 3, S, S) in [-1, 1]. The memory layout is unchanged, which makes it channels_last."""
    return torch.as_tensor(images, device=device).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)


def to_uint8(images: Tensor) -> Tensor:
    """[-1, 1] to uint8, with clipping. Any shape."""
    return images.float().clamp(-1, 1).add(1).mul(127.5).round_().byte()


def to_pyramid(crops: Tensor, sides: tuple[int, ...]) -> dict[int, Tensor]:
    """uint8 (B, S, S, 3) to {r: (B, 3, r, r) float32 in [-1, 1]} by area averaging, channels_last."""
    top = from_uint8(crops)
    return {side: _reduced(top, side) for side in sides}


def _reduced(images: Tensor, side: int) -> Tensor:
    size = images.shape[-1]
    if size == side:
        return images
    return F.avg_pool2d(images, size // side) if size % side == 0 else F.interpolate(images, size=(side, side), mode="area")


def reduce_images(images: np.ndarray, size: int) -> np.ndarray:
    """Area-average uint8 images (N, S, S, 3) to (N, size, size, 3) uint8; unchanged if they already have that size."""
    if images.shape[1] == size:
        return images
    out = np.empty((len(images), size, size, 3), np.uint8)
    for start in range(0, len(images), 64):
        chunk = torch.from_numpy(np.array(images[start : start + 64])).permute(0, 3, 1, 2).float()
        small = F.interpolate(chunk, size=(size, size), mode="area").round_().clamp_(0, 255).byte()
        out[start : start + 64] = small.permute(0, 2, 3, 1).numpy()
    return out
