"""Conditioning augmentation in its variants, published names, normalization, initialization, noise in the layout of images."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from stackgan_cli.models import blocks
from stackgan_cli.models.blocks import (
    ConditioningAugmentation,
    GatedResidualBlock,
    Norm,
    ResidualBlock,
    conv_norm,
    gated_up_block,
    normal_like,
    up_block,
)


def test_conditioning_augmentation_variants() -> None:
    torch.manual_seed(0)
    text, eps = torch.randn(50, 6), torch.randn(50, 4)
    for variant, activation in (("paper", nn.Identity()), ("pytorch", nn.ReLU()), ("tensorflow", nn.LeakyReLU(0.2))):
        ca = ConditioningAugmentation(6, 4, variant)
        c, mu, logvar = ca(text, eps)
        assert logvar is not None
        first, second = activation(ca.fc(text)).chunk(2, 1)
        torch.testing.assert_close(mu, first)
        sigma = second.exp() if variant == "tensorflow" else (second / 2).exp()
        torch.testing.assert_close(logvar, 2 * sigma.log(), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(c, first + sigma * eps)
        torch.testing.assert_close(ca(text, None)[0], first)
    without = ConditioningAugmentation(6, 4, "paper", sampled=False)
    c, mu, logvar = without(text, eps)
    assert logvar is None and c is mu and c.shape == (50, 4)


def test_published_names() -> None:
    assert set(up_block(4, 2).state_dict()) == {
        "1.weight",
        *(f"2.{n}" for n in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")),
    }
    assert {key for key in ResidualBlock(4, nn.ReLU()).state_dict() if key.endswith(("0.weight", "3.weight"))} == {
        "block.0.weight",
        "block.3.weight",
    }


NORMS: tuple[Norm, ...] = ("batch", "instance", "none")
BLOCKS: dict[str, tuple[Callable[[Norm], nn.Module], tuple[int, ...], list[str]]] = {
    "conv_norm": (lambda norm: nn.Sequential(*conv_norm(4, 6, 4, nn.ReLU(), stride=2, norm=norm)), (6, 4, 4), ["0"]),
    "up_block": (lambda norm: up_block(4, 2, norm=norm), (2, 16, 16), ["1"]),
    "bare up_block": (lambda norm: up_block(4, 2, activation=False, norm=norm), (2, 16, 16), ["1"]),
    "gated_up_block": (lambda norm: gated_up_block(4, 2, norm), (2, 16, 16), ["1"]),
    "residual": (lambda norm: ResidualBlock(4, nn.ReLU(), norm=norm), (4, 8, 8), ["block.0", "block.3"]),
    "bottleneck": (lambda norm: ResidualBlock(4, nn.ReLU(), 2, norm), (4, 8, 8), ["block.0", "block.3", "block.6"]),
    "gated residual": (lambda norm: GatedResidualBlock(4, norm), (4, 8, 8), ["block.0", "block.3"]),
}
"""How to build each block on 4 channels, the shape it makes of 8 x 8 pixels, and the names of its convolutions."""


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", BLOCKS)
def test_normalization_is_a_choice(name: str, norm: Norm, layout: torch.memory_format) -> None:
    build, shape, convolutions = BLOCKS[name]
    torch.manual_seed(0)
    block = build(norm).to(memory_format=layout)  # type: ignore[call-overload]
    names = set()
    for convolution in convolutions:
        head, _, index = convolution.rpartition(".")
        after = f"{head}.{int(index) + 1}".lstrip(".")
        names |= {f"{convolution}.weight"} | ({f"{convolution}.bias"} if norm == "none" else {f"{after}.weight", f"{after}.bias"})
        names |= {f"{after}.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")} if norm == "batch" else set()
    assert set(block.state_dict()) == names

    x = (3 * torch.randn(5, 4, 8, 8) + 1).contiguous(memory_format=layout)
    made, alone = block(x), block(x[:1])
    assert made.shape == (5, *shape) and made.is_contiguous(memory_format=layout)
    assert torch.allclose(made[:1], alone, atol=1e-5) == (norm != "batch")


def test_what_is_normalized() -> None:
    torch.manual_seed(0)
    x = 3 * torch.randn(4, 5, 6, 7) + 1
    for norm, dims in (("batch", (0, 2, 3)), ("instance", (2, 3))):
        expected = (x - x.mean(dims, keepdim=True)) / (x.var(dims, correction=0, keepdim=True) + 1e-5).sqrt()
        torch.testing.assert_close(blocks.normalization(norm, 5)(x), expected)  # type: ignore[arg-type]
    assert blocks.normalization("none", 5)(x) is x


@pytest.mark.parametrize("initialize", [blocks.init_weights, blocks.init_orthogonal])
@pytest.mark.parametrize("norm", NORMS)
def test_every_normalization_is_initialized(norm: Norm, initialize: Callable[[nn.Module], None]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(*conv_norm(2, 4096, 1, None, norm=norm))
    before = network[0].weight.clone()
    initialize(network)
    assert not torch.equal(network[0].weight, before)
    if norm != "none":
        scale, bias = network[1].weight.detach(), network[1].bias
        assert scale.mean().item() == pytest.approx(1.0, abs=2e-3) and scale.std().item() == pytest.approx(0.02, rel=0.05)
        assert not bias.any()


def test_initialization() -> None:
    torch.manual_seed(0)
    for truncated in (False, True):
        network = nn.Sequential(nn.Conv2d(64, 64, 3, bias=False), nn.BatchNorm2d(4096), nn.Linear(256, 64))
        blocks.init_weights(network, truncated)
        conv, norm, linear = (layer.weight.detach() for layer in network)  # type: ignore[union-attr,operator]
        # A normal distribution cut off at two standard deviations has 0.880 of its spread.
        assert conv.std().item() == pytest.approx(0.02 * (0.880 if truncated else 1.0), rel=0.02)
        assert (conv.abs().max().item() <= 0.04) == truncated
        assert norm.mean().item() == pytest.approx(1.0, abs=2e-3) and norm.std().item() == pytest.approx(0.02, rel=0.05)
        assert linear.std().item() == pytest.approx(0.02, rel=0.05)
        assert not network[1].bias.any() and not network[2].bias.any()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_noise_has_the_layout_and_type_of_what_it_is_added_to(layout: torch.memory_format, dtype: torch.dtype) -> None:
    x = torch.zeros(8, 3, 16, 20, dtype=dtype).contiguous(memory_format=layout)
    noise = normal_like(x)
    assert noise.shape == x.shape and noise.stride() == x.stride() and noise.dtype == dtype
    assert noise.float().mean().item() == pytest.approx(0, abs=0.05) and noise.float().std().item() == pytest.approx(1, abs=0.05)
    assert normal_like(torch.zeros(5, 7)).shape == (5, 7)
