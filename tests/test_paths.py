"""Paths between captions and between seeds."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from stackgan_cli.sampling import Stop, linear_path, spherical_path, walk


def pair(seed: int, size: int = 100) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(size, generator=generator), torch.randn(size, generator=generator)


@pytest.mark.parametrize("path", [linear_path, spherical_path])
@pytest.mark.parametrize("steps", [2, 3, 9])
def test_ends_are_exact_and_the_path_back_is_the_same(path, steps) -> None:  # type: ignore[no-untyped-def]
    a, b = pair(steps)
    there, back = path(a, b, steps), path(b, a, steps)
    assert there.shape == (steps, 100)
    assert torch.equal(there[0], a) and torch.equal(there[-1], b)
    assert_close(there, back.flip(0), rtol=1e-5, atol=1e-6)


def test_a_line_is_evenly_spaced() -> None:
    a, b = pair(0)
    assert_close(linear_path(a, b, 5).diff(dim=0), ((b - a) / 4).expand(4, -1), rtol=1e-4, atol=1e-5)


def test_an_arc_keeps_its_norm_and_turns_evenly() -> None:
    a, b = pair(1)
    path = spherical_path(a, b, 7).double()
    assert_close(path.norm(dim=1), torch.linspace(float(a.norm()), float(b.norm()), 7, dtype=torch.float64), rtol=1e-5, atol=0)
    directions = path / path.norm(dim=1, keepdim=True)
    angles = torch.arccos((directions[1:] * directions[:-1]).sum(1))
    assert_close(angles, angles.mean().expand(6), rtol=1e-3, atol=0)
    assert linear_path(a, b, 7)[3].norm() < 0.8 * path[3].norm(), "the line cuts the corner"
    quarter = spherical_path(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 4.0]), 3)[1]
    assert_close(quarter, torch.full((2,), 3 / 2**0.5))


@pytest.mark.parametrize("b", [[1.0, 2.0, 3.0], [-1.0, -2.0, -3.0], [2.0, 4.0, 6.0], [0.0, 0.0, 0.0]])
def test_where_there_is_no_arc_a_line_is_taken(b: list[float]) -> None:
    start, end = torch.tensor([1.0, 2.0, 3.0]), torch.tensor(b)
    assert_close(spherical_path(start, end, 5), linear_path(start, end, 5))
    assert torch.equal(spherical_path(start, start, 5), start.expand(5, -1)), "the same noise stays the same to the bit"


def test_a_walk_passes_each_stop_once() -> None:
    stops = [Stop(text, {"z": z}) for text, z in (pair(seed, 6) for seed in range(3))]
    text, noise = walk(stops, 5)
    assert text is not None and text.shape == noise["z"].shape == (9, 6)
    for index, stop in zip((0, 4, 8), stops, strict=True):
        assert stop.text is not None
        assert torch.equal(text[index], stop.text) and torch.equal(noise["z"][index], stop.noise["z"])
    loop, _ = walk(stops, 5, closed=True)
    assert loop is not None and loop.shape == (12, 6)
    assert torch.equal(loop[0], text[0])
    steps = torch.cat([loop, loop[:1]]).diff(dim=0).norm(dim=1)
    assert_close(steps[-4:], steps[-1].expand(4), rtol=1e-4, atol=1e-5)


def test_a_walk_without_text() -> None:
    stops = [Stop(None, {"z": z}) for z in pair(0, 6)]
    text, noise = walk(stops, 4)
    assert text is None and noise["z"].shape == (4, 6)
