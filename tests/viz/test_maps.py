"""Positions, places and repeats of maps, on sets with known answers."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA

from stackgan_cli.viz import maps


def noise(count: int, side: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def test_components_are_those_of_a_library() -> None:
    features = np.random.default_rng(0).normal(size=(60, 12)).astype(np.float32) * np.arange(1, 13)
    ours, theirs = maps.principal_components(features, 5), PCA(5).fit_transform(features)
    assert np.allclose(np.abs(ours), np.abs(theirs), atol=1e-4)
    assert maps.principal_components(features[:4], 50).shape == (4, 4)


def test_clusters_stay_together() -> None:
    random = np.random.default_rng(0)
    kinds = np.repeat(np.arange(3), 40)
    features = random.normal(size=(120, 64)) + 12 * random.normal(size=(3, 64))[kinds]
    for components in (50, 0):
        positions, divergence = maps.embed(features, components=components, seed=1)
        assert positions.min() == 0 and positions.max() == 1 and 0 < divergence < 2
        nearest = np.argsort(cdist(positions, positions), axis=1)[:, 1:4]
        assert (kinds[nearest] == kinds[:, None]).mean() > 0.98
    assert np.array_equal(positions, maps.embed(features, components=0, seed=1)[0])


@pytest.mark.parametrize("count", [4, 5, 30])
def test_small_and_unvarying_sets_are_embedded(count: int) -> None:
    for features in (np.ones((count, 7)), np.random.default_rng(0).normal(size=(count, 1))):
        positions, _ = maps.embed(features)
        assert positions.shape == (count, 2) and np.isfinite(positions).all()


def test_nearest_shows_the_closest_image_of_each_place() -> None:
    positions = np.array([[0.0, 0.0], [0.04, 0.0], [1.0, 0.0], [0.5, 0.45], [0.5, 0.52]])
    cells = maps.snap_nearest(positions, 3)
    assert cells.tolist() == [[0, -1, 2], [-1, 4, -1], [-1, -1, -1]]


def test_assignment_gives_every_place_an_image_of_its_own() -> None:
    places = np.stack(np.meshgrid(np.linspace(0, 1, 6), np.linspace(0, 1, 6)), -1).reshape(-1, 2)
    order = np.random.default_rng(0).permutation(36)
    assert np.array_equal(order[maps.snap_assign(places[order], 6).ravel()], np.arange(36)), "images on the places stay there"
    crowded = np.random.default_rng(1).beta(0.3, 0.3, (200, 2))
    cells = maps.snap_assign(crowded, 10)
    assert len(np.unique(cells)) == 100 and cells.min() >= 0
    assert maps.snap_assign(crowded[:1], 1).tolist() == [[0]]


def test_of_many_images_an_even_share_is_assigned() -> None:
    positions = np.random.default_rng(0).random((20_000, 2)) ** 2
    chosen = maps._spread(positions, 5000)
    assert len(np.unique(chosen)) == 5000
    everywhere, share = (np.histogram2d(*points.T, bins=5)[0] for points in (positions, positions[chosen]))
    assert np.abs(share / everywhere - 0.25).max() < 0.1


def test_the_default_grid_is_filled() -> None:
    assert [maps.default_grid(count) for count in (1, 4, 100, 3000, 30_000)] == [1, 1, 9, 50, 50]


def test_repeats_are_connected_components() -> None:
    """Against scipy, on sets whose images are linked directly, through others, or not at all."""
    random = np.random.default_rng(0)
    base = random.uniform(0, 255, (40, 768))
    pixels = (base[random.integers(0, 40, 600)] + random.normal(0, 4, (600, 768)) * random.random((600, 1))).astype(np.float32)
    for rms in (1.0, 3.0, 5.0):
        found = maps.find_repeats(pixels, rms)
        _, labels = connected_components(cdist(pixels, pixels) < rms * 768**0.5)
        together = labels[:, None] == labels
        assert np.array_equal(
            together & ~np.eye(600, dtype=bool),
            (found.groups[:, None] == found.groups) & (found.groups >= 0)[:, None] & ~np.eye(600, dtype=bool),
        )
        assert found.sizes == sorted(found.sizes, reverse=True) and sum(found.sizes) == found.num_images
        assert found.num_groups == (np.bincount(labels) > 1).sum()


def test_a_collapsed_generator_is_shown_as_such() -> None:
    one = np.repeat(noise(1, 64), 300, 0)
    nearly = np.clip(one.astype(int) + np.random.default_rng(0).integers(-6, 7, one.shape), 0, 255).astype(np.uint8)
    for images in (one, nearly):
        repeats = maps.find_repeats(maps.pixel_features(images))
        assert (repeats.num_groups, repeats.num_images, repeats.sizes) == (1, 300, [300])
        positions, _ = maps.embed(maps.pixel_features(images))
        cells = maps.snap_assign(positions, 4)
        page = maps.draw_map(maps.reduced(images, 24), cells, repeats.groups)
        assert page.shape == (96, 96, 3) and (page[0] == maps.group_colour(0)).all(), "every tile is outlined"
    mixed = np.concatenate([noise(200, 64, seed=1), one[:20], np.repeat(noise(1, 64, seed=2), 30, 0)])
    repeats = maps.find_repeats(maps.pixel_features(mixed))
    # Noise averaged over 4 x 4 px varies by 18 levels: no two images are repeats.
    assert repeats.sizes == [30, 20] and (repeats.groups[:200] == -1).all() and (repeats.groups[220:] == 0).all()


def test_a_varied_set_has_no_repeats_and_no_outlines() -> None:
    images = noise(50)
    repeats = maps.find_repeats(maps.pixel_features(images))
    assert (repeats.num_groups, repeats.num_images, repeats.sizes) == (0, 0, [])
    page = maps.draw_map(images, np.array([[3, -1], [7, 9]]), repeats.groups)
    assert (page[:16, :16] == images[3]).all() and (page[16:, 16:] == images[9]).all() and (page[:16, 16:] == 255).all()


def test_images_are_averaged_down_and_never_up() -> None:
    images = noise(3, 64)
    assert np.allclose(maps.reduced(images, 16), images.reshape(3, 16, 4, 16, 4, 3).mean((2, 4)), atol=0.51)
    assert maps.reduced(images, 64) is images and maps.pixel_features(noise(2, 8)).shape == (2, 192)
