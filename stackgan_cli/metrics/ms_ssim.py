"""Multi-scale structural similarity (Wang, Simoncelli, Bovik 2003) of pictures, and diversity by it (Odena et al. 2017; HDGAN draft).

Five scales by averaging 2x2 pixels; an 11x11 Gaussian of sigma 1.5 at whole positions only, which shrinks with its sigma where a scale
is smaller than 11 pixels: so it is defined from 16 px on, where most libraries begin at 161. Contrast and structure of the first
four scales and the whole index of the last are means over pixels and channels, clamped at 0 and weighted by powers. Pure functions.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor

from stackgan_cli.errors import DataError, UsageError

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Exponents of the scales, finest first."""
C1, C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
SMALLEST = 2 ** (len(WEIGHTS) - 1)
PICTURES, PAIRS = 2**21, 2**17
"""Pixels of the pictures that are at hand (48 MiB an array; 32 pictures of 256 px), and of the pairs compared at a time (3 MiB)."""
BLOCK = 32
"""Rows of the filter's band that are multiplied at a time."""
HDGAN_SAMPLES = 20


def ms_ssim(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """Index (N,) in [0, 1] of each pair of pictures (N, S, S, 3), values in 0..255 of any type; 1 for equal ones.

    In float64. Raises DataError for pictures under 16 px, or of two sizes.
    """
    first, second = np.asarray(a), np.asarray(b)
    if first.shape != second.shape:
        raise DataError(f"pictures of shape {first.shape} and {second.shape} make no pairs")
    numbers = np.arange(len(first))
    return pair_scores(np.concatenate([first, second]), np.stack([numbers, numbers + len(first)], 1))


def pair_scores(images: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """`ms_ssim` (P,) of `pairs` (P, 2), rows of `images` (N, S, S, 3). Quicker where neighbouring pairs have pictures in common."""
    side = images.shape[1]
    if side < SMALLEST or side != images.shape[2]:
        raise DataError(f"MS-SSIM needs square pictures of at least {SMALLEST} px, not {side} x {images.shape[2]}")
    scores = np.empty(len(pairs))
    for part in _groups(pairs, max(2, PICTURES // side**2)):
        used, places = np.unique(pairs[part], return_inverse=True)
        x = torch.from_numpy(images[used]).permute(0, 3, 1, 2).contiguous().double()
        scores[part] = _compare(x, torch.from_numpy(places.reshape(-1, 2))).numpy()
    return scores


def _groups(pairs: np.ndarray, most: int) -> Iterator[slice]:
    """Consecutive pairs with at most `most` different pictures among them."""
    start, used = 0, set[int]()
    for end, pair in enumerate(pairs.tolist()):
        if len(used.union(pair)) > most:
            yield slice(start, end)
            start, used = end, set()
        used.update(pair)
    if used:
        yield slice(start, len(pairs))


def _compare(x: Tensor, pairs: Tensor) -> Tensor:
    """Index (P,) of `pairs` (P, 2) of float64 x (N, 3, S, S). What concerns single pictures is computed once for all their pairs."""
    scores = torch.ones(len(pairs), dtype=x.dtype)
    for level, weight in enumerate(WEIGHTS):
        window = _window(x.shape[2])
        step = max(1, PAIRS // x.shape[2] ** 2)
        mean = torch.cat([_smooth(part, window) for part in x.split(step)])
        variance = torch.cat([_smooth(part.square(), window) for part in x.split(step)]).sub_(mean.square())
        for part in torch.arange(len(pairs)).split(step):
            i, j = pairs[part].T
            means = mean[i] * mean[j]
            index = _smooth(x[i] * x[j], window).sub_(means).mul_(2).add_(C2)
            index /= variance[i].add_(variance[j]).add_(C2)
            if level == len(WEIGHTS) - 1:
                index *= (2 * means + C1) / (mean[i].square() + mean[j].square() + C1)
            scores[part] *= index.mean((1, 2, 3)).clamp_min(0) ** weight
        # An odd side's last row and column are averaged with themselves, as by a reflecting border.
        x = F.avg_pool2d(x, 2, ceil_mode=True)
    return scores


def _window(side: int) -> Tensor:
    """The Gaussian window as a banded matrix (side - size + 1, side): its product with a column filters it at whole positions."""
    size = min(11, side)
    sigma = 1.5 * size / 11
    taps = torch.exp(-0.5 * ((torch.arange(size, dtype=torch.float64) - (size - 1) / 2) / sigma) ** 2)
    matrix = torch.zeros(side - size + 1, side, dtype=torch.float64)
    for row in range(len(matrix)):
        matrix[row, row : row + size] = taps / taps.sum()
    return matrix


def _smooth(x: Tensor, window: Tensor) -> Tensor:
    """x (N, 3, S, S) filtered along columns and rows: (N, 3, S', S').

    By matrix products, a block of the band at a time: more arithmetic than eleven taps, and as many fewer passes over memory.
    """
    places, reach = len(window), window.shape[1] - len(window)
    blocks = [(slice(start, start + BLOCK), slice(start, min(start + BLOCK, places) + reach)) for start in range(0, places, BLOCK)]
    rows = torch.cat([x[..., seen] @ window[made, seen].T for made, seen in blocks], 3)
    return torch.cat([window[made, seen] @ rows[..., seen, :] for made, seen in blocks], 2)


# -- diversity ----------------------------------------------------------------------------------------------------------------


def ms_ssim_diversity(
    images: np.ndarray,
    class_ids: ArrayLike | None = None,
    *,
    class_pairs: int = 400,
    overall_pairs: int = 10_000,
    seed: int = 0,
    compat: str | None = None,
) -> dict[str, float | None]:
    """Mean MS-SSIM of pairs of pictures (N, S, S, 3): the lower, the more diverse. The numbers of pairs are the HDGAN draft's.

    `class_wise`: the mean over classes of the mean over `class_pairs` random pairs of a class, with the standard deviation between
    classes; None without classes of two pictures. `overall`: the mean over `overall_pairs` random pairs of all pictures. Pairs are
    unordered, of two different pictures, and each is taken once: where there are fewer, all.

    `compat="hdgan"` pairs as HDGAN's released script does: of 20 pictures (a class, or overall), each but the last with each but
    the first: 18 of the 361 pairs are a picture with itself, 306 are 153 pairs in both orders; pairs with negative contrast are
    left out. Raises DataError for fewer than two pictures or where no pair is left, UsageError for another `compat`.
    """
    if compat not in (None, "hdgan"):
        raise UsageError(f"unknown way of pairing {compat!r}", hint="hdgan, or none")
    if len(images) < 2:
        raise DataError(f"MS-SSIM compares pictures with one another, and there are {len(images)}")
    random = np.random.default_rng(seed)

    def draw(rows: np.ndarray, most: int) -> np.ndarray:
        if compat is None:
            return rows[_random_pairs(len(rows), most, random)]
        sample = random.permutation(rows)[:HDGAN_SAMPLES]
        return np.stack(np.meshgrid(sample[:-1], sample[1:], indexing="ij"), -1).reshape(-1, 2)

    def score(pairs: np.ndarray) -> tuple[float, int]:
        scores = pair_scores(images, pairs)
        kept = scores if compat is None else scores[scores > 0]
        if not len(kept):
            raise DataError("all pairs have negative contrast, and HDGAN's script leaves these out", hint="leave out the compatibility")
        return float(kept.mean()), len(kept)

    overall, count = score(draw(np.arange(len(images)), overall_pairs))
    labels = np.asarray(class_ids if class_ids is not None else np.arange(len(images)))
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    by_class = [score(draw(rows, class_pairs)) for rows in members if len(rows) > 1]
    means = np.array([mean for mean, _ in by_class])
    return {
        "overall": overall,
        "overall_pairs": count,
        "class_wise": float(means.mean()) if by_class else None,
        "class_wise_std": float(means.std()) if by_class else None,
        "class_pairs": sum(pairs for _, pairs in by_class) if by_class else None,
        "classes": len(by_class) if by_class else None,
    }


def _random_pairs(n: int, most: int, random: np.random.Generator) -> np.ndarray:
    """(P, 2) different unordered pairs i < j of n things, at most `most`, ascending by j and then i."""
    total = n * (n - 1) // 2
    numbers = np.arange(total) if total <= most else np.sort(random.choice(total, most, replace=False))
    j = ((1 + np.sqrt(1 + 8 * numbers)) / 2).astype(np.int64)
    return np.stack([numbers - j * (j - 1) // 2, j], 1)
