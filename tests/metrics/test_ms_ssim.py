"""MS-SSIM against its definition in numpy, and the pairs over which diversity is averaged."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.ndimage import convolve

from stackgan_cli.errors import DataError, UsageError
from stackgan_cli.metrics import ms_ssim as module
from stackgan_cli.metrics.ms_ssim import ms_ssim, ms_ssim_diversity, pair_scores


def definition(a: np.ndarray, b: np.ndarray) -> float:
    """One pair (S, S, 3) by a loop over scales and a sum over the two-dimensional window, in float64."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    result = 1.0
    for scale, weight in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        side = a.shape[0]
        size = min(11, side)
        sigma = 1.5 * size / 11
        y, x = np.mgrid[:size, :size] - (size - 1) / 2
        window = np.exp(-(x**2 + y**2) / (2 * sigma**2))
        window /= window.sum()

        def smooth(image: np.ndarray, window: np.ndarray = window, places: int = side - size + 1, size: int = size) -> np.ndarray:
            out = np.zeros((places, places, 3))
            for row, col in itertools.product(range(size), repeat=2):
                out += window[row, col] * image[row : row + places, col : col + places]
            return out

        mean_a, mean_b = smooth(a), smooth(b)
        variance_a, variance_b = smooth(a * a) - mean_a**2, smooth(b * b) - mean_b**2
        covariance = smooth(a * b) - mean_a * mean_b
        contrast = (2 * covariance + c2) / (variance_a + variance_b + c2)
        luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
        value = (luminance * contrast).mean() if scale == 4 else contrast.mean()
        result *= max(value, 0.0) ** weight
        a, b = (convolve(picture, np.full((2, 2, 1), 0.25), mode="reflect")[::2, ::2] for picture in (a, b))
    return float(result)


def pictures(count: int, side: int, seed: int = 0) -> np.ndarray:
    """uint8 (count, side, side, 3) with structure at every scale and similar content, so that the index is far from 0 and 1."""
    random = np.random.default_rng(seed)
    common = sum(np.kron(random.normal(0, 40, (side // block, side // block, 3)), np.ones((block, block, 1))) for block in (1, 2, 4, 8, 16))
    own = sum(
        np.kron(random.normal(0, 20, (count, side // block, side // block, 3)), np.ones((1, block, block, 1))) for block in (1, 2, 4, 8, 16)
    )
    return np.clip(127 + common + own, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("side", [16, 32, 64, 76, 128, 256])
def test_the_index_is_that_of_its_definition(side: int) -> None:
    """76 px have an odd scale of 19, whose last row and column the reflecting border repeats."""
    images = pictures(4, -(-side // 16) * 16)[:, :side, :side]
    found = ms_ssim(images[:2], images[2:])
    expected = [definition(images[i], images[i + 2]) for i in range(2)]
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    assert 0.3 < found.min() < found.max() < 0.98
    np.testing.assert_allclose(ms_ssim(images[:2].astype(np.float32), images[2:].astype(np.float32)), expected, rtol=1e-10)


def test_equal_pictures_have_the_index_1_and_the_order_of_two_does_not_matter() -> None:
    images = pictures(6, 64)
    np.testing.assert_allclose(ms_ssim(images, images), 1, rtol=1e-12)
    assert (ms_ssim(images[:3], images[3:]) == ms_ssim(images[3:], images[:3])).all()


def test_flat_pictures_differ_in_luminance_alone() -> None:
    a, b, c1 = 40.0, 200.0, (0.01 * 255) ** 2
    value = ms_ssim(np.full((1, 64, 64, 3), a), np.full((1, 64, 64, 3), b))[0]
    assert value == pytest.approx(((2 * a * b + c1) / (a**2 + b**2 + c1)) ** 0.1333, rel=1e-9)


def test_negative_contrast_is_clamped_and_not_undefined() -> None:
    image = pictures(1, 64)
    assert definition(image[0], 255 - image[0]) == 0
    assert ms_ssim(image, 255 - image).tolist() == [0.0]


def test_groups_and_parts_of_pairs_do_not_change_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    images = pictures(9, 32)
    pairs = np.array([*itertools.combinations(range(9), 2), (3, 3)])
    whole = pair_scores(images, pairs)
    monkeypatch.setattr(module, "IMAGES", 4 * 32 * 32)
    monkeypatch.setattr(module, "PAIRS", 2 * 32 * 32)
    np.testing.assert_allclose(pair_scores(images, pairs), whole, rtol=1e-12)
    np.testing.assert_allclose(whole, ms_ssim(images[pairs[:, 0]], images[pairs[:, 1]]), rtol=1e-12)


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(DataError, match="at least 16 px, not 8 x 8"):
        ms_ssim(np.zeros((1, 8, 8, 3)), np.zeros((1, 8, 8, 3)))
    with pytest.raises(DataError, match="not 64 x 32"):
        ms_ssim(np.zeros((1, 64, 32, 3)), np.zeros((1, 64, 32, 3)))
    with pytest.raises(DataError, match="do not form pairs"):
        ms_ssim(np.zeros((1, 64, 64, 3)), np.zeros((2, 64, 64, 3)))
    with pytest.raises(DataError, match="there are 1"):
        ms_ssim_diversity(np.zeros((1, 64, 64, 3), np.uint8))
    with pytest.raises(UsageError, match="'hdgam'"):
        ms_ssim_diversity(np.zeros((2, 64, 64, 3), np.uint8), compat="hdgam")


# -- diversity ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "most"), [(2, 10), (7, 21), (7, 20), (30, 400), (3000, 10_000)])
def test_random_pairs_are_different_and_unordered(n: int, most: int) -> None:
    pairs = module._random_pairs(n, most, np.random.default_rng(0))
    assert len(pairs) == min(most, n * (n - 1) // 2) == len({tuple(pair) for pair in pairs.tolist()})
    assert (pairs[:, 0] < pairs[:, 1]).all() and pairs.min() >= 0 and pairs.max() < n


def test_diversity_is_over_all_pairs_where_there_are_few() -> None:
    images, classes = pictures(9, 32), np.array([5, 5, 5, 2, 2, 2, 2, 8, 5])
    index = {pair: float(ms_ssim(images[[pair[0]]], images[[pair[1]]])[0]) for pair in itertools.combinations(range(9), 2)}
    by_class = [np.mean([index[pair] for pair in itertools.combinations(rows, 2)]) for rows in ((0, 1, 2, 8), (3, 4, 5, 6))]
    found = ms_ssim_diversity(images, classes)
    assert found["overall"] == pytest.approx(np.mean(list(index.values())))
    assert found["class_wise"] == pytest.approx(np.mean(by_class))
    assert found["class_wise_std"] == pytest.approx(np.std(by_class))
    assert (found["overall_pairs"], found["class_pairs"], found["classes"]) == (36, 12, 2)
    assert ms_ssim_diversity(images, np.arange(9))["class_wise"] is None
    assert ms_ssim_diversity(images)["class_wise"] is None


def test_diversity_draws_by_the_seed() -> None:
    images, classes = pictures(40, 32), np.arange(40) % 2
    few = {"class_pairs": 30, "overall_pairs": 50}
    first = ms_ssim_diversity(images, classes, **few)
    assert first == ms_ssim_diversity(images, classes, **few)
    assert first != ms_ssim_diversity(images, classes, **few, seed=1)
    assert (first["overall_pairs"], first["class_pairs"]) == (50, 60)


def test_a_collapsed_generator_has_no_diversity() -> None:
    images = np.repeat(pictures(1, 64), 25, axis=0)
    found = ms_ssim_diversity(images, np.arange(25) // 5)
    assert (found["overall"], found["class_wise"]) == (pytest.approx(1), pytest.approx(1))


def test_hdgan_s_pairs_are_18_of_a_picture_with_itself_and_343_that_double_count() -> None:
    images = pictures(20, 32)
    index = pair_scores(images, np.array(list(itertools.product(range(20), repeat=2)))).reshape(20, 20)
    # The script shuffles: find its order, then its 343 pairs of two different images.
    sample = np.random.default_rng(3).permutation(np.arange(20))
    pairs = [(i, j) for i in sample[:-1] for j in sample[1:]]
    m = np.mean([index[i, j] for i, j in pairs if i != j])
    found = ms_ssim_diversity(images, seed=3, compat="hdgan")
    assert found["overall_pairs"] == 361
    assert found["overall"] == pytest.approx((18 + 343 * m) / 361, rel=1e-12)
    # The formula of the draft, over pairs of different images.
    assert [round((361 * reported - 18) / 343, 3) for reported in (0.215, 0.225, 0.234)] == [0.174, 0.184, 0.194]


def test_hdgan_s_pairs_of_a_class_are_of_twenty_pictures_and_undefined_ones_are_left_out() -> None:
    images = pictures(50, 32)
    assert ms_ssim_diversity(images, np.arange(50) % 2, compat="hdgan")["class_pairs"] == 2 * 361
    opposite = np.concatenate([images[:1], 255 - images[:1]])
    assert ms_ssim_diversity(opposite)["overall"] == 0
    # For two images, the script compares only the first with the second, and that pair is undefined here.
    with pytest.raises(DataError, match="negative contrast"):
        ms_ssim_diversity(opposite, compat="hdgan")
