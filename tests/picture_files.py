"""Random images, and folders of them, for tests of measures of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def pictures(count: int, side: int = 32, seed: int = 0) -> np.ndarray:
    """uint8 (count, side, side, 3): each image has one color, with noise."""
    random = np.random.default_rng(seed)
    base = random.integers(0, 256, (count, 1, 1, 3))
    return np.clip(base + random.integers(-20, 20, (count, side, side, 3)), 0, 255).astype(np.uint8)


def folder_of(images: np.ndarray, folder: Path) -> Path:
    """Create `folder` with one PNG file per image, and return it."""
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:03d}.png")
    return folder
