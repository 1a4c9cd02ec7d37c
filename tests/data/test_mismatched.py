"""Mismatched pairs inside a batch."""

from __future__ import annotations

import numpy as np
import pytest

from stackgan_cli.data.feed import mismatched_order


@pytest.mark.parametrize("seed", range(20))
def test_a_permutation_to_other_classes(seed: int) -> None:
    random = np.random.default_rng(seed)
    size = int(random.integers(2, 40))
    class_ids = random.integers(0, random.integers(2, 12), size)
    order = mismatched_order(class_ids, random)
    assert sorted(order) == list(range(size))
    if np.bincount(class_ids).max() <= size / 2:
        assert (class_ids[order] != class_ids).all()


def test_of_one_class_it_is_still_a_permutation() -> None:
    assert sorted(mismatched_order(np.zeros(5, int), np.random.default_rng(0))) == list(range(5))
