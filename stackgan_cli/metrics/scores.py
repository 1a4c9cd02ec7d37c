"""Scores of sets of image features: pure functions on arrays, computed in float64 for any input type. No files, no networks.

Fréchet distance (Heusel et al. 2017), Inception score (Salimans et al. 2016), kernel distance (Bińkowski et al. 2018), precision and
recall (Kynkäänniemi et al. 2019) and R-precision (Xu et al. 2018). The caller chooses the features and the images, and has to report
them: none of these numbers means anything without its protocol. Pixels are compared in `ms_ssim.py`.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from scipy.linalg import blas, lapack
from scipy.special import log_softmax
from torch import Tensor

from stackgan_cli.errors import DataError, MismatchError

ROWS, COLUMNS = 1024, 4096
"""Size of the blocks in which distances for precision and recall are computed: 32 MiB, for any number of images."""


# -- Fréchet distance ---------------------------------------------------------------------------------------------------------


class Moments:
    """Number, mean and covariance of features that arrive in batches, in float64. Takes memory for D x D numbers.

    It stores the scatter about the mean (Chan, Golub, LeVeque 1979), not the sum of squares, which would cancel if means are large.
    """

    def __init__(self, dim: int) -> None:
        self.n = 0
        self.mean = np.zeros(dim)
        self._scatter = np.zeros((dim, dim), order="F")  # the upper triangle only

    def add(self, features: ArrayLike) -> None:
        """Add features (B, D). Raises DataError when one of them is not finite."""
        rows = np.asarray(features, np.float64)
        if not len(rows):
            return
        mean = rows.mean(0)
        if not np.isfinite(mean).all():
            raise DataError("the extractor returned features that are not finite numbers", hint="run it in float32")
        self._join(len(rows), mean, rows - mean)

    def merge(self, other: Moments) -> None:
        """Add everything that was added to `other`. Raises MismatchError when dimensions differ."""
        _same_dim(len(self.mean), len(other.mean))
        if other.n:
            self._scatter += other._scatter
            self._join(other.n, other.mean, np.empty((0, len(self.mean))))

    def _join(self, n: int, mean: np.ndarray, centered: np.ndarray) -> None:
        """Add the outer products of `centered` rows and, as one more row, of the difference between the two means."""
        total = self.n + n
        step = mean - self.mean
        rows = np.concatenate([centered, step[None] * np.sqrt(self.n * n / total)])
        self._scatter = blas.dsyrk(1.0, rows.T, beta=1.0, c=self._scatter, overwrite_c=True)
        self.mean = self.mean + step * (n / total)
        self.n = total

    @property
    def covariance(self) -> np.ndarray:
        """(D, D), unbiased (divided by n - 1, as in np.cov). Raises DataError for fewer than two images."""
        _at_least(self.n, 2, "a covariance")
        upper = np.triu(self._scatter) / (self.n - 1)
        return upper + np.triu(upper, 1).T


def frechet_distance(mean1: ArrayLike, cov1: ArrayLike, mean2: ArrayLike, cov2: ArrayLike) -> float:
    """Squared Fréchet distance of two Gaussians: |mean1 - mean2|^2 + tr(cov1 + cov2 - 2 (cov1 cov2)^(1/2)); at least 0.

    Means are (D,), covariances (D, D), symmetric and positive semidefinite; they may be singular. With cov = L L^T, the trace of the
    root is the sum of the singular values of L1^T L2, which is real by construction, and the smaller rank sets the cost.
    Raises MismatchError when dimensions differ, DataError when a number is not finite.
    """
    mu1, mu2 = np.asarray(mean1, np.float64), np.asarray(mean2, np.float64)
    sigma1, sigma2 = np.asarray(cov1, np.float64), np.asarray(cov2, np.float64)
    _same_dim(len(mu1), len(mu2))
    traces = float(np.trace(sigma1) + np.trace(sigma2))
    return _frechet(mu1 - mu2, traces, _factor(sigma1), _factor(sigma2))


def frechet_distance_of_features(a: ArrayLike, b: ArrayLike) -> float:
    """`frechet_distance` of the Gaussians fitted to features (N1, D) and (N2, D).

    If there are fewer images than dimensions, no covariance is computed: the centered features are its factor. Raises DataError for
    fewer than two images, MismatchError when dimensions differ.
    """
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    _same_dim(first.shape[1], second.shape[1])
    sides = []
    for features in (first, second):
        _at_least(len(features), 2, "a Fréchet distance")
        mean = features.mean(0)
        rows = (features - mean) / np.sqrt(len(features) - 1)
        sides.append((mean, float(np.square(rows).sum()), rows.T if rows.shape[0] <= rows.shape[1] else _factor(rows.T @ rows)))
    (mean1, trace1, factor1), (mean2, trace2, factor2) = sides
    return _frechet(mean1 - mean2, trace1 + trace2, factor1, factor2)


def _frechet(shift: np.ndarray, traces: float, factor1: np.ndarray, factor2: np.ndarray) -> float:
    if not (np.isfinite(shift).all() and np.isfinite(traces)):
        raise DataError("these statistics are not finite numbers")
    root = _nuclear_norm(torch.from_numpy(factor1).T @ torch.from_numpy(factor2))
    return max(float(shift @ shift) + traces - 2 * root, 0.0)


def _factor(covariance: np.ndarray) -> np.ndarray:
    """L (D, r) with L L^T = covariance, by Cholesky decomposition with pivoting, which stops at the numerical rank r."""
    packed, pivots, rank, _ = lapack.dpstrf(covariance, lower=1)
    factor = np.empty((len(covariance), rank))
    factor[pivots - 1] = np.tril(packed)[:, :rank]
    return factor


def _nuclear_norm(matrix: Tensor) -> float:
    """The sum of the singular values of a float64 matrix, as roots of the eigenvalues of its smaller Gram matrix.

    This loses singular values below 1e-8 of the largest in rounding noise. If there are so many of those that the sum would be wrong
    (repeated features), the singular values are computed directly, which takes five times as long.
    """
    if not matrix.numel():
        return 0.0
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    squares = torch.linalg.eigvalsh(wide @ wide.T)
    total = float(squares.clamp_min(0).sqrt().sum())
    noise = torch.finfo(torch.float64).eps * float(squares[-1])
    if float((squares < 10 * noise).sum()) * noise**0.5 > 1e-8 * total:
        return float(torch.linalg.svdvals(wide).sum())
    return total


# -- Inception score ----------------------------------------------------------------------------------------------------------


def inception_score(logits: ArrayLike, splits: int = 10) -> tuple[float, float]:
    """Mean and standard deviation (divisor: the number of splits) of exp(E_x KL(p(y|x) | p(y))), p(y) being the mean of its split.

    `logits` (N, C) may also be log-probabilities. The score is between 1 and C. Splits are contiguous, and the caller has to shuffle: the
    splits of a set sorted by class have few classes each. Raises DataError for fewer images than splits.
    """
    rows = np.asarray(logits)
    _at_least(len(rows), splits, f"an Inception score over {splits} splits")
    scores = []
    for fold in _folds(len(rows), splits):
        log_p = log_softmax(rows[fold].astype(np.float64), axis=1)
        p = np.exp(log_p)
        # A difference of entropies, so that a class with probability 0 adds 0 and not 0 * inf.
        scores.append(np.exp(_entropy(p.mean(0)) - _entropy(p, log_p) / len(p)))
    if not np.isfinite(scores).all():
        raise DataError("the extractor returned logits that are not finite numbers")
    return float(np.mean(scores)), float(np.std(scores))


def _entropy(p: np.ndarray, log_p: np.ndarray | None = None) -> float:
    """-sum p log p over all elements."""
    present = p > 0
    logs = np.log(p, where=present, out=np.zeros_like(p)) if log_p is None else np.where(present, log_p, 0)
    return -float(np.vdot(p, logs))


# -- Kernel distance ----------------------------------------------------------------------------------------------------------


def kernel_distance(real: ArrayLike, fake: ArrayLike, subsets: int = 100, size: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Mean and standard deviation over subsets of the unbiased squared MMD with the kernel (x.y / D + 1)^3; may be below 0.

    Each subset has `size` features of each set, drawn without replacement, or as many as the smaller set has. The subsets are those that
    torch-fidelity draws for (input1=fake, input2=real, rng_seed=seed); numpy guarantees that this random stream never changes. Raises
    DataError for fewer than two images, MismatchError when dimensions differ.
    """
    reals, fakes = np.asarray(real), np.asarray(fake)
    _same_dim(reals.shape[1], fakes.shape[1])
    m = min(size, len(reals), len(fakes))
    _at_least(m, 2, "a kernel distance")
    random = np.random.RandomState(seed)
    distances = []
    for _ in range(subsets):
        x = fakes[random.choice(len(fakes), m, replace=False)].astype(np.float64)
        y = reals[random.choice(len(reals), m, replace=False)].astype(np.float64)
        within = sum(_kernel_sum(side, side) - float(((np.square(side).sum(1) / side.shape[1] + 1) ** 3).sum()) for side in (x, y))
        distances.append(within / (m * (m - 1)) - 2 * _kernel_sum(x, y) / m**2)
    return float(np.mean(distances)), float(np.std(distances))


def _kernel_sum(x: np.ndarray, y: np.ndarray) -> float:
    kernel = x @ y.T
    kernel /= x.shape[1]
    kernel += 1
    return float(np.vdot(np.square(kernel), kernel))


# -- Precision and recall -----------------------------------------------------------------------------------------------------


def precision_recall(real: ArrayLike, fake: ArrayLike, k: int = 3) -> tuple[float, float]:
    """Precision (the share of fakes in the ball of any real) and recall (the share of reals in the ball of any fake).

    The ball of a feature includes all points up to the distance of its k-th nearest neighbor in its own set. Features (N1, D) and (N2, D)
    are converted to float64 one block at a time. Raises DataError for k images or fewer, MismatchError when dimensions differ.
    """
    reals, fakes = (torch.from_numpy(np.ascontiguousarray(side)) for side in (real, fake))
    _same_dim(reals.shape[1], fakes.shape[1])
    _at_least(min(len(reals), len(fakes)), k + 1, f"precision and recall by {k} neighbors")
    real_radii, fake_radii = _radii(reals, k), _radii(fakes, k)
    real_hit, fake_hit = torch.zeros(len(reals), dtype=torch.bool), torch.zeros(len(fakes), dtype=torch.bool)
    for row, column, squares in _squared_distances(reals, fakes):
        fake_hit[column] |= (squares <= real_radii[row, None]).any(0)
        real_hit[row] |= (squares <= fake_radii[column]).any(1)
    return float(fake_hit.double().mean()), float(real_hit.double().mean())


def _radii(features: Tensor, k: int) -> Tensor:
    """Squared distance (N,) of each feature to its k-th nearest neighbor, where the feature itself is the zeroth."""
    nearest = torch.full((len(features), k + 1), torch.inf, dtype=torch.float64)
    for row, _, squares in _squared_distances(features, features):
        candidates = torch.cat([nearest[row], squares], 1)
        nearest[row] = candidates.topk(k + 1, largest=False).values
    return nearest[:, -1]


def _squared_distances(a: Tensor, b: Tensor) -> Iterator[tuple[slice, slice, Tensor]]:
    """Blocks of the squared distances between a (N1, D) and b (N2, D), as (rows, columns, values).

    Values within the rounding error of |x|^2 + |y|^2 - 2 x.y are set to 0, so that equal features are at distance 0.
    """
    largest = max(float(part.double().square().sum(1).max()) for side in (a, b) for part in side.split(ROWS))
    rounding = 1e-14 * largest
    for left in range(0, len(b), COLUMNS):
        column = slice(left, min(left + COLUMNS, len(b)))
        y = b[column].double()
        y_norms = y.square().sum(1)
        for top in range(0, len(a), ROWS):
            row = slice(top, min(top + ROWS, len(a)))
            x = a[row].double()
            squares = torch.addmm(x.square().sum(1)[:, None] + y_norms, x, y.T, alpha=-2)
            yield row, column, F.threshold(squares, rounding, 0.0, inplace=True)


# -- R-precision --------------------------------------------------------------------------------------------------------------


def r_precision(
    images: ArrayLike, texts: ArrayLike, class_ids: ArrayLike | None = None, *, candidates: int = 100, folds: int = 10, seed: int = 0
) -> tuple[float, float]:
    """Mean and standard deviation over folds of the share of images whose own text is the nearest of its candidates, by cosine.

    Row i of `texts` (N, D) belongs to row i of `images` (N, D), and `class_ids` (N,) are their classes. The candidates of an image are its
    own text and `candidates - 1` random texts of other classes (without classes: different texts); chance is 1 / candidates. If m
    candidates, including its own, tie for the nearest, the image counts 1 / m. Folds are contiguous, cover all images, and differ in size
    by at most one. Raises DataError for fewer images than folds or too few other texts, MismatchError when dimensions differ.
    """
    image_rows, text_rows = (_unit_rows(np.asarray(side, np.float64)) for side in (images, texts))
    _same_dim(image_rows.shape[1], text_rows.shape[1])
    _at_least(len(image_rows), folds, f"R-precision over {folds} folds")
    drawn = _candidates(_number_texts(text_rows) if class_ids is None else np.asarray(class_ids), candidates, seed)
    hits = np.empty(len(image_rows))
    for start in range(0, len(image_rows), 64):
        part = slice(start, start + 64)
        cosines = np.einsum("nd,nkd->nk", image_rows[part], text_rows[drawn[part]])
        best = cosines == cosines.max(1, keepdims=True)
        hits[part] = best[:, 0] / best.sum(1)
    shares = [hits[fold].mean() for fold in _folds(len(hits), folds)]
    return float(np.mean(shares)), float(np.std(shares))


def _number_texts(texts: np.ndarray) -> np.ndarray:
    """Numbers (N,) that are equal if and only if the rows of `texts` (N, D) are equal."""
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(row.tobytes(), len(numbers)) for row in texts])


def _candidates(groups: np.ndarray, count: int, seed: int) -> np.ndarray:
    """int64 (N, count): for each of N items its own index, then `count - 1` different indices of items of other groups."""
    order = np.argsort(groups, kind="stable")
    starts, ends = (np.searchsorted(groups[order], groups, side) for side in ("left", "right"))
    _at_least(len(groups) - int((ends - starts).max()), count - 1, f"R-precision with {count} candidates", what="texts of other classes")
    random = np.random.default_rng(seed)
    drawn = np.empty((len(groups), count), np.int64)
    for own, (start, end) in enumerate(zip(starts, ends, strict=True)):
        # Each group is a contiguous run in `order`: draw as if the run were cut out, then skip over it.
        others = random.choice(len(groups) - (end - start), count - 1, replace=False)
        drawn[own, 0] = own
        drawn[own, 1:] = order[np.where(others < start, others, others + end - start)]
    return drawn


def _unit_rows(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


# -- checks -------------------------------------------------------------------------------------------------------------------


def _folds(n: int, count: int) -> list[slice]:
    """`count` contiguous parts of n items, as equal in size as possible."""
    return [slice(i * n // count, (i + 1) * n // count) for i in range(count)]


def _at_least(n: int, needed: int, purpose: str, what: str = "images") -> None:
    if n < needed:
        raise DataError(f"{purpose} needs at least {needed} {what}, but there are {n}")


def _same_dim(first: int, second: int) -> None:
    if first != second:
        raise MismatchError(f"features of {first} and of {second} dimensions cannot be compared", hint="use one extractor for both")
