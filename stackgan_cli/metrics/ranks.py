"""Statistics of human studies: mean ranks, agreement, and how often a generated image is taken for a real one.

Human rank is StackGAN++'s (arXiv 1710.10916, section 5.1): people rank the models for each text, and the mean rank of a model is reported.
The paper does not say what its +- stands for; here it is a 95% bootstrap interval. The fooling rate is that of SGAN's visual Turing
test. These are pure functions on arrays; questionnaires and files are in `rank_study.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, chi2, rankdata

REPLICATES = 2000
"""Number of bootstrap samples: enough for two decimals of the ends of an interval."""


@dataclass(frozen=True)
class Agreement:
    """`w` is Kendall's coefficient of concordance, from 0 (none) to 1 (all answers are equal); `chi2` and `p` are Friedman's test."""

    w: float
    chi2: float
    p: float


def agreement(ranks: np.ndarray) -> Agreement:
    """Kendall's W and Friedman's test of `ranks` (m answers, k models), where tied models share their mean rank.

    W = 12 S / (m^2 (k^3 - k) - m T), where S is the sum of squared deviations of the rank sums from their mean and T the sum of
    t^3 - t over all groups of t tied ranks. Friedman's statistic is m (k - 1) W with k - 1 degrees of freedom. If every answer ties all
    models, there is no preference: W is 0 and p is 1. Answers are treated as independent, so p is too small when a few people gave
    many of them. Raises ValueError for no answers or fewer than two models.
    """
    m, k = ranks.shape
    if m < 1 or k < 2:
        raise ValueError(f"{m} answers on {k} models cannot be compared")
    sums = ranks.sum(0)
    spread = ((sums - sums.mean()) ** 2).sum()
    ties = np.concatenate([np.unique(row, return_counts=True)[1] for row in ranks]).astype(float)
    tied = (ties**3 - ties).sum()
    scale = m * m * (k**3 - k) - m * tied
    w = float(12 * spread / scale) if scale > 0 else 0.0
    statistic = m * (k - 1) * w
    return Agreement(w, statistic, float(chi2.sf(statistic, k - 1)))


def bootstrap(values: np.ndarray, respondents: np.ndarray, questions: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """The 95% percentile intervals (k, 2), low and high, of the column means of `values` (m answers, k).

    Respondents and questions, (m,) integer labels, are resampled with replacement independently of each other, because both people and
    texts are samples. The weight of an answer is how often its respondent was drawn times how often its question was drawn.
    """
    random = np.random.default_rng(seed)
    people, person = np.unique(respondents, return_inverse=True)
    texts, text = np.unique(questions, return_inverse=True)
    drawn_people = random.multinomial(len(people), np.full(len(people), 1 / len(people)), REPLICATES)
    drawn_texts = random.multinomial(len(texts), np.full(len(texts), 1 / len(texts)), REPLICATES)
    means = []
    for of_people, of_texts in zip(drawn_people, drawn_texts, strict=True):
        weights = of_people[person] * of_texts[text]
        if weights.any():  # if people answered few questions each, a sample may contain no answer
            means.append(weights @ values / weights.sum())
    return np.percentile(np.stack(means), [2.5, 97.5], axis=0).T


def wilson(successes: int, count: int) -> tuple[float, float]:
    """Low and high end of Wilson's 95% interval for a proportion."""
    interval = binomtest(successes, count).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def ranks_of(groups: list[list[int]], k: int) -> np.ndarray:
    """Ranks (k,) of options 0..k-1 from `groups` of tied options, best group first. Tied options share the mean of their ranks."""
    level = np.empty(k)
    for place, group in enumerate(groups):
        level[group] = place
    return rankdata(level)
