"""Maps of many images by t-SNE: positions, places on a grid, repeated images (StackGAN++ section 6.1, Fig. 5).

The paper embeds 2048 features of each image of a set and shows a 50 x 50 grid, each image at its nearest place. Here features are reduced
by PCA first. Each place shows the closest of the images nearest to it (`nearest`), or every place gets its own image by an optimal
assignment (`assign`). The caller chooses the features.
"""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

REPEAT_SIDE = 16
REPEAT_RMS = 5.0
"""Two images are repeats when, averaged to 16 x 16 px, they differ by less than 5 of 255 levels (root mean square over pixels and
channels)."""
MOST_ASSIGNED = 5000
"""Maximum number of images that an assignment chooses from; its time grows with their number and that of the places."""
PAPER_GRID = 50
OUTLINE = 3


def reduced(images: np.ndarray, side: int) -> np.ndarray:
    """uint8 (N, S, S, 3) -> uint8 (N, side, side, 3) by area averaging; unchanged if they are not larger."""
    if images.shape[1] <= side:
        return images
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    small = F.interpolate(pixels, size=(side, side), mode="area").round_().byte()
    return np.ascontiguousarray(small.permute(0, 2, 3, 1).numpy())


def pixel_features(images: np.ndarray) -> np.ndarray:
    """uint8 (N, S, S, 3) -> float32 (N, 768): the pixels at 16 x 16 px. These features need no network, and repeats are found by them."""
    return reduced(images, REPEAT_SIDE).reshape(len(images), -1).astype(np.float32)


# -- positions --------------------------------------------------------------------------------------------------------------


def principal_components(features: np.ndarray, count: int) -> np.ndarray:
    """(N, D) -> float64 (N, min(count, N, D)): coordinates along the directions of largest variance, in descending order."""
    from scipy.linalg import eigh

    mean = features.mean(0, dtype=np.float64)
    blocks = [features[start : start + 4096] for start in range(0, len(features), 4096)]
    covariance = sum((centred := block - mean).T @ centred for block in blocks)
    dims = features.shape[1]
    _, directions = eigh(covariance, subset_by_index=(dims - min(count, *features.shape), dims - 1))
    return np.concatenate([(block - mean) @ directions[:, ::-1] for block in blocks])


def embed(features: np.ndarray, *, components: int = 50, perplexity: float = 30.0, seed: int = 0) -> tuple[np.ndarray, float]:
    """Positions (N, 2) in the unit square, and t-SNE's divergence. `components` 0 skips PCA; N >= 4.

    The perplexity is lowered to (N - 1) / 3 for small sets. t-SNE starts from the first two components, or from noise if the features do
    not vary.
    """
    from sklearn.manifold import TSNE

    points = principal_components(features, components) if components else np.asarray(features, np.float64)
    start = principal_components(points, 2)
    spread = start[:, 0].std()
    noise = np.random.default_rng(seed).normal(size=(len(points), 2))
    start = start / spread if spread > 1e-6 and start.shape[1] == 2 else noise
    tsne = TSNE(init=(1e-4 * start).astype(np.float32), perplexity=min(perplexity, (len(points) - 1) / 3), random_state=seed)
    placed = tsne.fit_transform(points.astype(np.float32)).astype(np.float64)
    low, high = placed.min(0), placed.max(0)
    return (placed - low) / np.maximum(high - low, 1e-12), float(tsne.kl_divergence_)


# -- places -----------------------------------------------------------------------------------------------------------------


def default_grid(count: int) -> int:
    """Number of places per side: the paper's 50, or fewer so that there are 1.2 images per place."""
    return max(1, min(PAPER_GRID, int((count / 1.2) ** 0.5)))


def snap_nearest(positions: np.ndarray, grid: int) -> np.ndarray:
    """(grid, grid) int64: the image at each place, -1 if empty. Each image belongs to its nearest place; the closest one is shown."""
    scaled = positions * (grid - 1)
    places = np.rint(scaled).astype(np.int64)
    distance = ((scaled - places) ** 2).sum(1)
    cells = np.full(grid * grid, -1)
    farthest_first = np.argsort(-distance, kind="stable")
    flat = places[:, 1] * grid + places[:, 0]
    cells[flat[farthest_first]] = farthest_first
    return cells.reshape(grid, grid)


def snap_assign(positions: np.ndarray, grid: int) -> np.ndarray:
    """(grid, grid) int64: every place has its own image, with the least sum of squared distances; N >= grid**2.

    From more than 5,000 images, 5,000 are chosen evenly along the rows of the map.
    """
    from scipy.optimize import linear_sum_assignment

    chosen = _spread(positions, max(MOST_ASSIGNED, grid * grid))
    axis = np.linspace(0, 1, grid) if grid > 1 else np.array([0.5])
    places = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    cost = ((places[:, None] - positions[chosen][None]) ** 2).sum(-1)
    cells = np.empty(grid * grid, np.int64)
    row, column = linear_sum_assignment(cost)
    cells[row] = chosen[column]
    return cells.reshape(grid, grid)


def _spread(positions: np.ndarray, most: int) -> np.ndarray:
    """At most `most` row numbers, spread over the map in proportion to its density."""
    if len(positions) <= most:
        return np.arange(len(positions))
    bands = (positions[:, 1] * 49.999).astype(np.int64)
    order = np.lexsort((np.where(bands % 2, -positions[:, 0], positions[:, 0]), bands))
    return np.sort(order[np.linspace(0, len(order) - 1, most).astype(np.int64)])


# -- repeats ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Repeats:
    """`groups` (N,) int64: the group of repeated images that each image belongs to, the largest group being 0; -1 if none."""

    groups: np.ndarray

    @property
    def num_groups(self) -> int:
        return int(self.groups.max(initial=-1)) + 1

    @property
    def num_images(self) -> int:
        return int((self.groups >= 0).sum())

    @property
    def sizes(self) -> list[int]:
        """Number of images in each group, descending."""
        return np.bincount(self.groups[self.groups >= 0]).tolist()


def find_repeats(pixels: np.ndarray, rms: float = REPEAT_RMS) -> Repeats:
    """Groups of images that repeat one another, directly or transitively. `pixels` (N, D) as from `pixel_features`.

    All pairs are compared, one block of rows at a time.
    """
    points = torch.from_numpy(pixels).float()
    points = points - points.mean(0)
    squares = (points**2).sum(1)
    limit = rms**2 * points.shape[1]
    labels = np.arange(len(pixels))
    for start in range(0, len(pixels), 256):
        block = points[start : start + 256]
        close = (squares[start : start + 256, None] + squares - 2 * block @ points.T < limit).numpy()
        close[np.arange(len(block)), np.arange(start, start + len(block))] = True
        for near in close:
            met = labels[near]
            if (met != met[0]).any():
                labels[np.isin(labels, met)] = met.min()
    _, groups, counts = np.unique(labels, return_inverse=True, return_counts=True)
    rank = np.empty(len(counts), np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    return Repeats(np.where(counts[groups] > 1, rank[groups], -1))


# -- the image --------------------------------------------------------------------------------------------------------------


def group_colour(group: int) -> tuple[int, int, int]:
    """A distinct color for each group."""
    red, green, blue = colorsys.hsv_to_rgb(group * 0.61803 % 1, 1.0, 1.0)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_map(tiles: np.ndarray, cells: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """uint8 (rows * S, columns * S, 3): `tiles` (N, S, S, 3) at the places in `cells`, repeats outlined in the color of their group."""
    side = tiles.shape[1]
    rows, columns = cells.shape
    page = np.full((rows * side, columns * side, 3), 255, np.uint8)
    edge = max(1, min(OUTLINE, side // 12))
    for (row, column), index in np.ndenumerate(cells):
        if index < 0:
            continue
        tile = tiles[index]
        if groups[index] >= 0:
            tile = tile.copy()
            inside = tile[edge:-edge, edge:-edge].copy()
            tile[:] = group_colour(int(groups[index]))
            tile[edge:-edge, edge:-edge] = inside
        page[row * side : (row + 1) * side, column * side : (column + 1) * side] = tile
    return page
