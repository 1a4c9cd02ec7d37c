"""CUDA graphs of a training step: each part of it (a draw; a turn's loss, gradients and update) is recorded once and from then on
launched with a single call.

A step of these networks consists of 500 to 3,000 kernels that each take about ten microseconds on a modern GPU, and unless batches are
large, launching them one by one takes several times as long as running them. A recording always reads the same tensors: new batches and
noise are copied into them before every launch. Random numbers from torch's global generator follow its seed at the time of the launch,
so a recorded step is identical to a plain one bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from stackgan_cli.objectives.base import Batch, Noise

WARM_UP = 3
"""Plain steps before the first recorded one, in which libraries and optimizers initialize their state."""

MOST_TURNS = 20
"""Steps with more turns are not recorded: recordings keep the batch and the draw of every turn, which a plain step drops after use."""

MOST_GAMES = 8
"""Number of games (objective and sequence of turns) that are recorded in a run. After more changes none is: recording takes as long as
many steps."""


class KeptNoise:
    """Noise in tensors that are reused: it remembers every request, and `renew` fills the same tensors with new noise."""

    def __init__(self, noise: Noise) -> None:
        self.noise: Noise | None = noise
        self.drawn: list[tuple[str, tuple[int, ...], Tensor]] = []
        self._again: Iterator[Tensor] = iter(())

    def _draw(self, kind: str, *shape: int) -> Tensor:
        if self.noise is None:
            return next(self._again)
        values: Tensor = getattr(self.noise, kind)(*shape)
        self.drawn.append((kind, shape, values))
        return values

    def normal(self, batch: int, *rest: int) -> Tensor:
        return self._draw("normal", batch, *rest)

    def uniform(self, batch: int, *rest: int) -> Tensor:
        return self._draw("uniform", batch, *rest)

    def truncated_normal(self, batch: int, *rest: int) -> Tensor:
        return self._draw("truncated_normal", batch, *rest)

    def renew(self, noise: Noise) -> None:
        """Fill all tensors from `noise`. Requests then return these tensors, in the order of the first requests."""
        for kind, shape, values in self.drawn:
            values.copy_(getattr(noise, kind)(*shape))
        self.noise, self._again = None, iter([values for _, _, values in self.drawn])


def _tensors(batch: Batch) -> list[Tensor]:
    held: list[Tensor] = []
    for field in fields(batch):
        value = getattr(batch, field.name)
        held += value.values() if isinstance(value, dict) else [] if value is None else [value]
    return held


class Recording:
    """The kernels that `function` launches, and what it returned: tensors that every launch overwrites."""

    def __init__(self, function: Callable[[], Any], pool: Any) -> None:
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, pool=pool, capture_error_mode="thread_local"):  # another thread prepares batches meanwhile
            self.result = function()

    def launch(self) -> Any:
        self.graph.replay()
        return self.result


class Recorder:
    """Runs the parts of a step, always in the same order: without recording at first, then from recordings, which share their memory.

    That memory, the peak of a step, stays allocated: sampling at a tick needs additional memory.
    """

    def __init__(self) -> None:
        self.game: Hashable = None
        self.games = 0
        self.clear()

    def clear(self) -> None:
        """Drop all recordings, because the tensors that they read or wrote are replaced."""
        self.steps = 0
        self.recordings: dict[Hashable, Recording] = {}
        self.inputs: dict[Hashable, tuple[Batch, KeptNoise]] = {}
        self.pool: Any = None

    def begin(self, game: Hashable) -> None:
        """Start a step of `game` (objective and sequence of turns); if it differs from the previous step, all recordings are dropped."""
        if game != self.game:
            self.clear()
            self.game = game
            self.games += 1
        self.steps += 1

    @property
    def records(self) -> bool:
        """Whether this step runs from recordings."""
        return self.steps > WARM_UP and self.games <= MOST_GAMES

    def draw(self, key: Hashable, function: Callable[[Batch, Noise], Any], batch: Batch, noise: Noise) -> Any:
        """`function(batch, noise)`; in a recorded step `batch` and `noise` are copied into the tensors of the recording."""
        if not self.records:
            kept = KeptNoise(noise)
            self.inputs[key] = batch, kept
            return function(batch, kept)
        own_batch, own_noise = self.inputs[key]
        torch._foreach_copy_(_tensors(own_batch), _tensors(batch))
        own_noise.renew(noise)
        return self.run(key, lambda: function(own_batch, own_noise))

    def run(self, key: Hashable, function: Callable[[], Any]) -> Any:
        """`function()`, whose inputs must be the same tensors in every call."""
        if not self.records:
            return function()
        if key not in self.recordings:
            self.pool = self.pool or torch.cuda.graph_pool_handle()
            self.recordings[key] = Recording(function, self.pool)
        return self.recordings[key].launch()
