"""Multi-scale structural similarity of images (Wang, Simoncelli, Bovik 2003), and diversity (Odena et al. 2017; HDGAN draft).

There are five scales, each made by averaging 2x2 pixels of the one before. The filter is an 11x11 Gaussian with sigma 1.5, applied only
where it fits inside the image; filter and sigma shrink at scales smaller than 11 pixels, so images need only 16 px (161 in most
libraries). The index is the product of the contrast-structure terms of the first four scales and the full SSIM of the last, each averaged
over pixels and channels, clamped at 0 and raised to its weight. Pure functions.
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
IMAGES, PAIRS = 2**21, 2**17
"""Number of pixels of the images held at a time (48 MiB per array; 32 images of 256 px) and of the pairs compared at a time (3 MiB)."""
BLOCK = 32
"""Number of rows of the filter's band matrix that are multiplied at a time."""
HDGAN_SAMPLES = 20


def ms_ssim(a: ArrayLike, b: ArrayLike) -> np.ndarray:
    """MS-SSIM (N,) in [0, 1] of pairs of images, each (N, S, S, 3) with values in 0..255 of any type; 1 for equal images.

    Computed in float64. Raises DataError for images smaller than 16 px or of different sizes.
    """
    first, second = np.asarray(a), np.asarray(b)
    if first.shape != second.shape:
        raise DataError(f"images of shape {first.shape} and {second.shape} do not form pairs")
    numbers = np.arange(len(first))
    return pair_scores(np.concatenate([first, second]), np.stack([numbers, numbers + len(first)], 1))


def pair_scores(images: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """`ms_ssim` (P,) of `pairs` (P, 2) of indices into `images` (N, S, S, 3). Faster if consecutive pairs have images in common."""
    side = images.shape[1]
    if side < SMALLEST or side != images.shape[2]:
        raise DataError(f"MS-SSIM needs square images of at least {SMALLEST} px, not {side} x {images.shape[2]}")
    scores = np.empty(len(pairs))
    for part in _groups(pairs, max(2, IMAGES // side**2)):
        used, places = np.unique(pairs[part], return_inverse=True)
        x = torch.from_numpy(images[used]).permute(0, 3, 1, 2).contiguous().double()
        scores[part] = _compare(x, torch.from_numpy(places.reshape(-1, 2))).numpy()
    return scores


def _groups(pairs: np.ndarray, most: int) -> Iterator[slice]:
    """Slices of consecutive pairs with at most `most` different images among them."""
    start, used = 0, set[int]()
    for end, pair in enumerate(pairs.tolist()):
        if len(used.union(pair)) > most:
            yield slice(start, end)
            start, used = end, set()
        used.update(pair)
    if used:
        yield slice(start, len(pairs))


def _compare(x: Tensor, pairs: Tensor) -> Tensor:
    """MS-SSIM (P,) of `pairs` (P, 2) of float64 x (N, 3, S, S). Means and variances of an image are computed once for all its pairs."""
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
        # For odd sides, the last row and column are averaged with themselves, as with a reflecting border.
        x = F.avg_pool2d(x, 2, ceil_mode=True)
    return scores


def _window(side: int) -> Tensor:
    """The Gaussian window as a band matrix (side - size + 1, side), whose product with a column filters it wherever the window fits."""
    size = min(11, side)
    sigma = 1.5 * size / 11
    taps = torch.exp(-0.5 * ((torch.arange(size, dtype=torch.float64) - (size - 1) / 2) / sigma) ** 2)
    matrix = torch.zeros(side - size + 1, side, dtype=torch.float64)
    for row in range(len(matrix)):
        matrix[row, row : row + size] = taps / taps.sum()
    return matrix


def _smooth(x: Tensor, window: Tensor) -> Tensor:
    """x (N, 3, S, S) filtered along columns and rows: (N, 3, S', S').

    This uses matrix products, one block of the band at a time: more arithmetic than eleven shifted sums, but far fewer passes over memory.
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
    """Mean MS-SSIM of pairs of images (N, S, S, 3); lower means more diverse. The default numbers of pairs are the HDGAN draft's.

    `class_wise`: the mean over classes of the mean over `class_pairs` random pairs of a class, with the standard deviation over
    classes; None if no class has two images. `overall`: the mean over `overall_pairs` random pairs of all images. Pairs are unordered,
    consist of two different images, and are all different; if there are fewer than the wanted number, all are taken.

    `compat="hdgan"` forms pairs as HDGAN's released script does: of 20 images (of each class, and overall), each except the last with
    each except the first, so that 18 of the 361 pairs are an image with itself and 306 are 153 pairs in both orders. Pairs with
    negative contrast are left out. Raises DataError for fewer than two images or if no pair is left, UsageError for another `compat`.
    """
    if compat not in (None, "hdgan"):
        raise UsageError(f"unknown method of forming pairs {compat!r}", hint="use hdgan, or leave compat out")
    if len(images) < 2:
        raise DataError(f"MS-SSIM needs at least two images, but there are {len(images)}")
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
            raise DataError(
                "all pairs have negative contrast, and HDGAN's script leaves such pairs out", hint="compute it without compat=hdgan"
            )
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
    """At most `most` different pairs i < j (P, 2) of n items, in ascending order of j and then i."""
    total = n * (n - 1) // 2
    numbers = np.arange(total) if total <= most else np.sort(random.choice(total, most, replace=False))
    j = ((1 + np.sqrt(1 + 8 * numbers)) / 2).astype(np.int64)
    return np.stack([numbers - j * (j - 1) // 2, j], 1)
