"""A training step as data: sets of parameters with a loss (`Phase`), updates (`Turn`), and their order (`Objective`, `Stage`).

The loop (training/loop.py) is responsible for batches, precision, backward, gradient averaging, optimizer steps and EMA; an objective for
the math. An objective never calls `backward` and never copies a value from the device to the host, except in `remember`. On a GPU its
kernels may be recorded and replayed: `draw` and a phase's `loss`, `before_step` and `after_step` must not depend on anything on the host
that changes from step to step, unless `turns` or the stage changes with it.

Terms: a draw is the result of one generator forward pass (or of the forward pass of an encoder) on a batch, with its noise; a game is an
objective together with the sequence of its turns.
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
"""The type that an objective's `draw` returns and that its losses take."""


@dataclass(frozen=True)
class Phase(Generic[D]):
    """The parameters that one optimizer updates, and the loss they are trained with.

    `name`: the name of the loss in the log, unique within the objective.
    `role`: `encoder` stands for every network that is trained without an adversary (text encoder, classifier, similarity).
    `modules`: the modules whose parameters are trained.
    `loss`: from a draw to named scalar tensors; `"total"` is differentiated, the others are logged only.
    `before_step`: called after backward and gradient averaging, before the optimizer step (gradient clipping).
    `after_step`: called without gradients after the optimizer step (weight clipping).
    `ema`: the module whose average the loop keeps (updated after each step of this phase), or None.
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
        """All parameters of `modules`, in order."""
        return [p for module in self.modules for p in module.parameters()]

    @property
    def through_draw(self) -> bool:
        """Whether the loss is differentiated through `Objective.draw`. False for discriminators: to them generated images are constants."""
        return self.role != "discriminator"


@dataclass(frozen=True)
class Turn:
    """One update of `phase`. Turns with equal `(batch, draw)` share a batch and a draw; a new number means a new batch or draw.

    Batches and draws are dropped after the last turn of the step that uses them.
    """

    phase: str
    batch: int = 0
    draw: int = 0


class Noise(Protocol):
    """Keyed random numbers (runtime.Noise): float32 tensors (batch, *rest) on the training device."""

    def normal(self, batch: int, *rest: int) -> Tensor:
        """Standard normal."""
        ...

    def truncated_normal(self, batch: int, *rest: int) -> Tensor:
        """Standard normal restricted to (-2, 2)."""
        ...

    def uniform(self, batch: int, *rest: int) -> Tensor:
        """Uniform in [0, 1)."""
        ...


class Objective(ABC, Generic[D]):
    """What is trained, and how.

    `modules`: everything that has state, by name, frozen networks included. `phases`: the parameters and losses. `needs`: the contents of
    a batch (data/batch.py).
    """

    modules: Mapping[str, nn.Module]
    phases: tuple[Phase[D], ...]
    needs: Needs
    batches_per_step: int = 1
    """Maximum number of batches that the turns of a step use. The length of a run in epochs is computed from it; the epochs in the log
    count the batches that were actually used."""

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages of a run, in order; only one unless a subclass overrides this."""
        return (Stage(self, None),)

    def phase(self, name: str) -> Phase[D]:
        """The phase called `name`, which must exist."""
        return next(phase for phase in self.phases if phase.name == name)

    @abstractmethod
    def turns(self, step: int, memory: Mapping[str, float]) -> tuple[Turn, ...]:
        """The turns of training step `step` (from 0). `memory`: what `remember` has returned so far in this stage."""

    @abstractmethod
    def draw(self, batch: Batch, noise: Noise) -> D:
        """The forward passes shared by all turns with the same `(batch, draw)`. The loop enables or disables gradients around the call.

        Images are (B, 3, S, S) in [-1, 1]. Raises ConfigError if the batch is too small for the objective.
        """

    def remember(self, step: int, seen: Mapping[str, Tensor]) -> dict[str, float] | None:
        """Scalars on the host that later calls of `turns` need (the only permitted device sync), or None.

        `seen` has the losses of the step by their names in the log, each averaged over the turns of its phase.
        """
        return None


@dataclass(frozen=True)
class Stage:
    """A part of a run that trains with its own objective, for `steps` steps or (None) to the end of the run.

    The objectives of all stages of a run have the same modules and needs, and phases with the same names and the same parameters.
    At the end of a stage the optimizers are reset and the memory is cleared.
    """

    objective: Objective[Any]
    steps: int | None


def objective_at(stages: Sequence[Stage], step: int) -> Objective[Any]:
    """The objective of training step `step` (from 0)."""
    for stage in stages:
        if stage.steps is None or step < stage.steps:
            return stage.objective
        step -= stage.steps
    raise AssertionError("the last stage must have steps=None")
