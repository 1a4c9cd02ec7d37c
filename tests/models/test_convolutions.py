"""The short forms of the up-sampling, joint and deep convolutions equal the plain ones, in values and gradients."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stackgan_cli.models import convolutions
from stackgan_cli.models.convolutions import (
    Arithmetic,
    DeepConv,
    JointConv,
    UpsampleConv,
    arithmetic,
    folded_product_pays,
    folding_pays,
    matrix_product_pays,
)


def values_and_gradients(compute: Callable[..., Tensor], weight: Tensor, *inputs: Tensor) -> list[Tensor]:
    leaves = [value.detach().clone().requires_grad_() for value in inputs]
    out = compute(*leaves)
    weights = torch.sin(torch.arange(out.numel(), dtype=out.dtype)).view(out.shape)
    return [out, *torch.autograd.grad((out * weights).sum(), [*leaves, weight])]


def assert_same(ours: list[Tensor], plain: list[Tensor]) -> None:
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(
    ("batch", "inputs", "outputs", "height", "width"),
    [(2, 5, 3, 4, 4), (1, 1, 1, 1, 1), (3, 2, 6, 1, 5), (1, 3, 3, 7, 2), (1, 2, 3, 36, 31)],
)
def test_upsample_conv(batch: int, inputs: int, outputs: int, height: int, width: int, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    conv = UpsampleConv(inputs, outputs).double().to(memory_format=layout)  # type: ignore[call-overload]
    x = torch.randn(batch, inputs, height, width, dtype=torch.float64).contiguous(memory_format=layout)

    def published(x: Tensor) -> Tensor:
        return F.conv2d(F.interpolate(x, scale_factor=2, mode="nearest"), conv.weight, padding=1)

    expected = values_and_gradients(published, conv.weight, x)
    for mode in ("fast", "plain", "auto"):
        with arithmetic(mode):  # type: ignore[arg-type]
            ours = values_and_gradients(conv, conv.weight, x)
            assert_same(ours, expected)
            assert ours[0].is_contiguous(memory_format=layout)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("vector_first", [False, True])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(4, 4), (1, 1), (2, 2), (3, 1), (5, 8)])
def test_joint_conv(height: int, width: int, kernel: int, vector_first: bool, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    conv = JointConv(5, 3, 6, kernel, vector_first).double().to(memory_format=layout)  # type: ignore[call-overload]
    features = torch.randn(2, 5, height, width, dtype=torch.float64).contiguous(memory_format=layout)
    vector = torch.randn(2, 3, dtype=torch.float64)

    def published(features: Tensor, vector: Tensor) -> Tensor:
        tiled = vector[:, :, None, None].expand(-1, -1, height, width)
        return F.conv2d(torch.cat([tiled, features] if vector_first else [features, tiled], 1), conv.weight, padding=kernel // 2)

    expected = values_and_gradients(published, conv.weight, features, vector)
    for mode in ("fast", "plain"):
        with arithmetic(mode):  # type: ignore[arg-type]
            assert_same(values_and_gradients(conv, conv.weight, features, vector), expected)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(4, 2, 1), (3, 1, 1), (1, 1, 0)])
@pytest.mark.parametrize(("height", "width"), [(4, 4), (2, 6), (8, 2)])
def test_deep_conv(height: int, width: int, kernel: int, stride: int, padding: int, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    conv = DeepConv(5, 6, kernel, stride, padding, bias=False).double().to(memory_format=layout)  # type: ignore[call-overload]
    x = torch.randn(3, 5, height, width, dtype=torch.float64).contiguous(memory_format=layout)

    def published(x: Tensor) -> Tensor:
        return F.conv2d(x, conv.weight, stride=stride, padding=padding)

    expected = values_and_gradients(published, conv.weight, x)
    for mode in ("fast", "plain", "auto"):
        with arithmetic(mode):  # type: ignore[arg-type]
            ours = values_and_gradients(conv, conv.weight, x)
            assert_same(ours, expected)
            assert ours[0].is_contiguous(memory_format=layout)


@pytest.mark.parametrize("mode", ["fast", "plain", "auto"])
@pytest.mark.parametrize("side", [4, 36])
def test_a_bias_is_added_once_to_every_channel(side: int, mode: Arithmetic) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 3, side, side, dtype=torch.float64)
    convs = [UpsampleConv(3, 5, padding, bias=True).double() for padding in ("zeros", "reflect")]  # type: ignore[arg-type]
    for conv in (*convs, DeepConv(3, 5, 4, 2, 1).double()):
        with arithmetic(mode):
            found = conv(x)
            conv.bias, bias = None, conv.bias
            torch.testing.assert_close(found, conv(x) + bias[:, None, None], rtol=1e-12, atol=1e-12)


def test_arithmetic_is_restored_after_an_error() -> None:
    with pytest.raises(ValueError, match="inside"), arithmetic("plain"):
        raise ValueError("inside")
    assert convolutions._arithmetic == "auto"


def test_folding_is_chosen_by_the_number_of_pixels() -> None:
    assert not folding_pays(torch.empty(16, 8, 4, 4))
    assert folding_pays(torch.empty(64, 8, 4, 4))
    assert folding_pays(torch.empty(4, 8, 16, 16))
    assert folded_product_pays(torch.empty(64, 8, 4, 4))
    assert not folded_product_pays(torch.empty(65, 8, 4, 4))
    assert not folded_product_pays(torch.empty(1, 8, 4, 4, device="meta"))


def test_matrix_product_is_chosen_for_few_pixels_and_many_weights() -> None:
    with torch.device("meta"):
        deep, shallow = DeepConv(1024, 2048, 4, 2, 1, bias=False), DeepConv(64, 128, 4, 2, 1, bias=False)
        assert not matrix_product_pays(torch.empty(4, 1024, 8, 8), deep)
    assert matrix_product_pays(torch.empty(4, 1024, 8, 8), deep)
    assert not matrix_product_pays(torch.empty(64, 1024, 8, 8), deep)
    assert not matrix_product_pays(torch.empty(4, 64, 8, 8), shallow)


@pytest.mark.parametrize(("mode", "inner"), [("reflect", 1), ("replicate", 0)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_borders_that_repeat_are_those_of_padding(mode: str, inner: int, layout: torch.memory_format) -> None:
    x = torch.randn(2, 3, 4, 5).to(memory_format=layout).requires_grad_()
    padded, ours = F.pad(x, (1, 1, 1, 1), mode=mode), convolutions._Border.apply(x, inner)
    assert torch.equal(padded, ours) and ours.is_contiguous(memory_format=layout)
    weight = torch.randn_like(padded)
    (expected,), (found,) = (torch.autograd.grad((out * weight).sum(), x) for out in (padded, ours))
    assert torch.allclose(expected, found, atol=1e-6) and found.is_contiguous(memory_format=layout)
