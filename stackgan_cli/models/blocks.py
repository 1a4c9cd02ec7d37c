"""Building blocks of the stacked generators and discriminators (StackGAN++ sections 3.2, 3.3 and 3.4).

Two of them compute the published function with less arithmetic and with the published parameters:

* `UpsampleConv`: nearest x2 followed by a 3x3 convolution is one transposed 4x4 convolution of stride 2, 4 instead of 9
  multiplications a pixel and channel pair.
* `JointConv`: the share of a vector tiled over space in a convolution depends on the position only through the taps that fall
  off the edge, so it is one matrix product a tap and a map that is added.

`arithmetic("plain")` computes both as written in the papers, `arithmetic("fast")` always the short way, and the default `auto`
takes the short way where it was measured to be the faster one.

Shape letters: `B` batch, `C` input channels, `O` output channels, `H W` space, `V` length of a vector, `T` text embedding.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Arithmetic = Literal["auto", "fast", "plain"]
LEAK = 0.2
"""Negative slope of every LeakyReLU of the released codes; the papers do not give one."""

_arithmetic: Arithmetic = "auto"


@contextmanager
def arithmetic(mode: Arithmetic) -> Iterator[None]:
    """Choose how `UpsampleConv` and `JointConv` compute, for the duration of a `with` block."""
    global _arithmetic
    before, _arithmetic = _arithmetic, mode
    try:
        yield
    finally:
        _arithmetic = before


class ConditioningAugmentation(nn.Module):
    """c = mu + sigma * eps, with mu and log sigma from one fully connected layer on the text embedding (above Eq. 3).

    `variant` says what acts on the layer's output and what its second half is:

    | variant | activation | second half |
    |---|---|---|
    | `paper` | none | log-variance |
    | `pytorch` (StackGAN-v1) | ReLU, so sigma >= 1 | log-variance |
    | `tensorflow` (StackGAN-v1), `hdgan` | LeakyReLU | log sigma |
    | `stackgan-v2` | gated linear unit on twice as many units | log-variance |

    `sampled=False` is the model without augmentation: c = mu.
    """

    def __init__(self, text_dim: int, condition_dim: int, variant: str, sampled: bool = True) -> None:
        super().__init__()
        self.sampled, self.condition_dim = sampled, condition_dim
        gated = variant == "stackgan-v2"
        self.layer = "linear" if variant == "hdgan" else "fc"
        self.add_module(self.layer, nn.Linear(text_dim, condition_dim * (2 if sampled else 1) * (2 if gated else 1)))
        leaky = variant in ("tensorflow", "hdgan")
        self.activation = (
            GatedLinearUnit() if gated else nn.LeakyReLU(LEAK) if leaky else nn.ReLU() if variant == "pytorch" else nn.Identity()
        )
        self.predicts_log_sigma = leaky

    def forward(self, text: Tensor, eps: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """`text` (B, T), `eps` (B, V) or None for the mean. Returns c, mu and log-variance (None when nothing is sampled)."""
        encoded = self.activation(self.get_submodule(self.layer)(text))
        if not self.sampled:
            return encoded, encoded, None
        # In float32 whatever the precision of the layer: the exponential and the KL term need it.
        mu, spread = encoded.float().chunk(2, 1)
        logvar = 2 * spread if self.predicts_log_sigma else spread
        c = mu if eps is None else mu + torch.exp(0.5 * logvar) * eps
        return c, mu, logvar


class ClassConditioning(nn.Module):
    """A learned vector a class label, in the place of conditioning augmentation: c = mu, and nothing is sampled."""

    sampled = False

    def __init__(self, num_classes: int, condition_dim: int) -> None:
        super().__init__()
        self.condition_dim = condition_dim
        self.embedding = nn.Embedding(num_classes, condition_dim)

    def forward(self, labels: Tensor, eps: Tensor | None) -> tuple[Tensor, Tensor, None]:
        """`labels` (B,) int64, or vectors (B, V) in their place, as between two classes -> c, mu (B, V) and None."""
        vector: Tensor = labels if labels.is_floating_point() else self.embedding(labels)
        return vector, vector, None


class UpsampleConv(nn.Conv2d):
    """Nearest-neighbour x2, then a 3x3 convolution with padding 1 (zeros, or reflected) and no bias. (B, C, H, W) -> (B, O, 2H, 2W).

    A reflected row of the doubled image equals its edge row, so reflecting is replicating before the doubling.
    """

    def __init__(self, in_channels: int, out_channels: int, padding_mode: Literal["zeros", "reflect"] = "zeros") -> None:
        super().__init__(in_channels, out_channels, 3, padding=1, bias=False, padding_mode=padding_mode)

    def forward(self, x: Tensor) -> Tensor:
        if _arithmetic != "plain" and self.padding_mode == "zeros" and folded_product_pays(x):
            return self._product(x)
        if _arithmetic == "plain" or (_arithmetic == "auto" and not folding_pays(x)):
            doubled = F.interpolate(x, scale_factor=2, mode="nearest")
            return super().forward(doubled) if self.padding_mode == "zeros" else F.conv2d(bordered(doubled, "reflect"), self.weight)
        kernel = _folded(_folded(self.weight, 2), 3).transpose(0, 1)
        if self.padding_mode == "reflect":
            return F.conv_transpose2d(bordered(x, "replicate"), kernel, stride=2, padding=3)
        return F.conv_transpose2d(x, kernel, stride=2, padding=1)

    def _product(self, x: Tensor) -> Tensor:
        """The transposed convolution as one matrix product: 4x4 taps of every input pixel, which are then added where they overlap."""
        (batch, channels, height, width), outputs = x.shape, self.out_channels
        with torch.autocast(x.device.type, enabled=False):  # sums of weights in their own precision, as everywhere
            fold = torch.kron(self.weight.new_tensor(FOLD), self.weight.new_tensor(FOLD))
            kernel = fold @ self.weight.permute(2, 3, 0, 1).reshape(9, outputs * channels)
        taps = F.linear(x.permute(0, 2, 3, 1).reshape(-1, channels), kernel.view(16 * outputs, channels))
        # Tap 2u + a of input row i makes row 2 (i + u) + a of the padded output; columns j by v, b likewise: (B, i, j, u, a, v, b, O).
        rows = _overlapped(taps.view(batch, height, width, 2, 2, 2, 2, outputs).permute(0, 1, 3, 4, 2, 5, 6, 7), 1)
        out = _overlapped(rows, 3).reshape(batch, 2 * height + 2, 2 * width + 2, outputs)
        return out[:, 1:-1, 1:-1].permute(0, 3, 1, 2).contiguous(memory_format=_layout_of(x))


FOLD = ((0.0, 0.0, 1.0), (0.0, 1.0, 1.0), (1.0, 1.0, 0.0), (1.0, 0.0, 0.0))
"""The three taps along a dimension as the four of a transposed convolution: sums of the taps that meet the same input pixel."""


def _folded(kernel: Tensor, dim: int) -> Tensor:
    """`FOLD` times the taps along `dim`."""
    first, second, third = kernel.unbind(dim)
    return torch.stack([third, second + third, first + second, first], dim)


def _overlapped(taps: Tensor, dim: int) -> Tensor:
    """Sizes (N, 2) at `dim` and the next to N + 1: the second of each pair is added to the first of the pair after it."""
    first, second = taps.unbind(dim + 1)
    after = 2 * (taps.dim() - 2 - dim)  # numbers that F.pad takes for the dimensions behind
    return F.pad(first, (*[0] * after, 0, 1)) + F.pad(second, (*[0] * after, 1, 0))


class _Border(torch.autograd.Function):
    """A border of one pixel around (B, C, H, W): the outermost rows and columns, or those `inner` further in. Keeps the layout."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, inner: int) -> Tensor:
        ctx.inner, ctx.layout = inner, _layout_of(x)
        batch, channels, height, width = x.shape
        out = x.new_empty((batch, channels, height + 2, width + 2)).contiguous(memory_format=ctx.layout)
        out[:, :, 1:-1, 1:-1] = x
        for edge, source in ((0, inner), (-1, -1 - inner)):
            out[:, :, edge, 1:-1] = x[:, :, source]
        for edge, source in ((0, 1 + inner), (-1, -2 - inner)):
            out[..., edge] = out[..., source]
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        inner = ctx.inner
        out = gradient[:, :, 1:-1, 1:-1].contiguous(memory_format=ctx.layout)
        if out.data_ptr() == gradient.data_ptr():
            out = out.clone()
        for edge, target in ((0, inner), (-1, -1 - inner)):
            row = gradient[:, :, edge, 1:-1].clone()
            row[..., inner] += gradient[:, :, edge, 0]
            row[..., -1 - inner] += gradient[:, :, edge, -1]
            out[:, :, target] += row
            out[..., target] += gradient[:, :, 1:-1, edge]
        return out, None


def bordered(x: Tensor, mode: Literal["reflect", "replicate"]) -> Tensor:
    """A border of one pixel around (B, C, H, W). On a GPU by `_Border`: PyTorch sums the gradient of its own in no fixed order there,
    and training could not be repeated to the bit."""
    if x.device.type == "cpu":
        return F.pad(x, (1, 1, 1, 1), mode=mode)
    out: Tensor = _Border.apply(x, 1 if mode == "reflect" else 0)
    return out


def folded_product_pays(x: Tensor) -> bool:
    """Whether `UpsampleConv` on `x` (B, C, H, W) is fastest as a matrix product: on small maps convolutions spend their time on
    rearranging weights. Forward and backward, channels_last, two cores of an EPYC (AVX2, torch 2.14), milliseconds, plain, folded ->
    product: B 16, 384 -> 192 channels, 4 px: 34, 38 -> 19; B 16, 1024 -> 512, 4 px: 264, 410 -> 130; B 64: 923, 835 -> 423; B 64,
    256 -> 128: 55, 36 -> 28; but B 16, 192 -> 96, 8 px: 33, 20 -> 19."""
    return x.device.type == "cpu" and x.shape[0] * x.shape[2] * x.shape[3] <= 1024


GPU_PIXELS = 4096
"""From how many pixels of a batch on the shorter ways pay on a GPU. Forward and backward on an H200, bf16, channels_last, recorded,
milliseconds, plain -> short (torch 2.11). `UpsampleConv`: B 24, 1024 -> 512 channels, 4 px: 0.15 -> 0.53; 512 -> 256, 8 px:
0.15 -> 0.19; 128 -> 64, 32 px: 0.32 -> 0.13; 128 -> 64, 64 px: 1.08 -> 0.25; B 64, 256 -> 128, 16 px: 0.48 -> 0.18. `JointConv`, 3x3:
B 24, 512 + 128 -> 512, 4 px: 0.07 -> 0.15; 16 px: 0.28 -> 0.29, B 64: 0.68 -> 0.51; B 24, 64 + 128 -> 64, 64 px: 0.52 -> 0.25."""


def folding_pays(x: Tensor) -> bool:
    """Whether `UpsampleConv` on `x` (B, C, H, W) is faster as a transposed convolution than after doubling.

    On a CPU the folding itself costs about as much as 200 to 300 pixels of the convolution. Forward and backward on one core of an
    EPYC (AVX-512, torch 2.15), milliseconds, plain -> folded: B 16, 1024 -> 512 channels, 4 px: 308 -> 330, channels_last 332 -> 469;
    B 64, 256 -> 128, 4 px: 77 -> 33, 60 -> 35; B 16, 512 -> 256, 8 px: 310 -> 164, 275 -> 172; B 16, 128 -> 64, 32 px: 453 -> 151,
    343 -> 137; B 64, 32 -> 16, 32 px: 202 -> 57, 103 -> 40.
    """
    return x.shape[0] * x.shape[2] * x.shape[3] >= (GPU_PIXELS if x.is_cuda else 512)


class JointConv(nn.Conv2d):
    """A convolution (3x3 with padding 1, or 1x1; no bias) of features (B, C, H, W) joined with a vector (B, V) tiled over space.

    `vector_first`: the order of the joined channels, [vector, features] or [features, vector].
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
    """(H*W, 9), 1 where a tap of a 3x3 kernel with padding 1 centred on the pixel lies inside the map."""

    def along(size: int) -> Tensor:
        at = torch.arange(size, device=like.device)[:, None] + torch.arange(-1, 2, device=like.device)
        return ((at >= 0) & (at < size)).to(like.dtype)

    return torch.kron(along(height), along(width))


class DeepConv(nn.Conv2d):
    """A convolution without bias that is one matrix product where the map is small: (B, C, H, W) -> (B, O, H', W').

    The last layers of a 256-px discriminator have 100 MB of weights and 4x4 pixels. A convolution rearranges all its weights for
    every pass, which costs more than the arithmetic; a matrix product reads them as they lie.
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
        out = F.linear(rows.reshape(x.shape[0] * height * width, -1), weight.flatten(1))
        return out.view(x.shape[0], height, width, -1).permute(0, 3, 1, 2).contiguous(memory_format=layout)


def matrix_product_pays(x: Tensor, conv: nn.Conv2d) -> bool:
    """Whether `DeepConv` on `x` is faster as a matrix product. Forward and backward on one core as above, milliseconds, convolution ->
    product, batch 4: 1024 -> 2048 channels, 4x4 kernel to 4 px: 629 -> 318; 2048 -> 1024, 3x3 kernel at 4 px: 341 -> 154; 512 -> 1024,
    4x4 kernel to 8 px: 242 -> 180, but the first without weight gradients 147 -> 126."""
    pixels = x.shape[0] * x.shape[2] * x.shape[3] // conv.stride[0] ** 2
    return x.device.type == "cpu" and pixels <= 128 and conv.weight.numel() >= 2**20


class ReflectConv(DeepConv):
    """A 3x3 convolution without bias whose border of one pixel is reflected; (B, C, H, W) -> (B, O, H / stride, W / stride)."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__(in_channels, out_channels, 3, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(bordered(x, "reflect"))


def numbered(start: int, *layers: nn.Module) -> nn.Sequential:
    """A Sequential whose first layer has index `start`: keeps published names where an index belonged to a layer without state."""
    return nn.Sequential(OrderedDict((str(start + i), layer) for i, layer in enumerate(layers)))


def gated_up_block(in_channels: int, out_channels: int) -> nn.Sequential:
    """Nearest x2, 3x3 convolution to twice `out_channels`, BatchNorm, gated linear unit (StackGAN-v2)."""
    return numbered(1, UpsampleConv(in_channels, 2 * out_channels), nn.BatchNorm2d(2 * out_channels), GatedLinearUnit())


def up_block(in_channels: int, out_channels: int, activation: bool = True) -> nn.Sequential:
    """Nearest x2, 3x3 convolution, BatchNorm, ReLU. Index 0 is the upsampling in the released code."""
    layers: list[nn.Module] = [UpsampleConv(in_channels, out_channels), nn.BatchNorm2d(out_channels)]
    return numbered(1, *layers, nn.ReLU(inplace=True)) if activation else numbered(1, *layers)


def conv_norm(in_channels: int, out_channels: int, kernel: int, activation: nn.Module | None, stride: int = 1) -> list[nn.Module]:
    """Convolution without bias, BatchNorm and, unless None, an activation. A 4x4 kernel halves the side with stride 2."""
    conv = DeepConv(in_channels, out_channels, kernel, stride, padding=1 if kernel > 1 else 0, bias=False)
    layers: list[nn.Module] = [conv, nn.BatchNorm2d(out_channels)]
    return layers if activation is None else [*layers, activation]


class _Gate(torch.autograd.Function):
    """a * sigmoid(b) of the halves a, b along dimension 1; keeps its input alone, and gives the gradient in its input's layout.

    PyTorch's own gives a gradient of another layout, which also slows down the layer before it: on one core in bf16, channels_last,
    forward and backward of 32 x 128 x 64 x 64 take 147 ms by it and a quarter of that here.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        if x.is_cuda:
            return F.glu(x, 1)
        value, gate = x.chunk(2, 1)
        return value * gate.sigmoid()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        out = torch.empty_like(x)
        if x.is_cuda:
            return torch.ops.aten.glu_backward.grad_input(gradient, x, 1, grad_input=out)
        value, gate = x.chunk(2, 1)
        opened = gate.sigmoid()
        of_value, of_gate = out.chunk(2, 1)
        torch.mul(gradient, opened, out=of_value)
        torch.mul(of_value * value, 1 - opened, out=of_gate)
        return out


class GatedLinearUnit(nn.Module):
    """(B, 2C, ...) -> (B, C, ...): the first half times the sigmoid of the second."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = _Gate.apply(x)
        return out


class ResidualBlock(nn.Module):
    """activation(x + block(x)); (B, C, H, W) -> the same.

    Two 3x3 convolutions as in Stage-II's generator, or, with `bottleneck` channels, 1x1, 3x3, 3x3 through that many.
    """

    def __init__(self, channels: int, activation: nn.Module, bottleneck: int | None = None) -> None:
        super().__init__()
        if bottleneck is None:
            layers = [*conv_norm(channels, channels, 3, activation), *conv_norm(channels, channels, 3, None)]
        else:
            layers = [
                *conv_norm(channels, bottleneck, 1, activation),
                *conv_norm(bottleneck, bottleneck, 3, activation),
                *conv_norm(bottleneck, channels, 3, None),
            ]
        self.block = nn.Sequential(*layers)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(x + self.block(x))


class GatedResidualBlock(nn.Module):
    """x + block(x), two 3x3 convolutions around a gated linear unit and nothing after the sum (StackGAN-v2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block = nn.Sequential(*conv_norm(channels, 2 * channels, 3, GatedLinearUnit()), *conv_norm(channels, channels, 3, None))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x)


class Joint(nn.Sequential):
    """A Sequential whose first layer joins features (B, C, H, W) with a vector (B, V), if there is one."""

    def forward(self, features: Tensor, vector: Tensor | None) -> Tensor:  # type: ignore[override]
        joint, *rest = self
        h = joint(features) if vector is None else joint(features, vector)
        for layer in rest:
            h = layer(h)
        return h


def init_weights(network: nn.Module, truncated: bool = False, linear: bool = True) -> None:
    """The released initialisation (the papers give none): weights N(0, 0.02), BatchNorm scale N(1, 0.02), biases of fully connected
    layers and BatchNorm 0. `truncated` restricts convolution weights to two standard deviations, as StackGAN's TensorFlow code does;
    without `linear` fully connected layers keep PyTorch's own, as in HDGAN."""
    if all(parameter.is_meta for parameter in network.parameters()):
        return  # there are no values, and drawing them would import a tenth of torch
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            if truncated:
                nn.init.trunc_normal_(module.weight, std=0.02, a=-0.04, b=0.04)
            else:
                nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.Linear) and linear:
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)


def init_orthogonal(network: nn.Module) -> None:
    """StackGAN-v2's released initialisation: orthogonal weights, BatchNorm scale N(1, 0.02), biases of fully connected layers and
    BatchNorm 0."""
    if next(network.parameters()).is_meta:
        return
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.orthogonal_(module.weight)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)


def normal_like(x: Tensor) -> Tensor:
    """Standard normal noise with the shape, type and layout of `x`.

    PyTorch draws what is not contiguous one number at a time: noise for channels_last images took 7.3 ms as `randn_like` and takes 0.8
    as here (16 images of 64 px, AVX2, torch 2.14).
    """
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return torch.randn_like(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return torch.randn_like(x)


def _layout_of(x: Tensor) -> torch.memory_format:
    return torch.channels_last if x.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format


def memory_format_of(network: nn.Module) -> torch.memory_format:
    """The layout that a network was put into, read off its first parameter, which must be a convolution kernel of several taps."""
    return torch.channels_last if next(network.parameters()).is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
