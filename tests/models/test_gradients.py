"""Hand-written gradients are correct and can be differentiated again, as gradient penalties require."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

import stackgan_cli.models
from stackgan_cli.models.blocks import _Gate
from stackgan_cli.models.convolutions import _Border

LAYOUTS = [torch.contiguous_format, torch.channels_last]
CASES: dict[str, tuple[type[torch.autograd.Function], Callable[[Tensor], Tensor]]] = {
    "gate": (_Gate, _Gate.apply),
    "reflected border": (_Border, lambda x: _Border.apply(x, 1)),
    "replicated border": (_Border, lambda x: _Border.apply(x, 0)),
}


def subclasses(of: type) -> Iterator[type]:
    for found in of.__subclasses__():
        yield found
        yield from subclasses(found)


def test_every_custom_gradient_is_a_case() -> None:
    for module in pkgutil.iter_modules(stackgan_cli.models.__path__):
        importlib.import_module(f"stackgan_cli.models.{module.name}")
    custom = {found for found in subclasses(torch.autograd.Function) if found.__module__.startswith("stackgan_cli.")}
    assert custom == {function for function, _ in CASES.values()}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("case", CASES)
def test_custom_gradients_are_right_and_twice_differentiable(case: str, layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    compute = CASES[case][1]
    x = torch.randn(2, 4, 3, 4, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    assert torch.autograd.gradcheck(compute, x)
    assert torch.autograd.gradgradcheck(compute, x)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("case", CASES)
def test_the_first_gradient_does_not_depend_on_whether_there_is_a_second(
    case: str, dtype: torch.dtype, layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 6, 5, 4, dtype=dtype).contiguous(memory_format=layout).requires_grad_()
    out = CASES[case][1](x)
    weights = torch.randn_like(out, requires_grad=True)
    once, twice = (torch.autograd.grad(out, x, weights, retain_graph=True, create_graph=again)[0] for again in (False, True))
    assert torch.equal(once, twice)
    assert once.stride() == twice.stride() == x.stride()
    assert twice.requires_grad and not once.requires_grad


def test_gate_of_vectors() -> None:
    x = torch.randn(3, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(_Gate.apply, x)
