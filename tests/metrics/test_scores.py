"""Scores of features: closed forms, hand-made cases, and torch-fidelity on the same features where it is installed."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from stackgan_cli.errors import DataError, MismatchError
from stackgan_cli.metrics import scores
from stackgan_cli.metrics.scores import (
    Moments,
    frechet_distance,
    frechet_distance_of_features,
    inception_score,
    kernel_distance,
    precision_recall,
    r_precision,
)


def features(n: int, dim: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """Like pooled activations: nonnegative, correlated, with a decaying spectrum."""
    mixing = np.random.default_rng(99).standard_normal((dim, dim)) * np.exp(-6 * np.arange(dim) / dim)[:, None]
    return np.maximum(np.random.default_rng(seed).standard_normal((n, dim)) @ mixing / 4 + 0.1 + shift, 0)


def moments_of(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return rows.mean(0), np.cov(rows, rowvar=False)


# -- moments ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_moments_are_those_of_numpy_whatever_the_batches_and_parts(offset: float) -> None:
    rows = features(300, 24, 0) + offset
    parts = [Moments(24) for _ in range(3)]
    for number, batch in enumerate(np.array_split(rows[:299], 17)):
        parts[number % 2].add(batch)
    parts[2].add(rows[299:])
    whole = Moments(24)
    for part in parts:
        whole.merge(part)
    whole.merge(Moments(24))
    whole.add(rows[:0])
    mean, covariance = moments_of(rows)
    assert whole.n == 300
    np.testing.assert_allclose(whole.mean, mean, rtol=1e-13)
    assert np.abs(whole.covariance - covariance).max() <= 1e-12 * np.abs(covariance).max()
    assert (whole.covariance == whole.covariance.T).all()


def test_moments_of_float32_are_summed_in_float64() -> None:
    rows = (features(1000, 8, 1) + 100).astype(np.float32)
    moments = Moments(8)
    for batch in np.array_split(rows, 10):
        moments.add(batch)
    np.testing.assert_allclose(moments.covariance, np.cov(rows.astype(np.float64), rowvar=False), rtol=1e-12)


def test_moments_refuse_what_would_spoil_them() -> None:
    moments = Moments(3)
    with pytest.raises(DataError, match="not finite"):
        moments.add(np.array([[1.0, np.nan, 0.0]]))
    moments.add(np.ones((1, 3)))
    with pytest.raises(DataError, match="at least 2 images, but there are 1"):
        _ = moments.covariance
    with pytest.raises(MismatchError, match="3 and of 4 dimensions"):
        moments.merge(Moments(4))


# -- Fréchet distance ---------------------------------------------------------------------------------------------------------


def test_frechet_of_gaussians_with_known_distance() -> None:
    dim, a, b = 7, 1.5, 0.25
    mean, eye = np.zeros(dim), np.eye(dim)
    shift = np.arange(dim, dtype=float)
    assert frechet_distance(mean, eye, mean + shift, eye) == pytest.approx(shift @ shift, rel=1e-12)
    assert frechet_distance(mean, a**2 * eye, mean, b**2 * eye) == pytest.approx(dim * (a - b) ** 2, rel=1e-12)
    # Commuting covariances: the distance between the roots of their eigenvalues, even where some are 0.
    basis = np.linalg.qr(np.random.default_rng(0).standard_normal((dim, dim)))[0]
    first, second = np.array([4.0, 1, 9, 0, 0, 2, 0]), np.array([1.0, 1, 0, 0, 16, 3, 0])
    value = frechet_distance(mean, basis * first @ basis.T, mean, basis * second @ basis.T)
    assert value == pytest.approx(np.square(np.sqrt(first) - np.sqrt(second)).sum(), rel=1e-9)


@pytest.mark.parametrize("covariance", [np.zeros((4, 4)), np.eye(4)])
def test_frechet_to_a_single_point_is_the_trace_and_the_shift(covariance: np.ndarray) -> None:
    mean = np.arange(4.0)
    assert frechet_distance(mean, covariance, np.zeros(4), np.zeros((4, 4))) == pytest.approx(14 + np.trace(covariance), rel=1e-12)


@pytest.mark.parametrize(("n1", "n2"), [(400, 300), (40, 30), (30, 40), (40, 300), (300, 40), (2, 2)])
def test_frechet_is_symmetric_and_both_forms_agree_at_every_rank(n1: int, n2: int) -> None:
    a, b = features(n1, 96, 1), features(n2, 96, 2, 0.05)
    of_features, of_moments = frechet_distance_of_features(a, b), frechet_distance(*moments_of(a), *moments_of(b))
    assert of_moments == pytest.approx(of_features, rel=1e-6)
    assert frechet_distance_of_features(b, a) == pytest.approx(of_features, rel=1e-8)
    # The definition on the span of the data, where the covariances are regular.
    first, second = (rows - rows.mean(0) for rows in (a, b))
    root = np.linalg.svd(first @ second.T / np.sqrt((n1 - 1) * (n2 - 1)), compute_uv=False).sum()
    traces = sum(np.square(rows).sum() / (len(rows) - 1) for rows in (first, second))
    assert of_features == pytest.approx(np.square(a.mean(0) - b.mean(0)).sum() + traces - 2 * root, rel=1e-8)


def test_frechet_agrees_with_the_matrix_root_where_that_is_regular() -> None:
    a, b = features(900, 64, 1), features(800, 64, 2, 0.05)
    (mean1, cov1), (mean2, cov2) = moments_of(a), moments_of(b)
    expected = np.square(mean1 - mean2).sum() + np.trace(cov1 + cov2 - 2 * np.real(sqrtm(cov1 @ cov2)))
    assert frechet_distance(mean1, cov1, mean2, cov2) == pytest.approx(expected, rel=1e-9)


def test_frechet_of_a_set_and_itself_is_zero_and_never_below() -> None:
    for rows in (features(500, 64, 3), features(30, 64, 3), np.repeat(features(4, 64, 3), 50, axis=0)):
        for value in (frechet_distance(*moments_of(rows), *moments_of(rows)), frechet_distance_of_features(rows, rows)):
            assert 0 <= value < 1e-6


def test_frechet_of_features_that_repeat_is_exact() -> None:
    """Forty images, only four of them different: 36 singular values are 0; computed as roots of eigenvalues they would be noise."""
    repeated, others = np.repeat(features(4, 200, 5), 10, axis=0), features(60, 200, 6)
    centred = (repeated - repeated.mean(0)) / np.sqrt(39), (others - others.mean(0)) / np.sqrt(59)
    left, size, _ = np.linalg.svd(centred[0].T, full_matrices=False)
    thin = (left * size)[:, :3]
    expected = np.square(repeated.mean(0) - others.mean(0)).sum() + sum(np.square(rows).sum() for rows in centred)
    expected -= 2 * np.linalg.svd(centred[1] @ thin, compute_uv=False).sum()
    assert frechet_distance_of_features(repeated, others) == pytest.approx(expected, rel=1e-11)
    assert frechet_distance(*moments_of(repeated), *moments_of(others)) == pytest.approx(expected, rel=1e-6)


def test_frechet_refuses_other_dimensions_too_few_images_and_what_is_not_finite() -> None:
    eye = np.eye(3)
    with pytest.raises(MismatchError, match="3 and of 2 dimensions"):
        frechet_distance(np.zeros(3), eye, np.zeros(2), np.eye(2))
    with pytest.raises(DataError, match="not finite"):
        frechet_distance(np.zeros(3), np.diag([1, np.inf, 1]), np.zeros(3), eye)
    with pytest.raises(DataError, match="needs at least 2 images"):
        frechet_distance_of_features(np.zeros((1, 3)), np.zeros((5, 3)))


# -- Inception score ----------------------------------------------------------------------------------------------------------


def test_inception_score_of_uniform_and_of_one_hot_probabilities() -> None:
    assert inception_score(np.full((100, 50), 3.7)) == pytest.approx((1.0, 0.0), abs=1e-12)
    one_hot = np.where(np.eye(50, dtype=bool), 0.0, -np.inf)
    mean, std = inception_score(np.tile(one_hot, (20, 1)).astype(np.float32))
    assert (mean, std) == pytest.approx((50.0, 0.0), rel=1e-9, abs=1e-9)
    # A split with one class has score 1, and a class that never occurs adds nothing.
    assert inception_score(np.repeat(one_hot, 2, axis=0), splits=50)[0] == pytest.approx(1.0)


def test_inception_score_by_hand_over_contiguous_splits_with_divisor_n() -> None:
    p = np.array([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]])

    def direct(rows: np.ndarray) -> float:
        return float(np.exp((rows * np.log(rows / rows.mean(0))).sum(1).mean()))

    parts = [direct(p[:1]), direct(p[1:])]
    assert inception_score(np.log(p), splits=2) == pytest.approx((np.mean(parts), abs(parts[0] - parts[1]) / 2))
    with pytest.raises(DataError, match="over 10 splits needs at least 10 images, but there are 3"):
        inception_score(np.log(p))
    with pytest.raises(DataError, match="not finite"):
        inception_score(np.full((10, 3), np.nan))


# -- kernel distance ----------------------------------------------------------------------------------------------------------


def test_kernel_distance_by_its_definition() -> None:
    real, fake = features(6, 5, 1), features(8, 5, 2)

    def k(x: np.ndarray, y: np.ndarray) -> float:
        return float((x @ y / 5 + 1) ** 3)

    expected = np.mean([k(x, y) for x, y in itertools.permutations(real, 2)]) - 2 * np.mean([k(x, y) for x in real for y in fake[:6]])
    expected += np.mean([k(x, y) for x, y in itertools.permutations(fake[:6], 2)])
    assert kernel_distance(real, fake[:6], subsets=3) == pytest.approx((expected, 0.0), abs=1e-12)


def test_kernel_distance_is_seeded_unbiased_and_shrinks_its_subsets() -> None:
    real, same, other = features(900, 16, 1), features(800, 16, 2), features(800, 16, 3, 0.3)
    mean, std = kernel_distance(real, same, subsets=40, size=200)
    assert abs(mean) < std
    assert kernel_distance(real, other, subsets=10)[0] > 20 * abs(mean)
    assert kernel_distance(real, same, 5, 100, seed=1) == kernel_distance(real, same, 5, 100, seed=1)
    assert kernel_distance(real, same, 5, 100, seed=1) != kernel_distance(real, same, 5, 100, seed=2)
    with pytest.raises(DataError, match="needs at least 2 images"):
        kernel_distance(real, same[:1])


# -- precision and recall -----------------------------------------------------------------------------------------------------


def column(*values: float) -> np.ndarray:
    return np.array(values, float)[:, None]


def test_precision_and_recall_on_a_line() -> None:
    """Distances to the nearest neighbor: 1, 1, 1, 8 for 0, 1, 2, 10; and 1.5, 1.5, 27, 70 for 1.5, 3, 30, 100."""
    real, fake = column(0, 1, 2, 10), column(1.5, 3, 30, 100)
    # Fakes in the ball of a real: 1.5 and 3. Reals in the ball of a fake: 0 (on the surface), 1 and 2 in 1.5's, 10 in 30's.
    assert precision_recall(real, fake, k=1) == (0.5, 1.0)
    # With k = 2, radii are 2, 1, 2, 9 and 28.5, 27, 28.5, 97: everything except 30 and 100 is inside.
    assert precision_recall(real, fake, k=2) == (0.5, 1.0)
    assert precision_recall(real, real + 1000, k=1) == (0.0, 0.0)
    assert precision_recall(real, real, k=1) == (1.0, 1.0)
    assert precision_recall(column(0, 1, 2), column(3, 50, 51), k=1) == (pytest.approx(1 / 3), 1.0)  # 3 is on the surface of 2's ball
    # The first argument is the reference.
    assert precision_recall(fake, real, k=1) == (1.0, 0.5)


def test_a_collapsed_set_is_precise_and_recalls_nothing() -> None:
    real = features(60, 300, 1).astype(np.float32)
    collapsed = np.repeat(real[7:8], 50, axis=0)
    assert precision_recall(real, collapsed) == (1.0, pytest.approx(1 / 60))
    with pytest.raises(DataError, match="by 3 neighbors needs at least 4 images, but there are 3"):
        precision_recall(real, collapsed[:3])


def test_equal_features_are_at_distance_0_and_others_are_not() -> None:
    """|x|^2 + |y|^2 - 2 x.y of equal vectors does not round to 0."""
    rows = torch.from_numpy(features(50, 512, 2) + 3)
    _, _, squares = next(scores._squared_distances(rows, rows))
    assert (squares.diagonal() == 0).all() and (squares == 0).sum() == 50
    np.testing.assert_allclose(squares, torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist") ** 2, rtol=1e-9)


def test_blocks_do_not_change_precision_and_recall(monkeypatch: pytest.MonkeyPatch) -> None:
    real, fake = features(83, 12, 1), features(71, 12, 2, 0.1)
    whole = precision_recall(real, fake)
    assert 0.1 < whole[0] < 1 and 0.1 < whole[1] < 1
    monkeypatch.setattr(scores, "ROWS", 10)
    monkeypatch.setattr(scores, "COLUMNS", 16)
    assert precision_recall(real, fake) == whole


# -- R-precision --------------------------------------------------------------------------------------------------------------


def test_r_precision_of_perfect_random_and_indistinct_vectors() -> None:
    random = np.random.default_rng(0)
    texts, classes = random.standard_normal((1003, 32)), random.permutation(np.arange(1003) % 50)
    assert r_precision(3 * texts, texts, classes) == (1.0, 0.0)
    chance = r_precision(random.standard_normal((1003, 32)), texts, classes)
    assert chance[0] == pytest.approx(0.01, abs=0.01)
    assert r_precision(np.ones((1003, 32)), np.ones((1003, 32)), classes) == pytest.approx((0.01, 0.0))
    assert r_precision(-texts, texts, classes) == (0.0, 0.0)


def test_r_precision_counts_every_image_and_folds_are_contiguous() -> None:
    texts = np.eye(23)
    images = texts.copy()
    images[-1] *= -1  # only the last is wrong: it is in the last of ten folds, which has 3 images
    mean, std = r_precision(images, texts, candidates=5)
    shares = np.array([1.0] * 9 + [2 / 3])
    assert (mean, std) == pytest.approx((shares.mean(), shares.std()))


def test_candidates_are_the_own_text_and_different_ones_of_other_classes() -> None:
    classes = np.random.default_rng(1).permutation(np.repeat(np.arange(6), [1, 2, 3, 30, 5, 40]))
    drawn = scores._candidates(classes, 30, seed=0)
    assert (drawn[:, 0] == np.arange(81)).all()
    assert all(len(set(row)) == 30 for row in drawn.tolist())
    assert (classes[drawn[:, 1:]] != classes[:, None]).all()
    assert set(drawn[:, 1:].ravel()) == set(range(81))
    assert (drawn == scores._candidates(classes, 30, seed=0)).all()
    with pytest.raises(DataError, match="with 43 candidates needs at least 42 texts of other classes, but there are 41"):
        scores._candidates(classes, 43, seed=0)


def test_without_classes_an_equal_text_is_no_wrong_candidate() -> None:
    texts = np.repeat(np.eye(12), 3, axis=0)
    assert r_precision(texts, texts, candidates=12) == (1.0, 0.0)


# -- torch-fidelity -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fidelity() -> Any:
    return pytest.importorskip("torch_fidelity", reason="torch-fidelity is not installed: parity with it is not tested")


@pytest.fixture(scope="module")
def real_and_fake() -> tuple[np.ndarray, np.ndarray]:
    return features(700, 128, 11), features(600, 128, 12, 0.04)


def test_fid_agrees_with_torch_fidelity(fidelity: Any, real_and_fake: tuple[np.ndarray, np.ndarray]) -> None:
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

    real, fake = real_and_fake
    stats = [fid_features_to_statistics(torch.from_numpy(rows)) for rows in (fake, real)]
    expected = fid_statistics_to_metric(*stats, verbose=False)["frechet_inception_distance"]
    both = [Moments(128), Moments(128)]
    for moments, rows in zip(both, (fake, real), strict=True):
        for batch in np.array_split(rows, 9):
            moments.add(batch)
    assert frechet_distance(both[0].mean, both[0].covariance, both[1].mean, both[1].covariance) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance_of_features(real, fake) == pytest.approx(expected, rel=1e-6)


def test_inception_score_agrees_with_torch_fidelity(fidelity: Any) -> None:
    from torch_fidelity.metric_isc import isc_features_to_metric

    logits = 3 * np.random.default_rng(0).standard_normal((1003, 1008)).astype(np.float32)
    expected = isc_features_to_metric(torch.from_numpy(logits), splits=10, shuffle=False)
    found = inception_score(logits)
    assert found[0] == pytest.approx(expected["inception_score_mean"], rel=1e-9)
    assert found[1] == pytest.approx(expected["inception_score_std"], rel=1e-6)


@pytest.mark.parametrize(("subsets", "size"), [(20, 100), (3, 600)])
def test_kid_agrees_with_torch_fidelity_on_the_same_subsets(
    fidelity: Any, real_and_fake: tuple[np.ndarray, np.ndarray], subsets: int, size: int
) -> None:
    from torch_fidelity.metric_kid import kid_features_to_metric

    real, fake = real_and_fake
    settings = {"kid_subsets": subsets, "kid_subset_size": size, "rng_seed": 5, "verbose": False}
    expected = kid_features_to_metric(torch.from_numpy(fake), torch.from_numpy(real), **settings)
    found = kernel_distance(real, fake, subsets, size, seed=5)
    assert found[0] == pytest.approx(expected["kernel_inception_distance_mean"], rel=1e-6)
    assert found[1] == pytest.approx(expected["kernel_inception_distance_std"], rel=1e-6)


def test_precision_and_recall_agree_with_torch_fidelity(fidelity: Any, real_and_fake: tuple[np.ndarray, np.ndarray]) -> None:
    from torch_fidelity.metric_prc import prc_features_to_metric

    real, fake = (rows[:, :24] for rows in real_and_fake)
    expected = prc_features_to_metric(torch.from_numpy(fake.copy()), torch.from_numpy(real.copy()), prc_neighborhood=3, verbose=False)
    precision, recall = precision_recall(real, fake)
    assert precision == pytest.approx(expected["precision"], rel=1e-6)
    assert recall == pytest.approx(expected["recall"], rel=1e-6)
    assert 0.05 < precision < 0.95 and 0.05 < recall < 0.95 and precision != recall
