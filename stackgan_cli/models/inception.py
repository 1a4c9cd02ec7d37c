"""Inception-v3 (Szegedy et al., arXiv 1512.00567) as used by the published image metrics: one network for three families of weights.

| weights | 3x3 average pools | pool of the last block | classes |
|---|---|---|---|
| `tf-inception-2015`: TensorFlow's graph of 2015-12-05, which defines FID and IS | exclude the padding | maximum | 1008 |
| `torchvision-inception`: TF-slim of 2016, ported by torchvision | include the padding | average | 1000 |
| fine-tuned from TF-slim (StackGAN's inception score) | include the padding | average | any |

Names and shapes of the parameters are those of the published state dicts. The auxiliary head, which is used only in training, is left
out. Resizing and scaling of images depend on the weights and are done by the extractors (encoders/extractor.py).

Shapes: N batch, C channels, H W space, K classes.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

FEATURE_DIM = 2048
MIN_SIDE = 75
"""Side of the smallest image that leaves at least one pixel in the last map."""

Kernel = int | tuple[int, int]
Step = tuple[tuple[str, int, Kernel], ...]
"""Layers (name, units, kernel) that read the same input and whose outputs are concatenated; usually just one."""


class Conv(nn.Module):
    """Convolution without bias, BatchNorm (epsilon 0.001) and ReLU."""

    def __init__(self, inputs: int, units: int, kernel: Kernel, stride: int = 1, padding: Kernel = 0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, units, kernel, stride, padding, bias=False)
        self.bn: nn.Module = nn.BatchNorm2d(units, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)

    def fuse(self) -> None:
        """Fold the normalization into the convolution; valid in evaluation mode only."""
        assert isinstance(self.bn, nn.BatchNorm2d)
        self.conv, self.bn = fuse_conv_bn_eval(self.conv, self.bn), nn.Identity()


class Block(nn.Module):
    """Parallel branches, concatenated over channels, with a pooling branch last.

    A branch is a chain of steps. With `stride` 1 every layer keeps the size. With `stride` 2 the last layer of each branch and the
    maximum pooling halve it without padding, and the pooling branch has no parameters.
    """

    def __init__(self, inputs: int, branches: tuple[tuple[Step, ...], ...], pool: str, pool_units: int = 0, stride: int = 1) -> None:
        super().__init__()
        self.pool, self.stride = pool, stride
        self.chains = [[[name for name, _, _ in step] for step in branch] for branch in branches]
        self.outputs = pool_units or inputs
        for branch in branches:
            width = inputs
            for place, step in enumerate(branch):
                halves = stride == 2 and place == len(branch) - 1
                for name, units, kernel in step:
                    self.add_module(name, Conv(width, units, kernel, stride if halves else 1, 0 if halves else _same(kernel)))
                width = sum(units for _, units, _ in step)
            self.outputs += width
        if pool_units:
            self.branch_pool = Conv(inputs, pool_units, 1)

    def forward(self, x: Tensor) -> Tensor:
        found = []
        for chain in self.chains:
            y = x
            for names in chain:
                parts = [self.get_submodule(name)(y) for name in names]
                y = parts[0] if len(parts) == 1 else torch.cat(parts, 1)
            found.append(y)
        return torch.cat([*found, self._pooled(x)], 1)

    def _pooled(self, x: Tensor) -> Tensor:
        if self.stride == 2:
            return F.max_pool2d(x, 3, 2)
        if self.pool == "max":
            pooled = F.max_pool2d(x, 3, 1, 1)
        else:
            pooled = F.avg_pool2d(x, 3, 1, 1, count_include_pad=self.pool == "avg-with-padding")
        y: Tensor = self.branch_pool(pooled)
        return y


def _same(kernel: Kernel) -> Kernel:
    return kernel // 2 if isinstance(kernel, int) else (kernel[0] // 2, kernel[1] // 2)


def _chain(*layers: tuple[str, int, Kernel] | Step) -> tuple[Step, ...]:
    """A branch; a single layer is a step by itself."""
    return tuple((layer,) if isinstance(layer[0], str) else layer for layer in layers)


def _block_a(inputs: int, pool: str, pool_units: int) -> Block:
    branches = (
        _chain(("branch1x1", 64, 1)),
        _chain(("branch5x5_1", 48, 1), ("branch5x5_2", 64, 5)),
        _chain(("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)),
    )
    return Block(inputs, branches, pool, pool_units)


def _block_b(inputs: int) -> Block:
    branches = (
        _chain(("branch3x3", 384, 3)),
        _chain(("branch3x3dbl_1", 64, 1), ("branch3x3dbl_2", 96, 3), ("branch3x3dbl_3", 96, 3)),
    )
    return Block(inputs, branches, "max", stride=2)


def _block_c(inputs: int, pool: str, width: int) -> Block:
    wide, high = (1, 7), (7, 1)
    branches = (
        _chain(("branch1x1", 192, 1)),
        _chain(("branch7x7_1", width, 1), ("branch7x7_2", width, wide), ("branch7x7_3", 192, high)),
        _chain(
            ("branch7x7dbl_1", width, 1),
            ("branch7x7dbl_2", width, high),
            ("branch7x7dbl_3", width, wide),
            ("branch7x7dbl_4", width, high),
            ("branch7x7dbl_5", 192, wide),
        ),
    )
    return Block(inputs, branches, pool, 192)


def _block_d(inputs: int) -> Block:
    branches = (
        _chain(("branch3x3_1", 192, 1), ("branch3x3_2", 320, 3)),
        _chain(("branch7x7x3_1", 192, 1), ("branch7x7x3_2", 192, (1, 7)), ("branch7x7x3_3", 192, (7, 1)), ("branch7x7x3_4", 192, 3)),
    )
    return Block(inputs, branches, "max", stride=2)


def _block_e(inputs: int, pool: str) -> Block:
    branches = (
        _chain(("branch1x1", 320, 1)),
        _chain(("branch3x3_1", 384, 1), (("branch3x3_2a", 384, (1, 3)), ("branch3x3_2b", 384, (3, 1)))),
        _chain(
            ("branch3x3dbl_1", 448, 1),
            ("branch3x3dbl_2", 384, 3),
            (("branch3x3dbl_3a", 384, (1, 3)), ("branch3x3dbl_3b", 384, (3, 1))),
        ),
    )
    return Block(inputs, branches, pool, 192)


class InceptionV3(nn.Module):
    """`avg_include_pad`: whether the 3x3 average poolings include the zeros of their padding. `last_pool`: "avg" or "max" in Mixed_7c."""

    def __init__(self, num_classes: int = 1000, *, avg_include_pad: bool = True, last_pool: str = "avg") -> None:
        super().__init__()
        average = "avg-with-padding" if avg_include_pad else "avg"
        self.Conv2d_1a_3x3 = Conv(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = Conv(32, 32, 3)
        self.Conv2d_2b_3x3 = Conv(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1 = Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = Conv(80, 192, 3)
        self.Mixed_5b = _block_a(192, average, 32)
        self.Mixed_5c = _block_a(256, average, 64)
        self.Mixed_5d = _block_a(288, average, 64)
        self.Mixed_6a = _block_b(288)
        self.Mixed_6b = _block_c(768, average, 128)
        self.Mixed_6c = _block_c(768, average, 160)
        self.Mixed_6d = _block_c(768, average, 160)
        self.Mixed_6e = _block_c(768, average, 192)
        self.Mixed_7a = _block_d(768)
        self.Mixed_7b = _block_e(1280, average)
        self.Mixed_7c = _block_e(2048, "max" if last_pool == "max" else average)
        self.fc = nn.Linear(FEATURE_DIM, num_classes)

    def features(self, images: Tensor) -> Tensor:
        """(N, 3, H, W) in [-1, 1], at least 75 px per side, to the pooled units (N, 2048)."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(images)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(F.max_pool2d(x, 3, 2))))
        x = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        return x.mean((2, 3))

    def logits(self, features: Tensor, *, biased: bool = True) -> Tensor:
        """(N, 2048) to (N, K). The inception score of the 2015 graph is defined on logits without their bias."""
        return F.linear(features, self.fc.weight, self.fc.bias if biased else None)

    def forward(self, images: Tensor, *, biased: bool = True) -> tuple[Tensor, Tensor]:
        """Features (N, 2048) and logits (N, K)."""
        features = self.features(images)
        return features, self.logits(features, biased=biased)

    def fuse(self) -> InceptionV3:
        """Fold all normalizations into their convolutions, which is faster and equal up to rounding; valid in evaluation mode only."""
        for module in list(self.modules()):
            if isinstance(module, Conv):
                module.fuse()
        return self
