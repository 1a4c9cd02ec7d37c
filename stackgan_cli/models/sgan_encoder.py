"""The encoder that SGAN inverts: conv1, pool1, conv2, pool2, fc3, fc4 (Huang et al., poster; sizes of the released code).

| | MNIST | CIFAR-10, SVHN |
|---|---|---|
| image | 1 x 28 x 28 in [0, 1] | 3 x 32 x 32 in [0, 1], minus the mean image of the training set (CIFAR-10) |
| conv1, pool1 | 5x5 without padding, 32 channels, ReLU; 2x2 maximum: 32 x 12 x 12 | 64 x 14 x 14 |
| conv2, pool2 | the same: 32 x 4 x 4 | 128 x 5 x 5 |
| fc3 | 256, ReLU | 256, ReLU |
| fc4 | 10 logits | 10 logits |

No normalization and no dropout. How it was trained is not published; ours is trained like any classifier (classifier.py). Its layers can
be run from any representation to any representation above it, as the conditional loss of a stack of generators needs.

Shape letters: `B` batch, `C` channels, `S` side of an image, `K` classes.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KERNEL = 5


class SGANEncoder(nn.Module):
    """Images through `LEVELS`; a forward pass can start and end at any of them."""

    LEVELS = ("image", "pool1", "pool2", "fc3", "fc4")
    """Its representations, bottom to top."""

    mean: Tensor | None
    """(C, S, S) in [0, 1]: the mean image, which is subtracted from every image; None: nothing is subtracted."""

    def __init__(
        self,
        num_classes: int,
        side: int = 28,
        channels: int = 1,
        conv_dims: tuple[int, int] = (32, 32),
        hidden_dim: int = 256,
        centered: bool = False,
    ) -> None:
        """`side` is a multiple of 4 and at least 16."""
        super().__init__()
        middle = (side - KERNEL + 1) // 2
        top = (middle - KERNEL + 1) // 2
        self._shapes: dict[str, tuple[int, ...]] = {
            "image": (channels, side, side),
            "pool1": (conv_dims[0], middle, middle),
            "pool2": (conv_dims[1], top, top),
            "fc3": (hidden_dim,),
            "fc4": (num_classes,),
        }
        self.conv1 = nn.Conv2d(channels, conv_dims[0], KERNEL)
        self.conv2 = nn.Conv2d(conv_dims[0], conv_dims[1], KERNEL)
        self.fc3 = nn.Linear(conv_dims[1] * top * top, hidden_dim)
        self.fc4 = nn.Linear(hidden_dim, num_classes)
        self.register_buffer("mean", torch.zeros(channels, side, side) if centered else None)

    @property
    def num_features(self) -> int:
        """Width of fc3."""
        return self.fc3.out_features

    def shape(self, level: str) -> tuple[int, ...]:
        """Shape of a representation, without the batch."""
        return self._shapes[level]

    def native(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] to the input of the encoder, the level `image`: (B, C, S, S), the mean over colors if C is 1."""
        if self.conv1.in_channels == 1:
            images = images.mean(1, keepdim=True)
        pixels = images.add(1).div(2)
        return pixels if self.mean is None else pixels - self.mean

    def between(self, h: Tensor, lower: str, upper: str) -> Tensor:
        """From the representation `lower`, h of shape (B, *shape(lower)), to the representation `upper`; `fc4` is logits (B, K)."""
        for level in self.LEVELS[self.LEVELS.index(lower) + 1 : self.LEVELS.index(upper) + 1]:
            h = self._layer(level, h)
        return h

    def _layer(self, level: str, below: Tensor) -> Tensor:
        match level:
            case "pool1":
                return F.max_pool2d(F.relu(self.conv1(below)), 2)
            case "pool2":
                return F.max_pool2d(F.relu(self.conv2(below)), 2)
            case "fc3":
                return F.relu(self.fc3(below.flatten(1)))
            case _:
                return self.fc4(below)

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] to fc3, (B, num_features), nonnegative."""
        return self.between(self.native(images), "image", "fc3")

    @torch.no_grad()
    def center_on(self, batches: Iterable[Tensor]) -> None:
        """Set `mean` to the mean of these images, given as batches (B, 3, S, S) in [-1, 1]; does nothing if `mean` is None."""
        if self.mean is None:
            return
        self.mean.zero_()
        total, count = torch.zeros_like(self.mean, dtype=torch.float64), 0
        for batch in batches:
            total += self.native(batch.to(total.device)).double().sum(0)
            count += len(batch)
        self.mean.copy_(total / count)
