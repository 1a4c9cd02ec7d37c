"""The labels of a classifier: classes of a cache, or its attributes, as numbers; and the images that are held out from its training.

Where the test split has the same classes (MNIST), accuracy is measured on it. Where it has others (CUB, demo), and for attributes,
accuracy is measured on a held-out part of the training split.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stackgan_cli.data.cache import Cache
from stackgan_cli.errors import DataError, did_you_mean

HELD_OUT_EVERY = 5
"""The fifth, tenth, ... image of each label is held out from training."""


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels of the images of a split; rows are row numbers of the cache, ascending."""

    names: tuple[str, ...]
    ids: np.ndarray
    """(N,) int64: index into `names` for every image of the cache, -1 outside the split and the held-out images."""
    trained: np.ndarray
    """Rows to train on."""
    held_out: np.ndarray
    """Rows to measure accuracy on: the test split, or a fifth of each label; empty when no label has five images."""
    held_split: str
    """The split that the held-out rows belong to."""


def read_labels(cache: Cache, label: str, split: str) -> Labels:
    """Labels of the images of `split`: `class`, in the order of the cache's classes, or attributes joined by `+`, in alphabetical order.

    Only values that occur in the split become labels. Raises DataError for an unknown attribute, and for images without a label.
    """
    rows = cache.rows(split)
    if label == "class":
        present, ids = np.unique(cache.class_ids[rows], return_inverse=True)
        missing = int((cache.class_ids[rows] < 0).sum())
        names = tuple(cache.class_names[number] for number in present)
    else:
        columns = [_attribute(cache, part.strip()) for part in label.split("+")]
        values = [tuple(column[row] for column in columns) for row in rows]
        found = sorted(set(values))
        index = {value: number for number, value in enumerate(found)}
        ids = np.array([index[value] for value in values], np.int64)
        missing = sum(not all(value) for value in values)
        names = tuple("+".join(value) for value in found)
    if missing:
        raise DataError(f"{missing:,} images of the {split!r} split have no {label}", where=cache.path, hint="choose another model.label")
    if len(names) < 2:
        raise DataError(f"a classifier needs at least two labels, but {label!r} has {len(names)} in the {split!r} split", where=cache.path)
    everywhere = np.full(cache.num_images, -1, np.int64)
    everywhere[rows] = ids
    if label == "class" and split == "train" and len(test := cache.rows("test")) and set(cache.class_ids[test]) <= set(present):
        everywhere[test] = np.searchsorted(present, cache.class_ids[test])
        return Labels(names, everywhere, rows, test, "test")
    held = np.zeros(len(rows), bool)
    for number in range(len(names)):
        held[np.flatnonzero(ids == number)[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]] = True
    return Labels(names, everywhere, rows[~held], rows[held], split)


def _attribute(cache: Cache, name: str) -> list[str]:
    attributes = cache.attributes
    if name not in attributes:
        choices = f"class, {', '.join(sorted(attributes))}" if attributes else "only class"
        raise DataError(
            f"there is no attribute {name!r} in this cache{did_you_mean(name, attributes)}",
            where=cache.path,
            hint=f"model.label can be {choices}; join several with '+'",
        )
    return attributes[name]
