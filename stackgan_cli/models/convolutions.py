"""Convolutions that compute the published functions, with the published parameters, in less time.

* `UpsampleConv`: nearest x2 followed by a 3x3 convolution equals one transposed 4x4 convolution with stride 2, with 4 instead of 9
  multiplications per pixel and channel pair.
* `JointConv`: the contribution of a vector tiled over space depends on the position only through the taps that fall outside the
  map, so it is one matrix product per tap, added to the output.
* `DeepConv`: a convolution of a small map with many weights is computed as a matrix product.

`arithmetic("plain")` computes all of them as written in the papers, `arithmetic("fast")` always uses the short forms, and the default
`auto` uses a short form where it is faster.

Shape letters: `B` batch, `C` input channels, `O` output channels, `H W` space, `V` length of a vector.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Arithmetic = Literal["auto", "fast", "plain"]

_arithmetic: Arithmetic = "auto"


@contextmanager
def arithmetic(mode: Arithmetic) -> Iterator[None]:
    """Choose how the convolutions of this file compute, for the duration of a `with` block."""
    global _arithmetic
    before, _arithmetic = _arithmetic, mode
    try:
        yield
    finally:
        _arithmetic = before


class UpsampleConv(nn.Conv2d):
    """Nearest-neighbour x2, then a 3x3 convolution with padding 1 (zeros, or reflected). (B, C, H, W) -> (B, O, 2H, 2W).

    The reflected row of the doubled image equals its edge row, so reflecting equals replicating before the doubling.
    """

    def __init__(
        self, in_channels: int, out_channels: int, padding_mode: Literal["zeros", "reflect"] = "zeros", bias: bool = False
    ) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1, bias=bias, padding_mode=padding_mode)

    def forward(self, x: Tensor) -> Tensor:
        if _arithmetic != "plain" and self.padding_mode == "zeros" and folded_product_pays(x):
            return self._product(x)
        if _arithmetic == "plain" or (_arithmetic == "auto" and not folding_pays(x)):
            doubled = F.interpolate(x, scale_factor=2, mode="nearest")
            if self.padding_mode == "zeros":
                return super().forward(doubled)
            return F.conv2d(bordered(doubled, "reflect"), self.weight, self.bias)
        kernel = _folded(_folded(self.weight, 2), 3).transpose(0, 1)
        if self.padding_mode == "reflect":
            return F.conv_transpose2d(bordered(x, "replicate"), kernel, self.bias, stride=2, padding=3)
        return F.conv_transpose2d(x, kernel, self.bias, stride=2, padding=1)

    def _product(self, x: Tensor) -> Tensor:
        """The transposed convolution as one matrix product: 4x4 taps per input pixel, which are then added where they overlap."""
        (batch, channels, height, width), outputs = x.shape, self.out_channels
        with torch.autocast(x.device.type, enabled=False):  # weights are summed in their own precision, as everywhere
            fold = torch.kron(self.weight.new_tensor(FOLD), self.weight.new_tensor(FOLD))
            kernel = fold @ self.weight.permute(2, 3, 0, 1).reshape(9, outputs * channels)
        taps = F.linear(x.permute(0, 2, 3, 1).reshape(-1, channels), kernel.view(16 * outputs, channels))
        # Tap 2u + a of input row i makes row 2 (i + u) + a of the padded output; columns j by v, b likewise: (B, i, j, u, a, v, b, O).
        rows = _overlapped(taps.view(batch, height, width, 2, 2, 2, 2, outputs).permute(0, 1, 3, 4, 2, 5, 6, 7), 1)
        out = _overlapped(rows, 3).reshape(batch, 2 * height + 2, 2 * width + 2, outputs)
        out = out[:, 1:-1, 1:-1] if self.bias is None else out[:, 1:-1, 1:-1] + self.bias.to(out.dtype)
        return out.permute(0, 3, 1, 2).contiguous(memory_format=_layout_of(x))


FOLD = ((0.0, 0.0, 1.0), (0.0, 1.0, 1.0), (1.0, 1.0, 0.0), (1.0, 0.0, 0.0))
"""From three taps along a dimension to the four of the transposed convolution: sums of the taps that read the same input pixel."""


def _folded(kernel: Tensor, dim: int) -> Tensor:
    """`FOLD` times the taps along `dim`."""
    first, second, third = kernel.unbind(dim)
    return torch.stack([third, second + third, first + second, first], dim)


def _overlapped(taps: Tensor, dim: int) -> Tensor:
    """Dimensions `dim` and `dim` + 1 of sizes (N, 2) to one of size N + 1: the second of a pair is added to the first of the next."""
    first, second = taps.unbind(dim + 1)
    after = 2 * (taps.dim() - 2 - dim)  # entries of the padding of F.pad for the later dimensions
    return F.pad(first, (*[0] * after, 0, 1)) + F.pad(second, (*[0] * after, 1, 0))


class _Border(torch.autograd.Function):
    """Adds a border of one pixel to (B, C, H, W), in the same layout: copies of the outermost rows and columns, or of those `inner` pixels
    further in."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, inner: int) -> Tensor:
        ctx.inner, ctx.layout = inner, _layout_of(x)
        batch, channels, height, width = x.shape
        shape = (batch, channels, height + 2, width + 2)
        out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=ctx.layout)
        out[:, :, 1:-1, 1:-1] = x
        for edge, source in ((0, inner), (-1, -1 - inner)):
            out[:, :, edge, 1:-1] = x[:, :, source]
        for edge, source in ((0, 1 + inner), (-1, -2 - inner)):
            out[..., edge] = out[..., source]
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        inner = ctx.inner
        out = gradient[:, :, 1:-1, 1:-1].clone(memory_format=ctx.layout)
        for edge, target in ((0, inner), (-1, -1 - inner)):
            row = gradient[:, :, edge, 1:-1].clone()
            row[..., inner] += gradient[:, :, edge, 0]
            row[..., -1 - inner] += gradient[:, :, edge, -1]
            out[:, :, target] += row
            out[..., target] += gradient[:, :, 1:-1, edge]
        return out, None


def bordered(x: Tensor, mode: Literal["reflect", "replicate"]) -> Tensor:
    """(B, C, H, W) -> (B, C, H + 2, W + 2) by reflection or replication. On a GPU by `_Border`: there PyTorch sums the gradient of its own
    padding in no fixed order, so training could not be repeated bit for bit."""
    if x.device.type == "cpu":
        return F.pad(x, (1, 1, 1, 1), mode=mode)
    out: Tensor = _Border.apply(x, 1 if mode == "reflect" else 0)
    return out


def folded_product_pays(x: Tensor) -> bool:
    """Whether `UpsampleConv` on `x` (B, C, H, W) is fastest as a matrix product: on a CPU, convolutions of small maps spend most of their
    time rearranging weights."""
    return x.device.type == "cpu" and x.shape[0] * x.shape[2] * x.shape[3] <= 1024


GPU_PIXELS = 4096
"""Number of pixels in a batch from which the short forms are faster on a GPU."""


def folding_pays(x: Tensor) -> bool:
    """Whether `UpsampleConv` on `x` (B, C, H, W) is faster as a transposed convolution than after doubling.

    On a CPU the folding of the kernel costs about as much as 200 to 300 pixels of the convolution.
    """
    return x.shape[0] * x.shape[2] * x.shape[3] >= (GPU_PIXELS if x.is_cuda else 512)


class JointConv(nn.Conv2d):
    """A convolution (3x3 with padding 1, or 1x1; no bias) of features (B, C, H, W) joined with a vector (B, V) tiled over space.

    `vector_first`: the order of the joined channels is [vector, features] instead of [features, vector].
    """

    def __init__(self, feature_dim: int, vector_dim: int, out_channels: int, kernel_size: int, vector_first: bool = False) -> None:
        super().__init__(feature_dim + vector_dim, out_channels, kernel_size, padding=kernel_size // 2, bias=False)
        self.split = [vector_dim, feature_dim] if vector_first else [feature_dim, vector_dim]
        self.vector_first = vector_first

    def forward(self, features: Tensor, vector: Tensor) -> Tensor:  # type: ignore[override]
        batch, _, height, width = features.shape
        few = features.is_cuda and batch * height * width < GPU_PIXELS
        if _arithmetic == "plain" or (_arithmetic == "auto" and few):
            tiled = vector.to(features.dtype)[:, :, None, None].expand(-1, -1, height, width)
            return super().forward(torch.cat([tiled, features] if self.vector_first else [features, tiled], 1))
        first, second = self.weight.split(self.split, 1)
        of_vector, of_features = (first, second) if self.vector_first else (second, first)
        out = F.conv2d(features, of_features, padding=self.padding)
        taps = torch.einsum("bv,ovt->bto", vector.to(of_vector.dtype), of_vector.flatten(2))
        if self.kernel_size != (1, 1):
            taps = _taps_inside(height, width, taps) @ taps
            return out + taps.unflatten(1, (height, width)).permute(0, 3, 1, 2)
        return out + taps.permute(0, 2, 1).unsqueeze(3)


def _taps_inside(height: int, width: int, like: Tensor) -> Tensor:
    """(H*W, 9), 1 where a tap of a 3x3 kernel with padding 1 centered on the pixel lies inside the map."""

    def along(size: int) -> Tensor:
        at = torch.arange(size, device=like.device)[:, None] + torch.arange(-1, 2, device=like.device)
        return ((at >= 0) & (at < size)).to(like.dtype)

    return torch.kron(along(height), along(width))


class DeepConv(nn.Conv2d):
    """A convolution that is computed as one matrix product if the map is small: (B, C, H, W) -> (B, O, H', W').

    The last layers of a 256-px discriminator have 100 MB of weights and 4x4 pixels. A convolution rearranges all its weights in
    every pass, which costs more than the arithmetic; a matrix product reads them in place.
    """

    def forward(self, x: Tensor) -> Tensor:
        if _arithmetic == "plain" or not (_arithmetic == "fast" or matrix_product_pays(x, self)):
            return super().forward(x)
        kernel, stride, padding = self.kernel_size[0], self.stride[0], int(self.padding[0])
        height, width = ((size + 2 * padding - kernel) // stride + 1 for size in x.shape[2:])
        patches = F.unfold(x, kernel, padding=padding, stride=stride).unflatten(1, (self.in_channels, -1))
        layout = _layout_of(x)
        if layout is torch.channels_last:
            rows, weight = patches.permute(0, 3, 2, 1), self.weight.permute(0, 2, 3, 1)
        else:
            rows, weight = patches.permute(0, 3, 1, 2), self.weight
        out = F.linear(rows.reshape(x.shape[0] * height * width, -1), weight.flatten(1), self.bias)
        return out.view(x.shape[0], height, width, -1).permute(0, 3, 1, 2).contiguous(memory_format=layout)


def matrix_product_pays(x: Tensor, conv: nn.Conv2d) -> bool:
    """Whether `DeepConv` on `x` (B, C, H, W) is faster as a matrix product: on a CPU, for few pixels and many weights."""
    pixels = x.shape[0] * x.shape[2] * x.shape[3] // conv.stride[0] ** 2
    return x.device.type == "cpu" and pixels <= 128 and conv.weight.numel() >= 2**20


class ReflectConv(DeepConv):
    """A 3x3 convolution without bias and with reflected padding of one pixel; (B, C, H, W) -> (B, O, H / stride, W / stride)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, 3, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(bordered(x, "reflect"))


def _layout_of(x: Tensor) -> torch.memory_format:
    return torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
