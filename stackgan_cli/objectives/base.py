"""What a training step is, as data: players (`Phase`), their moves (`Turn`), and who plays when (`Objective`, `Stage`).

The loop (training/loop.py) owns batches, precision, backward, gradient averaging, stepping and EMA; an objective owns the
maths. An objective never calls `backward` and never reads a value off the device. On a GPU its kernels may be recorded and replayed:
`draw` and a phase's `loss`, `before_step` and `after_step` must not depend on anything on the host that changes from step to step,
unless `turns` or the stage changes with it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar

from torch import Tensor, nn

from stackgan_cli.data.batch import Batch as Batch
from stackgan_cli.data.batch import Needs as Needs

D = TypeVar("D")
"""What an objective's `draw` returns and its losses read."""


@dataclass(frozen=True)
class Phase(Generic[D]):
    """One player: the parameters that move together, and the loss that moves them.

    `role`: `encoder` stands for every network that is trained without an adversary (text encoder, classifier, similarity).
    `loss`: scalars of a draw; `"total"` is differentiated, the others are logged.
    `before_step`: called after backward and gradient averaging, before the optimizer steps (gradient clipping).
    `after_step`: called, without gradients, after the optimizer has stepped (weight clipping).
    `ema`: the module of which the loop keeps an averaged copy (updated after each step of this phase), or None.
    """

    name: str
    role: Literal["generator", "discriminator", "encoder"]
    modules: tuple[nn.Module, ...]
    loss: Callable[[D], dict[str, Tensor]]
    before_step: Callable[[], None] | None = None
    after_step: Callable[[], None] | None = None
    ema: nn.Module | None = None

    @property
    def params(self) -> list[nn.Parameter]:
        return [p for module in self.modules for p in module.parameters()]

    @property
    def through_draw(self) -> bool:
        """Whether the loss is differentiated through `Objective.draw`; a discriminator's is not: to it generated images are constants."""
        return self.role != "discriminator"


@dataclass(frozen=True)
class Turn:
    """A move of `phase`. Equal `(batch, draw)` share one batch and one generator forward; a new number means fresh ones.

    A draw, and a batch, are dropped after their last turn of a step.
    """

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


class Objective(ABC, Generic[D]):
    """A game between phases. `modules` names everything that has state, frozen networks included."""

    modules: Mapping[str, nn.Module]
    phases: tuple[Phase[D], ...]
    needs: Needs
    batches_per_step: int = 1
    """How many batch numbers the turns of a step have at most. The length of a run in epochs follows from it; the epochs that are logged
    count the batches that were really used."""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The parts of a run, in order; just one unless an objective says otherwise."""
        return (Stage(self, None),)

    def phase(self, name: str) -> Phase[D]:
        return next(phase for phase in self.phases if phase.name == name)

    @abstractmethod
    def turns(self, step: int, memory: Mapping[str, float]) -> tuple[Turn, ...]:
        """The moves of training step `step` (from 0)."""

    @abstractmethod
    def draw(self, batch: Batch, noise: Noise) -> D:
        """The forward passes that the turns of one `(batch, draw)` share. The loop sets grad mode around it."""

    def remember(self, step: int, seen: Mapping[str, Tensor]) -> dict[str, float] | None:
        """Host scalars that the next `turns` needs (the one permitted device sync), or None.

        `seen` holds the step's losses under their names in the log, each the mean over the turns of its phase.
        """
        return None


@dataclass(frozen=True)
class Stage:
    """A part of a run that plays a game of its own, for `steps` steps or (None) to the end of the run.

    The objectives of all stages of a run have the same modules, needs, and phases of the same names that move the same parameters.
    Optimizers are reset, and the memory is cleared, where a stage ends.
    """

    objective: Objective[Any]
    steps: int | None


def objective_at(stages: Sequence[Stage], step: int) -> Objective[Any]:
    """The game that is played at training step `step` (from 0)."""
    for stage in stages:
        if stage.steps is None or step < stage.steps:
            return stage.objective
        step -= stage.steps
    raise AssertionError("the last stage has to have steps=None")
