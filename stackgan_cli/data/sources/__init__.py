"""The datasets that `stackgan prepare` supports. To add one, define its row in a file in this folder and list the file in the table."""

from __future__ import annotations

from stackgan_cli.data.cache import Cache
from stackgan_cli.data.sources import cifar10, cub, demo, digits, mnist, svhn
from stackgan_cli.data.sources.base import Dataset, Gathered, SourceOptions
from stackgan_cli.errors import DataError, UsageError, did_you_mean

__all__ = ["DATASETS", "Dataset", "Gathered", "SourceOptions", "dataset_names", "dataset_of", "find_dataset", "gather"]

DATASETS: dict[str, Dataset] = {module.DATASET.name: module.DATASET for module in (demo, cub, mnist, svhn, cifar10, digits)}


def dataset_names() -> list[str]:
    """Names that `prepare` accepts."""
    return list(DATASETS)


def find_dataset(name: str) -> Dataset:
    """The dataset called `name`. Raises UsageError with a suggestion for an unknown name."""
    if name not in DATASETS:
        raise UsageError(
            f"there is no dataset {name!r}{did_you_mean(name, DATASETS)}", where="prepare", hint=f"choose from {', '.join(DATASETS)}"
        )
    return DATASETS[name]


def dataset_of(cache: Cache) -> Dataset:
    """The dataset that a cache was made from. An unknown one is treated like CUB, as photographs with captions."""
    return DATASETS.get(cache.dataset, cub.DATASET)


def gather(name: str, options: SourceOptions) -> Gathered:
    """The records of a dataset. Raises UsageError for an unknown name, DataError when the dataset is missing or damaged."""
    if name != demo.DATASET.name and (options.count, options.species) != (None, None):
        raise UsageError("these options apply to the demo dataset only", where="--count, --species", hint="leave them out")
    gathered = find_dataset(name).gather(options)
    if not len(gathered.records):
        raise DataError(f"the dataset {name!r} has no images", where=options.source or "")
    return gathered
