"""Sets of images to be measured: generated ones, files in a folder, or images of a prepared dataset.

A set is read by index, so that several processes can share it and a batch can be read while another is measured.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from stackgan_cli.data.cache import Cache
from stackgan_cli.data.image_files import read_header, read_image
from stackgan_cli.data.stores import ImageStore
from stackgan_cli.errors import DataError
from stackgan_cli.metrics.image_folders import image_files

DECODERS = 4


class ImageSet(ABC):
    """N images. `class_ids` (N,) int64 and `captions` are None where they are not known, `side` where images differ in size.

    `labels` (N,) int64 are what a classifier should recognize the images as: their classes, or None for images generated from captions.
    `label_names` are the names that the labels index, or None where they are not known.
    """

    class_ids: np.ndarray | None = None
    labels: np.ndarray | None = None
    label_names: Sequence[str] | None = None
    captions: Sequence[str] | None = None
    side: int | None = None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def read(self, indices: np.ndarray) -> list[np.ndarray] | np.ndarray:
        """uint8 images (H, W, 3) at the given indices."""

    @property
    @abstractmethod
    def description(self) -> dict[str, Any]:
        """The entry for this set in the protocol of a result."""

    @property
    def identity(self) -> str | None:
        """A string that is equal for equal images, or None for a set whose statistics are not worth storing."""
        return None


class GeneratedSet(ImageSet):
    """Generated images: `generate(indices)` returns uint8 (n, side, side, 3), always the same images for the same indices."""

    def __init__(
        self,
        generate: Callable[[np.ndarray], np.ndarray],
        count: int,
        side: int,
        *,
        class_ids: np.ndarray | None = None,
        captions: Sequence[str] | None = None,
        label_names: Sequence[str] | None = None,
        description: dict[str, Any],
    ) -> None:
        self._generate, self._count, self._description = generate, count, description
        self.side, self.class_ids, self.captions = side, class_ids, captions
        self.labels, self.label_names = (class_ids if captions is None else None), label_names

    def __len__(self) -> int:
        return self._count

    def read(self, indices: np.ndarray) -> np.ndarray:
        return self._generate(indices)

    @property
    def description(self) -> dict[str, Any]:
        return self._description


class CacheSet(ImageSet):
    """Images of a prepared dataset as evaluation sees them, at `side` px. `rows` defaults to those of the split.

    Images are not cropped if `whole` is set (for models that are trained on whole images) or if `side` is the size of the stored images.
    Raises DataError for a split without images or a `side` for which the stored images are too small.
    """

    def __init__(self, cache: Cache, split: str, side: int, rows: np.ndarray | None = None, *, whole: bool = False) -> None:
        self.whole = whole or side == cache.image_size
        self.cache, self.split, self.side = cache, split, side
        self.rows = cache.rows(split) if rows is None else rows
        self.store = ImageStore(cache, self.rows, side, whole=self.whole)
        if not len(self.rows):
            raise DataError(f"no images in the {split!r} split", where=cache.path)
        classes = cache.class_ids[self.rows]
        self.class_ids = self.labels = classes if (classes >= 0).all() else None
        self.label_names = cache.class_names
        first, count = cache.caption_offsets[self.rows], np.diff(cache.caption_offsets)[self.rows]
        self.captions = [cache.captions[index] for index in first] if (count > 0).all() else None

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, indices: np.ndarray) -> np.ndarray:
        return self.store.views(indices)

    @property
    def description(self) -> dict[str, Any]:
        crop = "none" if self.whole else "centre"
        return {"images": f"cache {self.cache.path.stem}", "split": self.split, "crop": crop, "image_side": self.side}

    @property
    def identity(self) -> str:
        rows = hashlib.sha256(self.rows.tobytes()).hexdigest()[:16]
        return f"{self.cache.identity} {rows} {self.side}{' whole' if self.whole else ''}"


class FolderSet(ImageSet):
    """The images below a folder, sorted by path: see `image_folders` for which files count, and `data.image_files` for how they are read.

    `notes` say which files are not measured although they look like images. Raises DataError for a folder that does not exist or has no
    images, and for a broken file.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.is_dir():
            raise DataError("no such folder", where=folder)
        self.files, self.notes = image_files(folder)
        with ThreadPoolExecutor(DECODERS) as pool:
            headers = list(pool.map(read_header, self.files))
        sizes = {size for size, _ in headers}
        self.sizes = sorted(sizes)
        (width, height), *others = self.sizes
        self.side = width if not others and width == height else None
        self.converted = sum(mode != "RGB" for _, mode in headers)

    def __len__(self) -> int:
        return len(self.files)

    def read(self, indices: np.ndarray) -> list[np.ndarray]:
        with ThreadPoolExecutor(DECODERS) as pool:
            return list(pool.map(lambda index: read_picture(self.files[index]), indices))

    @property
    def description(self) -> dict[str, Any]:
        sizes = [f"{width}x{height}" for width, height in self.sizes]
        found: dict[str, Any] = {
            "images": str(self.folder),
            "sizes": sizes if len(sizes) <= 4 else [*sizes[:3], f"and {len(sizes) - 3} more"],
        }
        found |= {"converted_to_rgb": self.converted} if self.converted else {}
        return found | ({"left_out": list(self.notes)} if self.notes else {})

    @cached_property
    def identity(self) -> str:
        facts = [(path.relative_to(self.folder).as_posix(), (stat := path.stat()).st_size, stat.st_mtime_ns) for path in self.files]
        return hashlib.sha256(repr((str(self.folder.resolve()), facts)).encode()).hexdigest()


def read_picture(path: Path) -> np.ndarray:
    """The image in a file, uint8 (H, W, 3). Raises DataError for a file that is broken or not an image."""
    return np.asarray(read_image(path))
