"""MNIST (LeCun et al. 1998): 60,000 and 10,000 handwritten digits of 28 px, gray. Its four files as published, compressed (.gz) or not.

torchvision reads and downloads the files. They may be in the given folder, in its `raw/` or in its `MNIST/raw/`, torchvision's layout; and
they may be called as in Kaggle's copies (`train-images.idx3-ubyte`), each in a folder of its own name or not.
"""

from __future__ import annotations

import gzip
import shutil
import tempfile
import zlib
from pathlib import Path

import numpy as np

from stackgan_cli.data.sources.base import Dataset
from stackgan_cli.data.sources.labelled import DIGITS, LabelledRecords, downloading, folder_with, gathering
from stackgan_cli.errors import DataError

FILES = {
    train: tuple(f"{part}-{kind}-ubyte" for kind in ("images-idx3", "labels-idx1")) for train, part in ((True, "train"), (False, "t10k"))
}
"""Image and label files for training (True) and testing (False)."""
BELOW = ("raw", "MNIST/raw")


def _file(folder: Path, name: str) -> Path | None:
    spellings = (name, name.replace("-idx", ".idx"))
    places = (*spellings, *(f"{outer}/{inner}" for outer in spellings for inner in spellings))
    return next((path for place in places for path in (folder / place, folder / f"{place}.gz") if path.is_file()), None)


def _holds(folder: Path) -> bool:
    return any(_file(folder, name) for names in FILES.values() for name in names)


def holds_mnist(source: Path) -> bool:
    """Whether a folder contains the files of MNIST."""
    return any(all(_file(place, name) for names in FILES.values() for name in names) for place in (source, *(source / b for b in BELOW)))


def mnist_records(source: Path) -> LabelledRecords:
    """The records of MNIST. Raises DataError when a file is missing or damaged."""
    folder = folder_with("MNIST", source, BELOW, _holds, "MNIST/raw/, or train-images-idx3-ubyte.gz and the other three files,")

    def read(train: bool) -> tuple[np.ndarray, np.ndarray]:
        images, labels = (_read(folder, name) for name in FILES[train])
        return images, labels

    return LabelledRecords.of(read, DIGITS, folder)


def obtain_mnist(folder: Path) -> Path:
    """Download MNIST into `folder`. Returns `folder`."""
    from torchvision.datasets import MNIST

    with downloading("mnist", folder):
        MNIST(folder, download=True)
    return folder


def _read(folder: Path, name: str) -> np.ndarray:
    from torchvision.datasets.mnist import read_image_file, read_label_file

    path = _file(folder, name)
    if path is None:
        raise DataError(f"{name}.gz not found", where=folder, hint="all four files of MNIST are needed")
    reader = read_image_file if "images" in name else read_label_file
    try:
        if path.suffix != ".gz":
            return np.asarray(reader(str(path)))
        with tempfile.NamedTemporaryFile() as plain, gzip.open(path) as packed:  # the folder may be read-only
            shutil.copyfileobj(packed, plain)
            plain.flush()
            return np.asarray(reader(plain.name))
    except (OSError, EOFError, zlib.error, AssertionError, KeyError, ValueError, TypeError, RuntimeError, IndexError) as error:
        reason = str(error) or "not an MNIST file"
        raise DataError(f"cannot be read: {reason}", where=path, hint="download it again") from None


DATASET = Dataset(
    "mnist",
    "handwritten digits, gray",
    gathering("mnist", holds_mnist, obtain_mnist, mnist_records),
    image_size=28,
    crop="none",
    preset="sgan-mnist",
    judge="sgan-encoder-mnist",
)
