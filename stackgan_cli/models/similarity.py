"""Visual-semantic similarity: linear maps of image features and of text embeddings to one space (HDGAN draft, Eq. 5; released code).

The released code maps 1536 features of an Inception-ResNet-v2 and the 1024 dimensions of a char-CNN-RNN to 512. Here the image features
may come from any fixed extractor. A classifier trained here is part of the network, so a weights file is complete.

Shapes: B batch, S side of an image, D features, T text embedding, J joint space.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stackgan_cli.models.interface import ImageExtractor


class VSSimilarity(nn.Module):
    """Images and texts to vectors of unit length, whose dot product is the similarity. The extractor stays in evaluation mode, without
    gradients."""

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
        """Set the mode of the maps; the extractor stays in evaluation mode: its BatchNorm statistics are part of its weights."""
        super().train(mode)
        self.extractor.train(False)
        return self

    def image_vectors(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] to (B, J) of unit length."""
        with torch.no_grad():
            features = self.extractor.features(images)
        return F.normalize(self.linear_img(features).float(), dim=1)

    def text_vectors(self, text: Tensor) -> Tensor:
        """Embeddings (B, T) by the text encoder that it was trained with, to (B, J) of unit length."""
        return F.normalize(self.linear_sent(text).float(), dim=1)

    def forward(self, images: Tensor, text: Tensor) -> Tensor:
        """The similarity (B,) of each image to its text, in [-1, 1]."""
        return (self.image_vectors(images) * self.text_vectors(text)).sum(1)
