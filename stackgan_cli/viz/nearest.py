"""The nearest neighbors of a few images among many, found in one pass, and the sheet that shows them (StackGAN++ Fig. 12).

If a generated image were a memorized training image, the two would be side by side there. The caller chooses the features.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from stackgan_cli.viz.grids import GAP, PAPER

WIDE_GAP = 10
"""Pixels between an image and its neighbors."""


class Nearest:
    """The `count` nearest neighbors, by Euclidean distance, of each query (Q, D) among all features added.

    Only those are kept: memory does not depend on how many features are added.
    """

    def __init__(self, queries: np.ndarray, count: int) -> None:
        self._queries = torch.from_numpy(np.ascontiguousarray(queries, np.float32))
        self.count = count
        self._distances: Tensor = torch.empty(len(queries), 0)
        self._indices = torch.empty(len(queries), 0, dtype=torch.int64)
        self.seen = 0

    def add(self, features: np.ndarray) -> None:
        """Add the next (B, D) features; their numbers continue from those added before."""
        block = torch.from_numpy(np.array(features, np.float32))
        # Computed from differences: the faster expansion into products leaves an image at some distance from itself.
        distances = torch.cdist(self._queries, block, compute_mode="donot_use_mm_for_euclid_dist")
        numbers = torch.arange(self.seen, self.seen + len(block)).expand(len(distances), -1)
        distances, numbers = torch.cat([self._distances, distances], 1), torch.cat([self._indices, numbers], 1)
        order = distances.sort(dim=1, stable=True).indices[:, : self.count]
        self._distances, self._indices = distances.gather(1, order), numbers.gather(1, order)
        self.seen += len(block)

    @property
    def distances(self) -> np.ndarray:
        """(Q, count) float32, ascending."""
        return self._distances.numpy()

    @property
    def indices(self) -> np.ndarray:
        """(Q, count) int64: numbers in the order of addition; for equal distances, the earlier one first."""
        return self._indices.numpy()


def neighbour_sheet(images: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
    """uint8 page of rows: an image of `images` (Q, S, S, 3), a gap, and its neighbors, `neighbours` (Q, K, S, S, 3)."""
    rows, count, side = neighbours.shape[:3]
    width = side + WIDE_GAP + count * side + (count - 1) * GAP
    page = np.full((rows * (side + GAP) - GAP, width, 3), PAPER, np.uint8)
    for row in range(rows):
        top = row * (side + GAP)
        page[top : top + side, :side] = images[row]
        for column in range(count):
            left = side + WIDE_GAP + column * (side + GAP)
            page[top : top + side, left : left + side] = neighbours[row, column]
    return page
