"""Shared by the datasets that have labels instead of captions: their records, and torchvision's downloads with our errors."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import overload
from urllib.error import URLError

import numpy as np

from stackgan_cli.data.cache import disk_full
from stackgan_cli.data.journal import FULL
from stackgan_cli.data.records import Record
from stackgan_cli.data.sources.base import Gathered, SourceOptions, find_source
from stackgan_cli.errors import DataError, EnvironmentProblem

DIGITS = tuple("0123456789")
TIMEOUT = 30.0
"""Seconds without a byte after which a download fails."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """An image in memory, uint8 (H, W) or (H, W, 3); calling it returns (H, W, 3). Small enough to be sent to another process."""

    image: np.ndarray

    def __call__(self) -> np.ndarray:
        return self.image if self.image.ndim == 3 else np.repeat(self.image[..., None], 3, 2)


@dataclass(frozen=True, eq=False)
class LabelledRecords(Sequence[Record]):
    """All images of a dataset, the training images first."""

    images: np.ndarray
    """uint8 (N, H, W) or (N, H, W, 3)."""
    labels: np.ndarray
    """(N,) integers, indices into `classes`."""
    num_train: int
    classes: tuple[str, ...]
    """Ordered by number, which must be alphabetical order, because a cache sorts them."""
    draw: Callable[[np.ndarray], Callable[[], np.ndarray]] = Pixels
    """Turns `images[i]` into the image of a record."""

    @classmethod
    def of(cls, read: Callable[[bool], tuple[np.ndarray, np.ndarray]], classes: tuple[str, ...], where: Path) -> LabelledRecords:
        """From `read(train)`, which returns the images and labels of a split. Raises DataError when they do not match."""
        splits = [read(True), read(False)]
        for images, labels in splits:
            if labels.shape != images.shape[:1]:
                raise DataError(f"has {len(images):,} images but {labels.size:,} labels", where=where, hint="download its files again")
            if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
                raise DataError(f"has labels from {labels.min()} to {labels.max()} instead of 0 to {len(classes) - 1}", where=where)
        if splits[0][0].shape[1:] != splits[1][0].shape[1:]:
            raise DataError("has training and test images of different sizes", where=where, hint="download its files again")
        images, labels = (np.concatenate(parts) for parts in zip(*splits, strict=True))
        return cls(images, labels, len(splits[0][0]), classes)

    def __len__(self) -> int:
        return len(self.labels)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice) -> list[Record]: ...
    def __getitem__(self, index: int | slice) -> Record | list[Record]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        name = self.classes[self.labels[index]]
        split, number = ("train", index) if index < self.num_train else ("test", index - self.num_train)
        return Record(f"{name}/{split}_{number:05d}", self.draw(self.images[index]), (), name, split)

    def __iter__(self) -> Iterator[Record]:
        return (self[i] for i in range(len(self)))


def gathering(
    name: str, holds: Callable[[Path], bool], obtain: Callable[[Path], Path], read: Callable[[Path], LabelledRecords]
) -> Callable[[SourceOptions], Gathered]:
    """The `gather` function of a dataset that torchvision downloads: from the given folder, from the usual places, or by `obtain`."""

    def gather(options: SourceOptions) -> Gathered:
        source = options.source or find_source(name, options.workspace, holds)
        return Gathered(read(source or obtain(options.workspace / "downloads" / name)))

    return gather


@contextmanager
def downloading(name: str, folder: Path) -> Iterator[None]:
    """Turn whatever torchvision's download of a dataset into `folder` raises into one of our errors."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)  # torchvision sets none and would wait forever
    try:
        yield
    except (URLError, http.client.HTTPException, TimeoutError, ConnectionError, RuntimeError) as error:
        reason = getattr(error, "reason", None) or (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise EnvironmentProblem(
            f"{name} cannot be downloaded: {reason}",
            where=folder,
            hint=f"run the same command again, or get its files some other way and give their folder: stackgan prepare {name} --source DIR",
        ) from None
    except OSError as error:
        if error.errno in FULL:
            raise disk_full(folder) from None
        raise DataError(f"cannot be written: {error.strerror or error}", where=folder) from None
    finally:
        socket.setdefaulttimeout(before)


def folder_with(name: str, source: Path, below: Sequence[str], holds: Callable[[Path], bool], files: str) -> Path:
    """`source`, or the first of its subfolders `below` for which `holds` is true. Raises DataError, which says which files are expected."""
    if not source.is_dir():
        raise DataError("no such folder", where=source, hint=f"give the folder that contains {files} with --source")
    found = next((place for place in (source, *(source / name for name in below)) if holds(place)), None)
    if found is None:
        raise DataError(f"no {name} in this folder", where=source, hint=f"give the folder that contains {files} with --source")
    return found


def check_published(folder: Path, files: Sequence[tuple[str, str]]) -> None:
    """Raise DataError unless each of `files` (name, published MD5) exists in `folder` and matches its MD5."""
    from torchvision.datasets.utils import check_integrity

    for name, digest in files:
        if not (folder / name).is_file():
            raise DataError(f"{name} not found", where=folder, hint="download its files again")
        if not check_integrity(folder / name, digest):
            raise DataError("is damaged, or not the published file (the MD5 differs)", where=folder / name, hint="download it again")
