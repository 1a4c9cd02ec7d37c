"""SVHN (Netzer et al. 2011), the cropped digits: 73,257 and 26,032 house numbers of 32 px, in color. Without the `extra` set.

torchvision reads and downloads the files after checking them against their published MD5.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stackgan_cli.data.sources.base import Dataset
from stackgan_cli.data.sources.labelled import DIGITS, LabelledRecords, check_published, downloading, folder_with, gathering
from stackgan_cli.errors import EnvironmentProblem

BELOW = ("svhn", "SVHN")
SPLITS = {True: "train", False: "test"}


def _holds(folder: Path) -> bool:
    return any((folder / f"{split}_32x32.mat").is_file() for split in SPLITS.values())


def holds_svhn(source: Path) -> bool:
    """Whether a folder contains SVHN."""
    return any(
        all((place / f"{split}_32x32.mat").is_file() for split in SPLITS.values()) for place in (source, *(source / b for b in BELOW))
    )


def svhn_records(source: Path) -> LabelledRecords:
    """The records of SVHN. Raises DataError when a file is missing or differs from the published one, EnvironmentProblem without SciPy."""
    try:
        import scipy.io  # noqa: F401  torchvision needs it
    except ImportError:
        raise EnvironmentProblem("reading SVHN needs SciPy, which is not installed", hint="python -m pip install scipy") from None
    from torchvision.datasets import SVHN

    folder = folder_with("SVHN", source, BELOW, _holds, "train_32x32.mat and test_32x32.mat")
    check_published(folder, [tuple(SVHN.split_list[split][1:]) for split in SPLITS.values()])

    def read(train: bool) -> tuple[np.ndarray, np.ndarray]:
        found = SVHN(folder, SPLITS[train])
        return found.data.transpose(0, 2, 3, 1), found.labels

    return LabelledRecords.of(read, DIGITS, folder)


def obtain_svhn(folder: Path) -> Path:
    """Download SVHN into `folder`. Returns `folder`."""
    from torchvision.datasets import SVHN

    with downloading("svhn", folder):
        for split in SPLITS.values():
            SVHN(folder, split, download=True)
    return folder


DATASET = Dataset(
    "svhn",
    "house numbers, one digit per image",
    gathering("svhn", holds_svhn, obtain_svhn, svhn_records),
    image_size=32,
    crop="none",
    preset="sgan-svhn",
    judge="sgan-encoder-svhn",
)
