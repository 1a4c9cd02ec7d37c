"""What evaluation sees of a prepared dataset: the centre of each image, or all of it, not mirrored, at the side that a model draws."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from stackgan_cli.data.cache import Cache
from stackgan_cli.data.feed import CROP, LOAD, load_size, reduce_images
from stackgan_cli.errors import DataError


def check_side(cache: Cache, side: int, *, whole: bool = False) -> None:
    """Raises DataError when the cache's images are too small to be seen at `side` px."""
    load = side if whole else load_size(side)
    if cache.image_size < load:
        raise DataError(
            f"images are {cache.image_size} px, and a view of {side} px is {'never an enlarged one' if whole else f'cut from {load} px'}",
            where=cache.path,
            hint=f"prepare again with --image-size {load} or larger",
        )


def centre_views(cache: Cache, rows: np.ndarray, side: int, *, whole: bool = False) -> np.ndarray:
    """uint8 (N, side, side, 3) of rows (N,): the centre crop that training takes at random, reduced by area averaging.

    `whole` is for models that are trained on whole images (`data.whole`): nothing is cut off, but to a square where the aspect was kept.
    """
    if cache.fit == "squash":
        load = side if whole else load_size(side)
        images = reduce_images(cache.images[rows], load)
        edge = (load - side) // 2
        return np.ascontiguousarray(images[:, edge : edge + side, edge : edge + side])
    window = cache.image_size if whole else cache.image_size * CROP // LOAD
    out = np.empty((len(rows), side, side, 3), np.uint8)
    for i, row in enumerate(rows):
        image = cache.image(int(row))
        top, left = (image.shape[0] - window) // 2, (image.shape[1] - window) // 2
        crop = torch.from_numpy(image[top : top + window, left : left + window].copy()).permute(2, 0, 1)[None].float()
        out[i] = F.interpolate(crop, size=(side, side), mode="area").round_().byte()[0].permute(1, 2, 0).numpy()
    return out
