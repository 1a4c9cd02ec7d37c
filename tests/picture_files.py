"""Random pictures, and folders of them, for tests of what measures pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def pictures(count: int, side: int = 32, seed: int = 0) -> np.ndarray:
    """uint8 (count, side, side, 3): a color each, with noise."""
    random = np.random.default_rng(seed)
    base = random.integers(0, 256, (count, 1, 1, 3))
    return np.clip(base + random.integers(-20, 20, (count, side, side, 3)), 0, 255).astype(np.uint8)


def folder_of(images: np.ndarray, folder: Path) -> Path:
    """The folder, made and filled with a PNG file an image."""
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:03d}.png")
    return folder
