"""Numerical oracles: what the published networks compute for weights and inputs that follow from a name and a seed.

The cases are looked for in `$STACKGAN_ORACLES` (default `../shared/oracles` beside the repository); tests skip where there are none. No
weights are stored: `state_dict` draws them again from the keys and shapes of a case, `draw` its inputs.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stackgan_cli.models.interface import Generator

SHARED = Path(os.environ.get("STACKGAN_SHARED", Path(__file__).resolve().parents[3] / "shared"))
FOLDER = Path(os.environ.get("STACKGAN_ORACLES", SHARED / "oracles"))
KEYS = FOLDER.parent / "reference" / "keys"
ULP = 2.0**-22
"""Two units in the last place of a float32: how far apart two correct float32 programs are after one operation."""


def stream(name: str, seed: int) -> np.random.Generator:
    """The random stream that belongs to `name`."""
    return np.random.Generator(np.random.PCG64(zlib.crc32(f"{seed}:{name}".encode())))


def draw(name: str, shape: Sequence[int], seed: int) -> Tensor:
    """An input: standard normal float32, (*shape)."""
    return torch.from_numpy(stream(name, seed).standard_normal(tuple(shape), dtype=np.float32))


def fill(key: str, shape: Sequence[int], seed: int) -> Tensor:
    """One tensor of a state dict; the scale depends on what the key says it is."""
    if key.endswith("running_var"):
        return torch.from_numpy(stream(key, seed).random(tuple(shape), dtype=np.float32) + np.float32(0.5))
    x = draw(key, shape, seed).numpy()
    if key.endswith(("running_mean", "bias")):
        return torch.from_numpy(x * np.float32(0.1))
    if len(shape) == 1:
        return torch.from_numpy(np.float32(1) + x * np.float32(0.1))
    return torch.from_numpy(x * np.float32(1 / np.sqrt(np.prod(shape[1:]))))


def state_dict(shapes: Mapping[str, Sequence[int]], seed: int) -> dict[str, Tensor]:
    """The weights of a network of a case, e.g. `state_dict(case["G"], case["seed"])`."""
    return {key: fill(key, shape, seed) for key, shape in shapes.items()}


def cases(prefix: str = "", arch: str = "") -> list[Any]:
    """Names of the cases whose file name starts with `prefix` and whose `arch` starts with `arch`, as pytest parameters.

    Without any, one parameter that is skipped, saying where they were looked for.
    """
    names = [path.stem for path in sorted(FOLDER.glob(f"{prefix}*.json")) if describe(path.stem)["arch"].startswith(arch)]
    if names:
        return names
    return [pytest.param("none", marks=pytest.mark.skip(reason=f"no oracle {prefix or arch!r} in {FOLDER} (set STACKGAN_ORACLES)"))]


def describe(name: str) -> dict[str, Any]:
    """The JSON of a case: architecture, sizes, keys with shapes, losses, gradient norms."""
    description: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return description


def load(name: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A case: its description and its output arrays as tensors."""
    with np.load(FOLDER / f"{name}.npz") as arrays:
        return describe(name), {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def assert_close(ours: Tensor, published: Tensor, tolerance: float = 1e-4, what: str = "output") -> None:
    """The largest difference is at most `tolerance` times the largest published magnitude."""
    assert ours.shape == published.shape, f"{what}: shape {tuple(ours.shape)}, published {tuple(published.shape)}"
    error = ((ours - published).abs().max() / published.abs().max()).item()
    assert error <= tolerance, f"{what}: relative error {error:.2e} exceeds {tolerance:.0e}"


def assert_defined_norms(ours: Mapping[str, float], published: Mapping[str, float], movement: Callable[[], float]) -> None:
    """Gradient norms agree to 1e-3, and below 1e-4 absolutely.

    Behind rectifiers a gradient is discontinuous in the weights, and a norm of a 256-px case is not defined to 1e-3: in float64 it
    moves by several times that when every weight is changed by a float32 rounding. Where that is so, norms have to agree to twice
    the largest `movement()`, which is computed when it is needed.
    """
    assert ours.keys() == published.keys(), sorted(ours.keys() ^ published.keys())
    off = {key for key, norm in published.items() if abs(ours[key] - norm) > 1e-3 * norm and max(ours[key], norm) > 1e-4}
    for key in off:
        error, moves = abs(ours[key] - published[key]) / published[key], movement()
        assert error <= 2 * moves <= 0.05, f"{key}: {ours[key]:.6g}, published {published[key]:.6g}, norms move by {moves:.1e}"


def strided(images: Tensor) -> Tensor:
    """The pixels of images (B, 3, S, S) that a case stores."""
    step = images.shape[-1] // 32
    return images[..., ::step, ::step]


class CaseNoise:
    """Hands out the noise of a case in the order in which generators ask for it."""

    def __init__(self, case: dict[str, Any], generator: Generator) -> None:
        self.seed, self.names = case["seed"], iter(generator.noise_shapes(1))
        self.dtype = next(generator.parameters()).dtype

    def normal(self, batch: int, *rest: int) -> Tensor:
        return draw(next(self.names), (batch, *rest), self.seed).to(self.dtype)

    truncated_normal = uniform = normal
