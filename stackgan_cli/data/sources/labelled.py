"""What the datasets with labels in the place of captions share: their records, and torchvision's downloads with errors of ours."""

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
"""Seconds without a byte after which a download has failed."""


@dataclass(frozen=True, slots=True)
class Pixels:
    """An image in memory, uint8 (H, W) or (H, W, 3); called, it gives (H, W, 3). Small enough to be handed to another process."""

    image: np.ndarray

    def __call__(self) -> np.ndarray:
        return self.image if self.image.ndim == 3 else np.repeat(self.image[..., None], 3, 2)


@dataclass(frozen=True, eq=False)
class LabelledRecords(Sequence[Record]):
    """All images of a dataset, those to train on first."""

    images: np.ndarray
    """uint8 (N, H, W) or (N, H, W, 3)."""
    labels: np.ndarray
    """(N,) integers, indices into `classes`."""
    num_train: int
    classes: tuple[str, ...]
    """In the order of their numbers, which has to be that of the alphabet: a cache sorts them."""
    draw: Callable[[np.ndarray], Callable[[], np.ndarray]] = Pixels
    """What makes of `images[i]` the image of a record."""

    @classmethod
    def of(cls, read: Callable[[bool], tuple[np.ndarray, np.ndarray]], classes: tuple[str, ...], where: Path) -> LabelledRecords:
        """From what `read(train)` gives of each split: images and labels. Raises DataError when these do not belong together."""
        splits = [read(True), read(False)]
        for images, labels in splits:
            if labels.shape != images.shape[:1]:
                raise DataError(f"has {len(images):,} images and {labels.size:,} labels", where=where, hint="get its files anew")
            if len(labels) and not 0 <= labels.min() <= labels.max() < len(classes):
                raise DataError(f"has labels from {labels.min()} to {labels.max()}, and not 0 to {len(classes) - 1}", where=where)
        if splits[0][0].shape[1:] != splits[1][0].shape[1:]:
            raise DataError("has training and test images of different sizes", where=where, hint="get its files anew")
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
    """How a dataset that torchvision downloads is gathered: from the folder given, from the usual places, or by `obtain`."""

    def gather(options: SourceOptions) -> Gathered:
        source = options.source or find_source(name, options.workspace, holds)
        return Gathered(read(source or obtain(options.workspace / "downloads" / name)))

    return gather


@contextmanager
def downloading(name: str, folder: Path) -> Iterator[None]:
    """Whatever torchvision's download of a dataset into `folder` raises, as one error of ours."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)  # torchvision sets none, and would wait for ever
    try:
        yield
    except (URLError, http.client.HTTPException, TimeoutError, ConnectionError, RuntimeError) as error:
        reason = getattr(error, "reason", None) or (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise EnvironmentProblem(
            f"{name} cannot be downloaded: {reason}",
            where=folder,
            hint=f"run the same command again, or get its files by other means and name their folder: stackgan prepare {name} --source DIR",
        ) from None
    except OSError as error:
        if error.errno in FULL:
            raise disk_full(folder) from None
        raise DataError(f"cannot be written: {error.strerror or error}", where=folder) from None
    finally:
        socket.setdefaulttimeout(before)


def folder_with(name: str, source: Path, below: Sequence[str], holds: Callable[[Path], bool], files: str) -> Path:
    """`source` or the first of its folders `below` that `holds` the dataset. Raises DataError, which tells what is looked for."""
    if not source.is_dir():
        raise DataError("there is no such folder", where=source, hint=f"give the folder that holds {files} with --source")
    found = next((place for place in (source, *(source / name for name in below)) if holds(place)), None)
    if found is None:
        raise DataError(f"no {name} in this folder", where=source, hint=f"give the folder that holds {files} with --source")
    return found


def check_published(folder: Path, files: Sequence[tuple[str, str]]) -> None:
    """Raises DataError unless each of `files` (name, MD5 that its publisher states) is in `folder`, and is that one."""
    from torchvision.datasets.utils import check_integrity

    for name, digest in files:
        if not (folder / name).is_file():
            raise DataError(f"{name} not found", where=folder, hint="get its files anew")
        if not check_integrity(folder / name, digest):
            raise DataError("is damaged, or not the published file (another MD5)", where=folder / name, hint="download it again")
