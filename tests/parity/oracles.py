"""Parity cases: what the published networks compute for weights and inputs determined by a name and a seed.

The cases are in `cases/` and described in its README; `$STACKGAN_ORACLES` adds those of another folder. No weights are stored:
`state_dict` recreates them from the keys and shapes of a case, and `draw` its inputs.

A case is identified by its path without the suffix. Our networks run in float64, so the result does not depend on the processor, and and
the remaining difference is the float32 rounding of the published run (`assert_published`).
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stackgan_cli.models.interface import Generator
from stackgan_cli.objectives.base import Objective

CASES = Path(__file__).parent / "cases"
ADDED = os.environ.get("STACKGAN_ORACLES")
FOLDERS = [CASES, Path(ADDED)] if ADDED else [CASES]
SHARED = Path(os.environ.get("STACKGAN_SHARED", Path(__file__).resolve().parents[3] / "shared"))
KEYS = SHARED / "reference" / "keys"
"""The state-dict keys of the published networks at full size; tests that need them are skipped without them."""

Numbers = dict[str, dict[str, Tensor]]
"""What is compared: the tensors of each kind (`outputs`, `losses`, `norms`) by published name."""

ROUNDING = {"outputs": 1e-5, "losses": 1e-4, "norms": 1e-3}
"""Relative differences that are always explained by the float32 arithmetic of the published run.

outputs: about 100 units in the last place, after tens of layers. losses: the published code takes the logarithm of a float32 sigmoid,
which is off by 7e-5 at a logit of 9. norms: gradients pass twice as many layers and are sums over all pixels, with cancellation.
"""
NOISE = 1e-4
"""Gradient norms below this are rounding noise of parameters whose effect a following BatchNorm removes."""
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


def cases(arch: str = "") -> list[Any]:
    """Paths, without suffix, of the cases whose `arch` starts with `arch`, as pytest parameters."""
    paths = [path.with_suffix("") for folder in FOLDERS for path in sorted(folder.glob("*.json"))]
    return [pytest.param(path, id=path.name) for path in paths if describe(path)["arch"].startswith(arch)]


def describe(path: Path) -> dict[str, Any]:
    """The JSON of a case: architecture, sizes, keys with shapes, losses, gradient norms."""
    description: dict[str, Any] = json.loads(path.with_suffix(".json").read_text())
    return description


def arrays(path: Path) -> dict[str, Tensor]:
    """The output arrays of a case; logits are flat, whatever shape they were published in."""
    with np.load(path.with_suffix(".npz")) as stored:
        found = {key: torch.from_numpy(stored[key]) for key in stored.files}
    return {key: value.flatten() if key.startswith("eval_D") else value for key, value in found.items()}


def published_numbers(path: Path) -> Numbers:
    """The outputs, losses and gradient norms of a case of a generator and its discriminators."""
    case = describe(path)
    loss_d, parts = case["loss_D"], case["loss_G_parts"]
    losses = {f"D{i}": loss for i, loss in enumerate(loss_d)} if isinstance(loss_d, list) else {"D": loss_d}
    losses |= {"G": case["loss_G"], "adversarial": sum(loss for name, loss in parts.items() if name.startswith("adv"))}
    if "kl" in parts:
        losses["kl"] = parts["kl"]
    if "color_mean" in parts:
        losses["color"] = parts["color_mean"] + parts["color_cov"]
    norms = case["gradnorm_D"] | case["gradnorm_G"]
    scalars = {"losses": losses, "norms": norms}
    return {"outputs": arrays(path)} | {kind: {key: torch.tensor(x) for key, x in found.items()} for kind, found in scalars.items()}


def relative_errors(ours: Mapping[str, Tensor], reference: Mapping[str, Tensor]) -> dict[str, float]:
    """The largest difference of each tensor, relative to the largest magnitude of the reference; 0 where both are below `NOISE`."""
    assert ours.keys() == reference.keys(), sorted(ours.keys() ^ reference.keys())
    errors = {}
    for key, theirs in reference.items():
        assert ours[key].shape == theirs.shape, f"{key}: shape {tuple(ours[key].shape)}, not {tuple(theirs.shape)}"
        size = theirs.abs().max()
        errors[key] = 0.0 if max(size, ours[key].abs().max()) < NOISE else ((ours[key] - theirs).abs().max() / size).item()
    return errors


def assert_published(compute: Callable[[int], Numbers], published: Numbers) -> None:
    """Our numbers in float64, `compute(0)`, agree with the published ones up to the rounding of a float32 run.

    Differences beyond `ROUNDING` are allowed only as far as float32 does not determine the numbers any better: up to twice their change
    in float64 when every weight is changed by a float32 rounding, `compute(1)` and `compute(2)`. With ReLU, where a gradient is
    discontinuous in the weights, norms of a 256-px case change by several percent. Both the largest and the median difference must
    satisfy this, and neither may exceed a hundred times `ROUNDING`.
    """
    exact = compute(0)
    for kind, rounding in ROUNDING.items():
        errors = relative_errors(exact[kind], published[kind])
        if max(errors.values()) <= rounding:
            continue
        movements = [relative_errors(compute(seed)[kind], exact[kind]) for seed in (1, 2)]
        for statistic in (max, median):
            error, moves = statistic(errors.values()), max(statistic(movement.values()) for movement in movements)
            allowed = min(rounding + 2 * moves, 100 * rounding)
            worst = max(errors, key=lambda key: errors[key])
            assert error <= allowed, f"{statistic.__name__} error of {kind} {error:.1e} exceeds {allowed:.1e}, the largest is {worst}"


def assert_same_function(ours: Numbers, reference: Numbers) -> None:
    """All numbers in `ours` agree with those of another float64 run, to 1e-6 because some intermediate results are float32 in both."""
    for kind, found in ours.items():
        errors = relative_errors(found, {key: reference[kind][key] for key in found})
        assert max(errors.values()) <= 1e-6, {key: error for key, error in errors.items() if error > 1e-6}


def in_double_precision(network: nn.Module, seed: int) -> None:
    """Convert a network to float64; unless `seed` is 0, every weight is changed by a float32 rounding."""
    source = torch.Generator().manual_seed(seed)
    for param in network.double().parameters():
        if seed:
            param.data *= 1 + ULP * torch.randn(param.shape, dtype=param.dtype, generator=source)


def losses_and_norms(
    objective: Objective[Any], draw: Any, letters: Mapping[str, str]
) -> tuple[dict[str, dict[str, Tensor]], dict[str, Tensor]]:
    """All turns of a step as in the training loop: only the weights of the phase of a turn have gradients.

    Returns the losses of every phase and the gradient norms; `letters` gives the published letter of every network.
    """
    losses, norms = {}, {}
    for phase in objective.phases:
        moving = {id(param) for param in phase.params}
        for network in objective.modules.values():
            for param in network.parameters():
                param.grad = None
                param.requires_grad_(id(param) in moving)
        parts = phase.loss(draw)
        parts["total"].backward()
        losses[phase.name] = {name: value.detach() for name, value in parts.items()}
        for name, network in objective.modules.items():
            norms |= {f"{letters[name]}.{key}": p.grad.norm() for key, p in network.named_parameters() if p.grad is not None}
    return losses, norms


def strided(images: Tensor) -> Tensor:
    """The pixels of images (B, 3, S, S) that a case stores."""
    step = images.shape[-1] // 32
    return images[..., ::step, ::step]


class CaseNoise:
    """Returns the noise of a case in the order in which generators request it."""

    def __init__(self, case: dict[str, Any], generator: Generator) -> None:
        self.seed, self.names = case["seed"], iter(generator.noise_shapes(1))
        self.dtype = next(generator.parameters()).dtype

    def normal(self, batch: int, *rest: int) -> Tensor:
        return draw(next(self.names), (batch, *rest), self.seed).to(self.dtype)

    truncated_normal = uniform = normal
