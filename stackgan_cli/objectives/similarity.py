"""Training of the visual-semantic similarity (HDGAN draft, Eq. 5, with the matching pair in the hinge, as in the released code).

The released code uses all other items of the batch as negatives. Two items of the same class are not a mismatch, so here only items of
other classes are negatives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from stackgan_cli.config.archs import VSSimilarity as VSSimilarityConfig
from stackgan_cli.models.similarity import VSSimilarity
from stackgan_cli.objectives.base import Batch, Needs, Noise, Objective, Phase, Turn
from stackgan_cli.objectives.retrieval import own_first, ranking_hinges


def similarity_loss(image_vectors: Tensor, text_vectors: Tensor, class_ids: Tensor, *, margin: float = 0.2) -> dict[str, Tensor]:
    """Ranking loss of a batch of image and text vectors, both (B, J) of unit length, with classes (B,), -1 for an item without a class.

    total = sum_i sum_{j of another class} max(0, margin - s_ii + s_ij) + max(0, margin - s_ii + s_ji). `matched` is the mean of s_ii,
    `top1` the fraction of images that score their own text highest of all texts in the batch. All are scalars.
    """
    scores = image_vectors @ text_vectors.T
    same = (class_ids[:, None] == class_ids[None, :]) & (class_ids[:, None] >= 0)
    same = same | torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    by_image, by_text = ranking_hinges(scores, same, margin)
    return {"total": by_image.sum() + by_text.sum(), "matched": scores.detach().diagonal().mean(), "top1": own_first(scores)}


@dataclass
class SimilarityDraw:
    """Vectors (B, J) of the images and captions of a batch, and their classes (B,)."""

    image_vectors: Tensor
    text_vectors: Tensor
    class_ids: Tensor


class SimilarityObjective(Objective[SimilarityDraw]):
    """One phase, `vs`: the two linear maps. The extractor is fixed."""

    def __init__(self, config: VSSimilarityConfig, networks: Mapping[str, nn.Module]) -> None:
        network = networks["similarity"]
        assert isinstance(network, VSSimilarity)
        self.config, self.network = config, network
        self.modules = {"similarity": network}
        self.phases = (Phase("vs", "encoder", (network.linear_img, network.linear_sent), self._loss),)
        self.needs = Needs(images=(config.resolution,), text=True)

    def turns(self, step: int, memory: Mapping[str, float]) -> tuple[Turn, ...]:
        return (Turn("vs"),)

    def draw(self, batch: Batch, noise: Noise) -> SimilarityDraw:
        assert batch.text is not None and batch.class_ids is not None
        images = self.network.image_vectors(batch.images[self.config.resolution])
        return SimilarityDraw(images, self.network.text_vectors(batch.text), batch.class_ids)

    def _loss(self, draw: SimilarityDraw) -> dict[str, Tensor]:
        return similarity_loss(draw.image_vectors, draw.text_vectors, draw.class_ids, margin=self.config.margin)


def ranking_scores(image_vectors: np.ndarray, text_vectors: np.ndarray, class_ids: np.ndarray, candidates: int = 100) -> dict[str, float]:
    """How well pairs of image and text vectors, both (N, J), with classes (N,), are distinguished from mismatched pairs of two classes.

    `matched`, `mismatched`: mean similarities. `top1`: the probability that an image scores its own text above `candidates` - 1 texts
    sampled without replacement from those of other classes (all of them if there are fewer), averaged over images. If w of n such texts
    score at least as high, that is C(n - w, candidates - 1) / C(n, candidates - 1), so no sampling is needed.
    """
    scores = image_vectors.astype(np.float64) @ text_vectors.T.astype(np.float64)
    other = class_ids[:, None] != class_ids[None, :]
    own = scores.diagonal()
    above = ((scores >= own[:, None]) & other).sum(1)
    available = other.sum(1)
    sampled = np.minimum(candidates - 1, available)
    chance = np.ones(len(own))
    for number in range(candidates - 1):
        left = np.maximum(available - number, 1)
        chance *= np.where(number < sampled, np.clip(left - above, 0, None) / left, 1.0)
    return {"matched": float(own.mean()), "mismatched": float(scores[other].mean()), "top1": float(chance.mean())}
