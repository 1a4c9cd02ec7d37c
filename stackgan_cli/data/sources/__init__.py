"""The datasets that `stackgan prepare` knows: one table from a name to its records."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stackgan_cli.data.demo_birds import demo_records
from stackgan_cli.data.download import Progress
from stackgan_cli.data.records import Record
from stackgan_cli.data.sources.cifar10 import cifar10_records, holds_cifar10, obtain_cifar10
from stackgan_cli.data.sources.cub import cub_records, holds_cub, obtain_cub
from stackgan_cli.data.sources.digits import digits_records
from stackgan_cli.data.sources.mnist import holds_mnist, mnist_records, obtain_mnist
from stackgan_cli.data.sources.svhn import holds_svhn, obtain_svhn, svhn_records
from stackgan_cli.errors import DataError, UsageError, did_you_mean


@dataclass(frozen=True)
class SourceOptions:
    """What a user may say about where records come from."""

    workspace: Path = Path()
    source: Path | None = None
    """A folder in the layout of the dataset's authors; None looks for one and downloads."""
    count: int | None = None
    """How many images to make, where they are made."""
    species: int | None = None
    image_size: int = 304
    """Side in pixels to draw for, where images are drawn."""
    seed: int = 0
    progress: Progress | None = None
    """Told of bytes downloaded."""


@dataclass(frozen=True)
class Gathered:
    """Records, and what the user should know about them."""

    records: Sequence[Record]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """One row of the table."""

    summary: str
    gather: Callable[[SourceOptions], Gathered]
    image_size: int = 304
    """Side in pixels at which images are stored unless another is asked for."""
    crop: str = "box"
    """Whether images are cropped to the object (`box`) or not (`none`)."""


def _demo(options: SourceOptions) -> Gathered:
    _check_no_source(options, "the demo set is drawn, not read")
    count = 3000 if options.count is None else options.count
    species = min(1000, count) if options.species is None else options.species
    return Gathered(demo_records(count, species, options.seed, options.image_size))


def _cub(options: SourceOptions) -> Gathered:
    source = options.source or find_source("cub", options.workspace, holds_cub)
    records = cub_records(source or obtain_cub(options.workspace / "downloads" / "cub", options.progress))
    return Gathered(records, records.notes)


def _labelled(
    name: str, holds: Callable[[Path], bool], obtain: Callable[[Path], Path], read: Callable[[Path], Sequence[Record]]
) -> Callable[[SourceOptions], Gathered]:
    """How a dataset with labels is come by: looked for, or downloaded by torchvision."""

    def gather(options: SourceOptions) -> Gathered:
        source = options.source or find_source(name, options.workspace, holds)
        return Gathered(read(source or obtain(options.workspace / "downloads" / name)))

    return gather


def _digits(options: SourceOptions) -> Gathered:
    _check_no_source(options, "these digits come with scikit-learn")
    return Gathered(digits_records(options.image_size))


def _check_no_source(options: SourceOptions, reason: str) -> None:
    if options.source is not None:
        raise UsageError(reason, where="--source", hint="leave --source out")


def find_source(name: str, workspace: Path, holds: Callable[[Path], bool]) -> Path | None:
    """The first of the usual places that holds a dataset: below `$STACKGAN_DATA`, then below the workspace."""
    bases = [workspace / "downloads", workspace / "data", workspace]
    if os.environ.get("STACKGAN_DATA"):
        bases.insert(0, Path(os.environ["STACKGAN_DATA"]))
    return next((place for base in bases for place in (base / name, base) if holds(place)), None)


DATASETS: dict[str, Dataset] = {
    "demo": Dataset("drawn birds with captions, boxes and parts; nothing to download", _demo),
    "cub": Dataset("CUB-200-2011 with ten captions an image, in its authors' layout", _cub),
    "mnist": Dataset("handwritten digits, grey", _labelled("mnist", holds_mnist, obtain_mnist, mnist_records), 28, "none"),
    "svhn": Dataset("house numbers, one digit a picture", _labelled("svhn", holds_svhn, obtain_svhn, svhn_records), 32, "none"),
    "cifar10": Dataset(
        "photographs of ten kinds of things", _labelled("cifar10", holds_cifar10, obtain_cifar10, cifar10_records), 32, "none"
    ),
    "digits": Dataset("the digits that scikit-learn carries, enlarged; nothing to download", _digits, 28, "none"),
}


def dataset_names() -> list[str]:
    """Names that `prepare` takes."""
    return list(DATASETS)


def find_dataset(name: str) -> Dataset:
    """The dataset called `name`. Raises UsageError, with a suggestion, when there is none."""
    if name not in DATASETS:
        raise UsageError(
            f"there is no dataset {name!r}{did_you_mean(name, DATASETS)}", where="prepare", hint=f"choose from {', '.join(DATASETS)}"
        )
    return DATASETS[name]


def gather(name: str, options: SourceOptions) -> Gathered:
    """The records of a dataset. Raises UsageError for an unknown name, DataError when it is not there or damaged."""
    if name != "demo" and (options.count, options.species) != (None, None):
        raise UsageError("only the demo set has numbers of images and species to choose", where="--count, --species", hint="leave them out")
    gathered = find_dataset(name).gather(options)
    if not len(gathered.records):
        raise DataError(f"the dataset {name!r} has no images", where=options.source or "")
    return gathered
