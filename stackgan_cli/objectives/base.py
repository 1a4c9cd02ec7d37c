"""What a training step is, as data: players (`Phase`), their moves (`Turn`), and the losses (`Objective`).

The loop (training/loop.py) owns batches, precision, backward, gradient averaging, stepping and EMA; an objective owns the
maths. An objective never calls `backward` and never reads a value off the device. On a GPU its kernels may be recorded and replayed:
`draw`, `loss` and `before_step` must not depend on anything on the host that changes from step to step, unless `turns` or `at` changes
with it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor, nn

from stackgan_cli.data.batch import Batch as Batch
from stackgan_cli.data.batch import Needs as Needs


@dataclass(frozen=True)
class Phase:
    """One player: the parameters that move together.

    `through_draw`: its loss is differentiated through the generator forward (`Objective.draw`), so that forward keeps its graph.
    `ema`: the module of which the loop keeps an averaged copy (ticks after each step of this phase), or None.
    `before_step`: called after backward and gradient averaging, before the optimiser steps (clipping, zeroed biases).
    """

    name: str
    modules: tuple[nn.Module, ...]
    through_draw: bool = False
    ema: nn.Module | None = None
    before_step: Callable[[], None] | None = None

    @property
    def params(self) -> list[nn.Parameter]:
        return [p for module in self.modules for p in module.parameters()]


@dataclass(frozen=True)
class Turn:
    """A move of `phase`. Equal `(batch, draw)` share one batch and one generator forward; a new number means fresh ones."""

    phase: str
    batch: int = 0
    draw: int = 0


class Noise(Protocol):
    """Keyed random numbers on the training device (runtime.Noise)."""

    def normal(self, batch: int, *rest: int) -> Tensor: ...
    def truncated_normal(self, batch: int, *rest: int) -> Tensor:
        """Standard normal restricted to (-2, 2)."""
        ...

    def uniform(self, batch: int, *rest: int) -> Tensor: ...


class Objective(ABC):
    """A game between phases. `modules` names everything that has state, frozen networks included."""

    modules: Mapping[str, nn.Module]
    phases: tuple[Phase, ...]
    needs: Needs

    def at(self, step: int) -> Objective:
        """The game as it is played at training step `step`: this one, or one of the stages of a run, with the same phases.

        Where it changes, optimisers start anew.
        """
        return self

    @abstractmethod
    def turns(self, step: int, memory: Mapping[str, float]) -> tuple[Turn, ...]:
        """The moves of training step `step` (from 0)."""

    @abstractmethod
    def draw(self, batch: Batch, noise: Noise) -> Any:
        """The forward passes that the turns of one `(batch, draw)` share. The loop sets grad mode around it."""

    @abstractmethod
    def loss(self, phase: str, draw: Any) -> dict[str, Tensor]:
        """Scalars: `"total"` is differentiated, the others are logged."""

    def remember(self, step: int, seen: Mapping[str, Tensor]) -> dict[str, float] | None:
        """Host scalars that the next `turns` needs (the one permitted device sync), or None."""
        return None
