"""CIFAR-10 (Krizhevsky 2009): 50,000 and 10,000 photographs of ten classes at 32 px, in its author's "python version".

That is a folder `cifar-10-batches-py/` of pickles, or its archive. Reading a pickle can run arbitrary code, so every file is checked
against its published MD5 before torchvision reads it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from stackgan_cli.data.download import extract
from stackgan_cli.data.sources.base import Dataset
from stackgan_cli.data.sources.labelled import LabelledRecords, check_published, downloading, folder_with, gathering
from stackgan_cli.errors import DataError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
ARCHIVE, FOLDER = "cifar-10-python.tar.gz", "cifar-10-batches-py"
BELOW = (FOLDER, f"cifar10/{FOLDER}")
OTHER_VERSIONS = ("cifar-10-batches-bin", "cifar-10-batches-mat", "data_batch_1.bin", "data_batch_1.mat")


def _holds(folder: Path) -> bool:
    return (folder / "data_batch_1").is_file() or (folder / "test_batch").is_file()


def holds_cifar10(source: Path) -> bool:
    """Whether a folder contains CIFAR-10 or its archive."""
    return (source / ARCHIVE).is_file() or any(_holds(place) for place in (source, *(source / name for name in BELOW)))


def cifar10_records(source: Path) -> LabelledRecords:
    """The records of CIFAR-10. Raises DataError when a file is missing or differs from the published one."""
    if source.is_dir() and not any(_holds(place) for place in (source, *(source / name for name in BELOW))):
        other = next((name for name in OTHER_VERSIONS if (source / name).exists()), None)
        if other is not None:
            raise DataError(f"{other} belongs to another version of CIFAR-10", where=source, hint=f"download the python version, {ARCHIVE}")
        if (source / ARCHIVE).is_file():
            from torchvision.datasets import CIFAR10

            check_published(source, [(ARCHIVE, CIFAR10.tgz_md5)])
            with tempfile.TemporaryDirectory() as folder:  # the source may be read-only
                extract(source / ARCHIVE, Path(folder))
                return _read(Path(folder) / FOLDER)
    return _read(folder_with("CIFAR-10", source, BELOW, _holds, f"{FOLDER}/ or {ARCHIVE}"))


def _read(folder: Path) -> LabelledRecords:
    from torchvision.datasets import CIFAR10

    class Here(CIFAR10):
        """Looks for its files directly in the given folder, whatever its name."""

        base_folder = ""

    meta = (CIFAR10.meta["filename"], CIFAR10.meta["md5"])
    check_published(folder, [*map(tuple, CIFAR10.train_list), *map(tuple, CIFAR10.test_list), meta])

    def read(train: bool) -> tuple[np.ndarray, np.ndarray]:
        found = Here(folder, train)
        return found.data, np.array(found.targets)

    return LabelledRecords.of(read, CLASSES, folder)


def obtain_cifar10(folder: Path) -> Path:
    """Download CIFAR-10 into `folder`. Returns `folder`."""
    from torchvision.datasets import CIFAR10

    with downloading("cifar10", folder):
        CIFAR10(folder, download=True)
    return folder


DATASET = Dataset(
    "cifar10",
    "photographs of ten classes of objects",
    gathering("cifar10", holds_cifar10, obtain_cifar10, cifar10_records),
    image_size=32,
    crop="none",
    preset="sgan-cifar10",
    judge="sgan-encoder-cifar10",
)
