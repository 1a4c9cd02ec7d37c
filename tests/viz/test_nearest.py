"""The nearest neighbors, against all distances computed at once, and the sheet that shows them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from stackgan_cli.viz.grids import GAP
from stackgan_cli.viz.nearest import WIDE_GAP, Nearest, neighbour_sheet


@pytest.mark.parametrize("block", [1, 7, 64, 300])
def test_in_blocks_as_at_once(block: int) -> None:
    random = np.random.default_rng(0)
    many, few = random.normal(size=(300, 20)).astype(np.float32), random.normal(size=(6, 20)).astype(np.float32)
    nearest = Nearest(few, 5)
    for start in range(0, 300, block):
        nearest.add(many[start : start + block])
    all_distances = cdist(few, many)
    assert np.array_equal(nearest.indices, np.argsort(all_distances, 1)[:, :5])
    assert np.allclose(nearest.distances, np.sort(all_distances, 1)[:, :5], rtol=1e-5)
    assert nearest.seen == 300


def test_what_is_there_is_its_own_nearest_at_no_distance() -> None:
    many = 1e3 + np.random.default_rng(1).normal(size=(50, 2000)).astype(np.float32)
    nearest = Nearest(many[10:20], 3)
    nearest.add(many)
    assert nearest.indices[:, 0].tolist() == list(range(10, 20)) and (nearest.distances[:, 0] == 0).all()


def test_fewer_than_wanted_and_equal_ones() -> None:
    nearest = Nearest(np.zeros((1, 2)), 5)
    nearest.add(np.ones((2, 2)))
    nearest.add(np.ones((1, 2)))
    assert nearest.indices.tolist() == [[0, 1, 2]]


def test_a_row_shows_the_image_a_gap_and_its_neighbours() -> None:
    random = np.random.default_rng(0)
    images, neighbours = (random.integers(0, 255, shape, dtype=np.uint8) for shape in ((2, 8, 8, 3), (2, 3, 8, 8, 3)))
    page = neighbour_sheet(images, neighbours)
    assert page.shape == (16 + GAP, 4 * 8 + WIDE_GAP + 2 * GAP, 3)
    assert (page[-8:, :8] == images[1]).all() and (page[:8, -8:] == neighbours[0, 2]).all()
    assert (page[:, 8 : 8 + WIDE_GAP] == 255).all()
