"""The labels of a classifier, against direct counting; and labels in batches of the feed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_feed import fake_cache, kept_cache, make_feed

from stackgan_cli.data.batch import Needs
from stackgan_cli.data.feed import Conditions
from stackgan_cli.data.labels import read_labels
from stackgan_cli.errors import DataError


def labelled_cache() -> SimpleNamespace:
    """120 images: 80 for training, of classes 3, 1 and 2, and 40 for testing, of classes 0 and 4."""
    number = np.arange(120)
    train = number % 3 != 2
    return SimpleNamespace(
        path=Path("caches/fake.h5"),
        num_images=120,
        class_names=["a", "b", "c", "d", "e"],
        class_ids=np.where(train, 1 + number % 7 % 3, 4 * (number % 2)),
        rows=lambda split: {"train": np.flatnonzero(train), "test": np.flatnonzero(~train), "all": number}[split],
        attributes={"body": [("red", "blue")[i % 2] for i in number], "wing": [("grey", "black", "white")[i % 5 % 3] for i in number]},
    )


@pytest.mark.parametrize("split", ["train", "test", "all"])
@pytest.mark.parametrize("label", ["class", "body", "wing+body", "body + wing"])
def test_labels_are_those_counted_directly(label: str, split: str) -> None:
    cache = labelled_cache()
    labels = read_labels(cache, label, split)  # type: ignore[arg-type]
    rows = cache.rows(split)

    def name(row: int) -> str:
        if label == "class":
            return str(cache.class_names[cache.class_ids[row]])
        return "+".join(cache.attributes[part.strip()][row] for part in label.split("+"))

    assert labels.names == tuple(sorted({name(row) for row in rows}))
    assert [labels.names[labels.ids[row]] for row in rows] == [name(row) for row in rows]
    assert (labels.ids[np.setdiff1d(np.arange(120), rows)] == -1).all()

    held = [row for wanted in labels.names for row in [row for row in rows if name(row) == wanted][4::5]]
    assert labels.held_out.tolist() == sorted(held) and len(held) > 0
    assert sorted([*labels.trained, *labels.held_out]) == rows.tolist()


def test_classes_that_the_test_split_has_as_well_are_measured_on_it() -> None:
    cache = labelled_cache()
    cache.class_ids[:] = np.arange(120) * 7 % 4 + 1  # every class in both splits, except class a
    labels = read_labels(cache, "class", "train")  # type: ignore[arg-type]
    assert labels.names == ("b", "c", "d", "e") and labels.held_split == "test"
    assert labels.trained.tolist() == cache.rows("train").tolist() and labels.held_out.tolist() == cache.rows("test").tolist()
    assert labels.ids.tolist() == (cache.class_ids - 1).tolist()
    assert read_labels(cache, "class", "test").held_split == "test" and len(read_labels(cache, "class", "test").held_out) < 40  # type: ignore[arg-type]
    assert read_labels(cache, "body", "train").held_split == "train"  # type: ignore[arg-type]
    cache.class_ids[cache.rows("test")[0]] = 0  # a class without training images
    assert read_labels(cache, "class", "train").held_split == "train"  # type: ignore[arg-type]


def test_labels_that_are_not_there() -> None:
    cache = labelled_cache()
    with pytest.raises(DataError, match=r"no attribute 'wings' in this cache - did you mean 'wing'") as caught:
        read_labels(cache, "body+wings", "train")  # type: ignore[arg-type]
    assert "class, body, wing" in caught.value.hint
    cache.attributes["body"][0] = ""
    with pytest.raises(DataError, match="1 images of the 'train' split have no body"):
        read_labels(cache, "body", "train")  # type: ignore[arg-type]
    cache.class_ids[:] = -1
    with pytest.raises(DataError, match="80 images of the 'train' split have no class"):
        read_labels(cache, "class", "train")  # type: ignore[arg-type]
    cache.class_ids[:] = 2
    with pytest.raises(DataError, match="at least two labels"):
        read_labels(cache, "class", "train")  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [fake_cache, kept_cache], ids=["squashed", "kept"])
def test_labels_in_a_batch_belong_to_its_images(make: object) -> None:
    """For every layout, residency and part, labels belong to their rows, and rows are the given ones."""
    cache = make()  # type: ignore[operator]
    labels, rows = np.random.default_rng(0).permutation(cache.num_images), np.arange(3, 26)
    needs, given = Needs(images=(32,), text=False, labels=True), Conditions(labels=labels)
    feeds = [make_feed(cache, needs=needs, conditions=given, rows=rows, residency=residency) for residency in ("device", "ram", "mmap")]
    assert len(feeds[0]) == len(rows)
    seen: set[int] = set()
    for step in range(6):
        first, *others = [feed.batch(step) for feed in feeds]
        assert first.labels is not None and first.rows is not None
        assert first.labels.tolist() == labels[first.rows.numpy()].tolist()
        seen |= set(first.rows.tolist())
        for other in others:
            assert torch.equal(first.labels, other.labels) and torch.equal(first.images[32], other.images[32])  # type: ignore[arg-type]
        parts = [feeds[0].batch(step, part=part, parts=4).labels for part in range(4)]
        assert torch.equal(first.labels, torch.cat(parts))  # type: ignore[arg-type]
    assert seen == set(rows.tolist())
    assert make_feed(cache, needs=Needs(images=(32,), text=False), conditions=given).batch(0).labels is None
