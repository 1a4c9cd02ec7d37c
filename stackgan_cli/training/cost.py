"""The cost of a training step, counted on the meta device: nothing is allocated and nothing is computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from stackgan_cli import registry
from stackgan_cli.config.schema import RunConfig
from stackgan_cli.objectives.base import Batch, Needs, Objective


@dataclass(frozen=True)
class Estimate:
    """`parameters` by network; `flops` of one step on a whole batch, 2 per multiply-add; `memory` in bytes: weights, gradients, Adam
    moments and saved activations."""

    parameters: dict[str, int]
    flops: int
    memory: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class _MetaNoise:
    def normal(self, batch: int, *rest: int) -> Tensor:
        return torch.empty((batch, *rest), device="meta")

    uniform = truncated_normal = normal


def meta_batch(needs: Needs, size: int, text_dim: int) -> Batch:
    """A batch of `size` images on the meta device."""

    def images() -> dict[int, Tensor]:
        return {side: torch.empty(size, 3, side, side, device="meta") for side in needs.images}

    def text() -> Tensor:
        return torch.empty(size, text_dim, device="meta")

    index = torch.empty(size, dtype=torch.int64, device="meta")
    return Batch(
        images=images(),
        text=text() if needs.text else None,
        wrong_images=images() if needs.wrong == "image" else {},
        wrong_text=text() if needs.wrong == "text" else None,
        wrong_order=index if needs.wrong == "batch" else None,
        characters=torch.empty((size, 201), dtype=torch.uint8, device="meta") if needs.characters else None,
        class_ids=index,
        labels=index if needs.labels else None,
        rows=index,
    )


def run_meta_step(objective: Objective[Any], config: RunConfig) -> None:
    """All turns of the first step, forward and backward, as in the training loop (draws are kept: here they take no memory)."""
    size = config.train.batch_size // config.train.accumulate
    batch = meta_batch(objective.needs, size, registry.find(config.model.arch).requirements(config.model).text_dim or 1)
    turns = objective.turns(0, {})
    phases = {phase.name: phase for phase in objective.phases}
    draws: dict[tuple[int, int], Any] = {}

    def only(names: set[str]) -> None:
        for phase in phases.values():
            for param in phase.params:
                param.requires_grad_(phase.name in names)

    for turn in turns:
        key = (turn.batch, turn.draw)
        if key not in draws:
            through = {t.phase for t in turns if (t.batch, t.draw) == key and phases[t.phase].through_draw}
            only(through)
            with torch.set_grad_enabled(bool(through)):
                draws[key] = objective.draw(batch, _MetaNoise())
        only({turn.phase})
        phases[turn.phase].loss(draws[key])["total"].backward()


def estimate(config: RunConfig) -> Estimate:
    """Parameters by network, and FLOPs and memory of a training step."""
    spec = registry.find(config.model.arch)
    with torch.device("meta"):
        networks = spec.build(config.model)
        objective = spec.objective(config.model, networks).stages[0].objective
    saved: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        saved[id(tensor)] = tensor.numel() * tensor.element_size()
        return tensor

    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        run_meta_step(objective, config)
    weights = sum(_bytes(network) for network in networks.values())
    return Estimate(_count(networks), counter.get_total_flops() * config.train.accumulate, 4 * weights + sum(saved.values()))


def _count(networks: Mapping[str, nn.Module]) -> dict[str, int]:
    return {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()}


def _bytes(network: nn.Module) -> int:
    return sum(p.numel() * p.element_size() for p in network.parameters())
