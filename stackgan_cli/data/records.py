"""One image of a dataset as its authors publish it: the output of every source in `data/sources` and the input of `prepare`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass(frozen=True, slots=True)
class Record:
    """An image, its captions, and the location of the object."""

    name: str
    """`class_folder/image_name`, without file extension; unique in the dataset."""
    image: Path | Callable[[], np.ndarray]
    """A file, or a picklable callable that returns uint8 (H, W, 3)."""
    captions: tuple[str, ...]
    class_name: str
    """Empty when the dataset has no classes."""
    split: str
    """`train` or `test`."""
    box: tuple[float, float, float, float] | None = None
    """x, y, width, height in pixels of the full image."""
    parts: np.ndarray | None = None
    """(15, 3) float32: x, y, visible (0 or 1), in the order of CUB's parts.txt."""
    attributes: Mapping[str, str] = field(default_factory=dict)
