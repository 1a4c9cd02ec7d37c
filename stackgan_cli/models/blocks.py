"""Building blocks of the stacked generators and discriminators (StackGAN++ sections 4.2 to 4.4; HDGAN draft, section 3.4).

Shape letters: `B` batch, `C` input channels, `O` output channels, `H W` space, `V` length of a vector, `T` text embedding.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stackgan_cli.models.convolutions import DeepConv, UpsampleConv

LEAK = 0.2
"""Negative slope of every LeakyReLU in the released codes; the papers do not state it."""


class ConditioningAugmentation(nn.Module):
    """c = mu + sigma * eps, with mu and log sigma from one fully connected layer on the text embedding (StackGAN++ sections 4.1 and 4.2).

    `variant` selects the activation after the layer and the meaning of the second half of its output:

    | variant | activation | second half |
    |---|---|---|
    | `paper` | none | log-variance |
    | `pytorch` (StackGAN-v1) | ReLU, so sigma >= 1 | log-variance |
    | `tensorflow` (StackGAN-v1), `hdgan` | LeakyReLU | log sigma |
    | `stackgan-v2` | gated linear unit, on twice as many units | log-variance |

    `sampled=False` is the model without augmentation: c = mu. The KL term (objectives/terms.py) is the mean over the dimensions in every
    variant unless `kl_reduction: sum` asks for the divergence of Eq. 2.
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
        """`text` (B, T), `eps` (B, V) or None for the mean -> c, mu and log-variance (B, V); log-variance is None if not `sampled`."""
        encoded = self.activation(self.get_submodule(self.layer)(text))
        if not self.sampled:
            return encoded, encoded, None
        # In float32 regardless of the precision of the layer: the exponential and the KL term need it.
        mu, spread = encoded.float().chunk(2, 1)
        logvar = 2 * spread if self.predicts_log_sigma else spread
        c = mu if eps is None else mu + torch.exp(0.5 * logvar) * eps
        return c, mu, logvar


class ClassConditioning(nn.Module):
    """A learned vector per class label, instead of conditioning augmentation: c = mu, and nothing is sampled."""

    sampled = False

    def __init__(self, num_classes: int, condition_dim: int) -> None:
        super().__init__()
        self.condition_dim = condition_dim
        self.embedding = nn.Embedding(num_classes, condition_dim)

    def forward(self, labels: Tensor, eps: Tensor | None) -> tuple[Tensor, Tensor, None]:
        """`labels` (B,) int64, or vectors (B, V) in their place, as for points between two classes -> c, mu (B, V) and None."""
        vector: Tensor = labels if labels.is_floating_point() else self.embedding(labels)
        return vector, vector, None


def numbered(start: int, *layers: nn.Module) -> nn.Sequential:
    """A Sequential whose first layer has index `start`: keeps published names in which a layer without parameters had an index."""
    return nn.Sequential(OrderedDict((str(start + i), layer) for i, layer in enumerate(layers)))


Norm = Literal["batch", "instance", "none"]
"""How the output of a convolution is normalized. With `none` the convolution has a bias, otherwise the normalization does."""


def normalization(norm: Norm, channels: int) -> nn.Module:
    """(B, C, H, W) -> the same, with a learned scale and bias per channel, over the batch or per image; `none` changes nothing."""
    match norm:
        case "batch":
            return nn.BatchNorm2d(channels)
        case "instance":
            return nn.GroupNorm(channels, channels)  # one channel per group; unlike InstanceNorm2d it keeps channels_last on a CPU
        case "none":
            return nn.Identity()  # keeps the indices of the layers after it


def upsampling(in_channels: int, out_channels: int, norm: Norm) -> list[nn.Module]:
    """Nearest x2, 3x3 convolution, normalization."""
    return [UpsampleConv(in_channels, out_channels, bias=norm == "none"), normalization(norm, out_channels)]


def gated_up_block(in_channels: int, out_channels: int, norm: Norm = "batch") -> nn.Sequential:
    """Nearest x2, 3x3 convolution to twice `out_channels`, normalization, gated linear unit (StackGAN-v2)."""
    return numbered(1, *upsampling(in_channels, 2 * out_channels, norm), GatedLinearUnit())


def up_block(in_channels: int, out_channels: int, activation: bool = True, norm: Norm = "batch") -> nn.Sequential:
    """Nearest x2, 3x3 convolution, normalization, ReLU. Index 0 is the upsampling in the released code."""
    layers = upsampling(in_channels, out_channels, norm)
    return numbered(1, *layers, nn.ReLU(inplace=True)) if activation else numbered(1, *layers)


def conv_norm(
    in_channels: int, out_channels: int, kernel: int, activation: nn.Module | None, stride: int = 1, norm: Norm = "batch"
) -> list[nn.Module]:
    """Convolution, normalization and, unless it is None, the activation. A 4x4 kernel with stride 2 halves the side."""
    conv = DeepConv(in_channels, out_channels, kernel, stride, padding=1 if kernel > 1 else 0, bias=norm == "none")
    layers: list[nn.Module] = [conv, normalization(norm, out_channels)]
    return layers if activation is None else [*layers, activation]


class _Gate(torch.autograd.Function):
    """a * sigmoid(b) of the halves a, b along dimension 1. Saves only its input, and returns the gradient in the layout of the input.

    The gradient of `F.glu` has another layout, which also slows down the previous layer; on a CPU in channels_last this function takes a
    quarter of the time. On a GPU the kernels of PyTorch are the fastest, and the gradient goes into a tensor of the right layout. A
    gradient that will be differentiated again is not written in place.
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
        if torch.is_grad_enabled():  # with create_graph
            value, gate = x.chunk(2, 1)
            opened = gate.sigmoid()
            of_value = gradient * opened
            return torch.cat([of_value, of_value * value * (1 - opened)], 1)
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

    Two 3x3 convolutions as in Stage-II's generator, or, with `bottleneck` hidden channels, a 1x1, a 3x3 and a 3x3 convolution.
    """

    def __init__(self, channels: int, activation: nn.Module, bottleneck: int | None = None, norm: Norm = "batch") -> None:
        super().__init__()
        if bottleneck is None:
            layers = [*conv_norm(channels, channels, 3, activation, norm=norm), *conv_norm(channels, channels, 3, None, norm=norm)]
        else:
            layers = [
                *conv_norm(channels, bottleneck, 1, activation, norm=norm),
                *conv_norm(bottleneck, bottleneck, 3, activation, norm=norm),
                *conv_norm(bottleneck, channels, 3, None, norm=norm),
            ]
        self.block = nn.Sequential(*layers)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(x + self.block(x))


class GatedResidualBlock(nn.Module):
    """x + block(x): two 3x3 convolutions with a gated linear unit between them, nothing after the sum (StackGAN-v2)."""

    def __init__(self, channels: int, norm: Norm = "batch") -> None:
        super().__init__()
        first = conv_norm(channels, 2 * channels, 3, GatedLinearUnit(), norm=norm)
        self.block = nn.Sequential(*first, *conv_norm(channels, channels, 3, None, norm=norm))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x)


class Joint(nn.Sequential):
    """A Sequential whose first layer joins features (B, C, H, W) with a vector (B, V) if one is given."""

    def forward(self, features: Tensor, vector: Tensor | None) -> Tensor:  # type: ignore[override]
        joint, *rest = self
        h = joint(features) if vector is None else joint(features, vector)
        for layer in rest:
            h = layer(h)
        return h


NORMALIZATIONS = nn.BatchNorm1d | nn.BatchNorm2d | nn.GroupNorm


def init_weights(network: nn.Module, truncated: bool = False, linear: bool = True) -> None:
    """The released initialization (the papers do not state one): weights N(0, 0.02), normalization scale N(1, 0.02), biases of fully
    connected layers and normalization 0; biases of convolutions keep PyTorch's default. `truncated` restricts convolution weights to two
    standard deviations, as in StackGAN's TensorFlow code; without `linear` fully connected layers keep PyTorch's default, as in HDGAN."""
    if all(parameter.is_meta for parameter in network.parameters()):
        return  # on the meta device there are no values to set, and sampling them would import a tenth of torch
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            if truncated:
                nn.init.trunc_normal_(module.weight, std=0.02, a=-0.04, b=0.04)
            else:
                nn.init.normal_(module.weight, 0.0, 0.02)
        elif isinstance(module, nn.Linear) and linear:
            nn.init.normal_(module.weight, 0.0, 0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, NORMALIZATIONS):
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)


def init_orthogonal(network: nn.Module) -> None:
    """StackGAN-v2's released initialization: orthogonal weights, normalization scale N(1, 0.02), biases of fully connected layers and
    normalization 0; biases of convolutions keep PyTorch's default."""
    if next(network.parameters()).is_meta:
        return
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.orthogonal_(module.weight)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
        elif isinstance(module, NORMALIZATIONS):
            nn.init.normal_(module.weight, 1.0, 0.02)
            nn.init.zeros_(module.bias)


def normal_like(x: Tensor) -> Tensor:
    """Standard normal noise with the shape, type and layout of `x`.

    On a CPU PyTorch samples non-contiguous tensors one number at a time, so for channels_last images the noise is sampled in contiguous
    order and permuted, which is several times as fast as `randn_like`.
    """
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return torch.randn_like(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return torch.randn_like(x)


def memory_format_of(network: nn.Module) -> torch.memory_format:
    """The memory format of a network, read from its first parameter, which must be a convolution kernel larger than 1x1."""
    return torch.channels_last if next(network.parameters()).is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
