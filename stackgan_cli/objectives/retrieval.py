"""Structured joint embedding of captions and images, which trains the text encoder, and its zero-shot scores.

Reed et al., Learning Deep Representations of Fine-grained Visual Descriptions, CVPR 2016, section 3, as in their released code.

Scores are plain dot products, without normalization. The released code divides the sum of the hinge terms by B^2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stackgan_cli.config.archs import CharCNNRNN as CharCNNRNNConfig
from stackgan_cli.models.image_encoders import FrozenGoogLeNet, StoredFeatures
from stackgan_cli.objectives.base import Batch, Needs, Noise, Objective, Phase, Turn


def joint_embedding_loss(
    image_features: Tensor, text_features: Tensor, *, margin: float = 1.0, symmetric: bool = True
) -> dict[str, Tensor]:
    """Hinge losses of a batch of image features (B, T) and text features (B, T); item i of both has class i, and all classes differ.

    image_to_text = 1/B^2 sum_i sum_{j != i} max(0, <v_i, t_j> - <v_i, t_i> + margin). text_to_image has the roles swapped and is left
    out unless `symmetric` (DS-SJE rather than DA-SJE). `total` is their sum; `top1` is the fraction of images that score their own text
    highest. All are scalars.
    """
    scores = image_features.float() @ text_features.float().T
    by_image, by_text = ranking_hinges(scores, torch.eye(len(scores), dtype=torch.bool, device=scores.device), margin)
    losses = {"image_to_text": by_image.mean()}
    if symmetric:
        losses["text_to_image"] = by_text.mean()
    total = torch.stack(list(losses.values())).sum()
    return {"total": total, **losses, "top1": own_first(scores)}


def ranking_hinges(scores: Tensor, same: Tensor, margin: float) -> tuple[Tensor, Tensor]:
    """Terms (B, B) of a bidirectional ranking loss on scores s of images (rows) and texts (columns), with matching pairs on the diagonal.

    Texts ranked by an image: max(0, margin - s_ii + s_ij); images ranked by a text: max(0, margin - s_jj + s_ij). Terms are zero where
    the mask `same` (B, B) is true.
    """
    own = scores.diagonal()
    by_image, by_text = (F.relu(scores - own[:, None] + margin), F.relu(scores - own[None, :] + margin))
    return by_image.masked_fill(same, 0), by_text.masked_fill(same, 0)


def own_first(scores: Tensor) -> Tensor:
    """The fraction of rows (images) that score their own column (text) highest."""
    return (scores.detach().argmax(1) == torch.arange(len(scores), device=scores.device)).float().mean()


@dataclass
class RetrievalDraw:
    """Vectors of the images and captions of a batch, both (B, T)."""

    image_features: Tensor
    text_features: Tensor


class RetrievalObjective(Objective[RetrievalDraw]):
    """One phase, `sje`: the text encoder, and the image encoder if it is trained."""

    def __init__(self, config: CharCNNRNNConfig, networks: Mapping[str, nn.Module]) -> None:
        self.config = config
        self.text_encoder, self.image_encoder = networks["text_encoder"], networks["image_encoder"]
        self.modules = {"text_encoder": self.text_encoder, "image_encoder": self.image_encoder}
        trained = not isinstance(self.image_encoder, FrozenGoogLeNet | StoredFeatures)
        players = (self.text_encoder, self.image_encoder) if trained else (self.text_encoder,)
        self.phases = (Phase("sje", "encoder", players, self._loss),)
        stored = isinstance(self.image_encoder, StoredFeatures)
        self.needs = Needs(images=() if stored else (config.image_resolution,), characters=True, distinct_classes=True)

    def turns(self, step: int, memory: Mapping[str, float]) -> tuple[Turn, ...]:
        return (Turn("sje"),)

    def draw(self, batch: Batch, noise: Noise) -> RetrievalDraw:
        assert batch.characters is not None
        if isinstance(self.image_encoder, StoredFeatures):
            assert batch.rows is not None
            views = self.image_encoder.features.shape[1]
            view = (noise.uniform(batch.size) * views).long().clamp_(max=views - 1)
            image_features = self.image_encoder(batch.rows, view)
        else:
            image_features = self.image_encoder(batch.images[self.config.image_resolution])
        return RetrievalDraw(image_features, self.text_encoder(batch.characters))

    def _loss(self, draw: RetrievalDraw) -> dict[str, Tensor]:
        return joint_embedding_loss(draw.image_features, draw.text_features, margin=self.config.margin, symmetric=self.config.symmetric)


def zero_shot(
    text_features: np.ndarray, image_features: np.ndarray, caption_class: np.ndarray, image_class: np.ndarray, k: int = 50
) -> dict[str, float]:
    """Zero-shot classification and retrieval as released: features (M, T) of captions and (N, T) of images with their classes (M,), (N,).

    A class is represented by the mean of the vectors of its captions. `top1`: fraction of images (not a mean over classes) whose
    highest-scoring class is their own. `ap@K`: precision among the K images that score highest for a class (or all images if there are
    fewer), averaged over classes.
    """
    classes, member = np.unique(caption_class, return_inverse=True)
    prototypes = np.zeros((len(classes), text_features.shape[1]), np.float64)
    np.add.at(prototypes, member, text_features)
    prototypes /= np.bincount(member)[:, None]
    scores = image_features.astype(np.float64) @ prototypes.T
    top1 = (classes[scores.argmax(1)] == image_class).mean()
    best = np.argsort(-scores, axis=0, kind="stable")[:k]
    precision = (image_class[best] == classes[None, :]).mean()
    return {"top1": float(top1), f"ap@{k}": float(precision)}
