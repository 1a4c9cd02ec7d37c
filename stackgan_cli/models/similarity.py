"""Visual-semantic similarity: linear maps of image features and of text vectors into one space (HDGAN draft, Eq. 5; released code).

The released code takes 1536 features of an Inception-ResNet-v2 and the 1024 numbers of a char-CNN-RNN to 512. Here the image features
may be those of any fixed extractor; a classifier of ours is part of the network, so that a weights file measures by itself.

Shapes: B batch, S side of an image, D features, T text vector, J joint space.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stackgan_cli.models.interface import ImageExtractor


class VSSimilarity(nn.Module):
    """Vectors of unit length, whose dot product is the similarity. The extractor never leaves evaluation mode and has no gradients."""

    def __init__(self, extractor: ImageExtractor, text_dim: int = 1024, joint_dim: int = 512) -> None:
        super().__init__()
        self.extractor: ImageExtractor = extractor.requires_grad_(False)
        self.linear_img = nn.Linear(extractor.num_features, joint_dim)
        self.linear_sent = nn.Linear(text_dim, joint_dim)
        for layer in (self.linear_img, self.linear_sent):
            nn.init.normal_(layer.weight, 0.0, math.sqrt(6 / (layer.in_features + layer.out_features)))
            nn.init.zeros_(layer.bias)
        self.train(True)

    def train(self, mode: bool = True) -> VSSimilarity:
        """The maps follow `mode`; the extractor's BatchNorm statistics are part of its weights."""
        super().train(mode)
        self.extractor.train(False)
        return self

    def image_vectors(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] to (B, J) of unit length."""
        with torch.no_grad():
            features = self.extractor.features(images)
        return F.normalize(self.linear_img(features).float(), dim=1)

    def text_vectors(self, text: Tensor) -> Tensor:
        """Vectors of captions by the encoder it was trained with, (B, T), to (B, J) of unit length."""
        return F.normalize(self.linear_sent(text).float(), dim=1)

    def forward(self, images: Tensor, text: Tensor) -> Tensor:
        """The similarity (B,) of each image to its text, in [-1, 1]."""
        return (self.image_vectors(images) * self.text_vectors(text)).sum(1)
