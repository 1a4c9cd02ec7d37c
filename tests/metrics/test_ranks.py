"""Agreement, bootstrap and proportions against closed forms, scipy and properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import friedmanchisquare, rankdata

from stackgan_cli.metrics.ranks import agreement, bootstrap, ranks_of, wilson


@pytest.mark.parametrize("m", [1, 5, 40])
@pytest.mark.parametrize("k", [2, 3, 7])
def test_perfect_agreement(m: int, k: int) -> None:
    found = agreement(np.tile(np.random.default_rng(m).permutation(k) + 1.0, (m, 1)))
    assert found.w == pytest.approx(1, rel=1e-12) and found.chi2 == pytest.approx(m * (k - 1))


def test_a_small_example_by_hand() -> None:
    """Rank sums 4, 6, 8, 12: S = 12.25 + 2.25 + 0.25 + 20.25 = 35 and W = 12 * 35 / (9 * 60)."""
    found = agreement(np.array([[1, 2, 3, 4], [1, 3, 2, 4], [2, 1, 3, 4]], float))
    assert found.w == pytest.approx(7 / 9) and found.chi2 == pytest.approx(7)


def test_ties_by_hand() -> None:
    """Rank sums 3, 3, 6; S = 6, T = 2 + 2: W = 72 / (4 * 24 - 2 * 12)."""
    ranks = np.array([[1.5, 1.5, 3], [1.5, 1.5, 3]])
    assert agreement(ranks).w == pytest.approx(12 * 6 / (4 * 24 - 2 * 12)) == pytest.approx(1)
    assert agreement(np.full((5, 3), 2.0)) == agreement(np.full((9, 3), 2.0))
    assert (agreement(np.full((5, 3), 2.0)).w, agreement(np.full((5, 3), 2.0)).p) == (0.0, 1.0)


@pytest.mark.parametrize("seed", range(5))
def test_with_ties_as_scipy_has_it(seed: int) -> None:
    scores = np.random.default_rng(seed).integers(0, 4, (25, 4)) + np.arange(4) * (seed / 3)
    ranks = np.stack([rankdata(row) for row in scores])
    statistic, p = friedmanchisquare(*scores.T)
    found = agreement(ranks)
    assert found.chi2 == pytest.approx(statistic, rel=1e-12) and found.p == pytest.approx(p, rel=1e-9)


def test_random_ranks_agree_on_nothing() -> None:
    random = np.random.default_rng(0)
    found = agreement(np.stack([random.permutation(4) + 1.0 for _ in range(2000)]))
    assert found.w < 0.01 and found.p > 1e-3


def test_two_models_are_a_sign_test() -> None:
    ranks = np.array([[1.0, 2.0]] * 30 + [[2.0, 1.0]] * 10)
    assert agreement(ranks).chi2 == pytest.approx((30 - 10) ** 2 / 40)
    with pytest.raises(ValueError, match="cannot be compared"):
        agreement(np.ones((3, 1)))


def test_the_interval_of_one_respondent_is_that_of_a_mean() -> None:
    values = np.random.default_rng(1).normal(2, 1, (400, 1))
    (low, high) = bootstrap(values, np.zeros(400, int), np.arange(400))[0]
    expected = 2 * 1.96 * values.std() / math.sqrt(400)
    assert high - low == pytest.approx(expected, rel=0.1) and low < values.mean() < high


def test_respondents_are_resampled_too() -> None:
    """Two people who always disagree: many answers do not make the mean certain."""
    people, questions = np.repeat([0, 1], 200), np.tile(np.arange(200), 2)
    values = np.where(people == 0, 1.0, 2.0)[:, None]
    assert bootstrap(values, people, questions)[0].tolist() == [1.0, 2.0]
    assert bootstrap(np.ones((400, 2)), people, questions).tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_the_bootstrap_is_seeded_and_labels_mean_nothing() -> None:
    random = np.random.default_rng(2)
    values, people, questions = random.random((60, 3)), random.integers(0, 4, 60), random.integers(0, 20, 60)
    first = bootstrap(values, people, questions, seed=5)
    assert np.array_equal(first, bootstrap(values, people * 10 + 3, questions + 7, seed=5))
    assert not np.array_equal(first, bootstrap(values, people, questions, seed=6))
    assert (first[:, 0] <= values.mean(0)).all() and (values.mean(0) <= first[:, 1]).all()


@pytest.mark.parametrize(("successes", "count"), [(0, 10), (3, 12), (50, 100), (10, 10)])
def test_wilson(successes: int, count: int) -> None:
    z, p = 1.959963984540054, successes / count
    centre = (p + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * math.sqrt(p * (1 - p) / count + z * z / (4 * count * count))
    assert wilson(successes, count) == pytest.approx((centre - half, centre + half), abs=1e-9)


def test_ranks_of_a_ranking() -> None:
    assert ranks_of([[1], [0], [2]], 3).tolist() == [2, 1, 3]
    assert ranks_of([[2], [0, 1]], 3).tolist() == [2.5, 2.5, 1]
    assert ranks_of([[0, 1, 2]], 3).tolist() == [2, 2, 2]
