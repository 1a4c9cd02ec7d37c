"""The image encoders that char-CNN-RNN is trained with: images to vectors of the size of the text embedding.

Reed et al. used fixed 1024-d features of a batch-normalized GoogLeNet with ten views per image, made by code that was never released.
Here: `SmallCNN`, trained together with the text encoder; `FrozenGoogLeNet`, torchvision's network with weights from a file;
`StoredFeatures`, vectors computed elsewhere.

Shapes: B batch, S side of an image, T text embedding, D feature, N images of the dataset, V views of an image.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SmallCNN(nn.Module):
    """Strided 3x3 convolutions with BatchNorm down to 8 px, mean and maximum pooling, and a linear map. Cheap on a CPU.

    The mean reflects what fills the image, the maximum what is small, like a beak. The pooled units are normalized once more: they
    differ little from image to image, and training makes progress several times sooner if those differences have unit variance.
    The vectors are multiplied by `scale`.
    """

    def __init__(self, resolution: int = 64, width: int = 32, text_dim: int = 1024, scale: float = 1.0) -> None:
        super().__init__()
        self.scale = scale
        layers: list[nn.Module] = []
        channels, side, out = 3, resolution, width
        while side > 8:
            layers += [nn.Conv2d(channels, out, 3, 2, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU(inplace=True)]
            channels, side, out = out, (side + 1) // 2, min(out * 2, width * 8)
        self.body = nn.Sequential(*layers)
        self.num_features = 2 * channels
        self.norm = nn.BatchNorm1d(self.num_features)
        self.project = nn.Linear(self.num_features, text_dim)

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] to the pooled, normalized units (B, D)."""
        places = self.body(images)
        pooled: Tensor = self.norm(torch.cat([places.mean((2, 3)), places.amax((2, 3))], 1))
        return pooled

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] to (B, T)."""
        vector: Tensor = self.project(self.features(images)) * self.scale
        return vector


class FrozenGoogLeNet(nn.Module):
    """torchvision's GoogLeNet up to its 1024 pooled units, frozen: never in training mode, no gradients.

    torchvision's published weights expect images in [-1, 1] (its `transform_input` converts ImageNet-normalized images back to that
    range), so images are only resized to 224 px.
    """

    DIM = 1024

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import GoogLeNet  # takes a second to import, and is rarely needed

        self.network = GoogLeNet(aux_logits=False, transform_input=False, init_weights=False)
        self.network.fc = nn.Identity()
        self.network.dropout = nn.Identity()
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> FrozenGoogLeNet:
        """Stays in evaluation mode regardless of `mode`: its BatchNorm statistics are part of the weights."""
        super().train(False)
        return self

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] to (B, 1024)."""
        if images.shape[-1] != 224:
            images = F.interpolate(images, size=(224, 224), mode="bilinear", align_corners=False, antialias=images.shape[-1] > 224)
        features: Tensor = self.network(images)
        return features


class StoredFeatures(nn.Module):
    """Features of the dataset's images, (N, V, D), looked up by row; not saved with the weights."""

    features: Tensor

    def __init__(self, features: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("features", torch.from_numpy(np.ascontiguousarray(features, np.float32)), persistent=False)

    def forward(self, rows: Tensor, views: Tensor | None = None) -> Tensor:
        """Rows (B,) and views (B,) to (B, D); without `views` the first view, as in the published evaluation."""
        return self.features[rows, 0 if views is None else views]
