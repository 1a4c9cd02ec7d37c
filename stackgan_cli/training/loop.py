"""The training loop of all architectures: a step consists of the turns of an objective (objectives/base.py).

All randomness is keyed by (seed, step, batch, draw), so a run that is killed at any moment continues from its last state and ends with
the same bits. No step waits for the device (unless an objective remembers); each line of the log does, once.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from stackgan_cli.config.schema import TrainConfig
from stackgan_cli.data.feed import Feed
from stackgan_cli.data.prefetch import Prefetcher
from stackgan_cli.errors import Diverged
from stackgan_cli.objectives import base
from stackgan_cli.objectives.base import Batch, Objective, Turn, objective_at
from stackgan_cli.runs import Run
from stackgan_cli.runtime import Noise, Precision, StopFlag, World, reseed
from stackgan_cli.training.cuda_graphs import MOST_TURNS, Recorder
from stackgan_cli.training.meters import Meters
from stackgan_cli.training.optim import Player, decay_at

SETTLING_IMAGES = 256
"""Number of images from which the BatchNorm statistics of averaged weights are computed."""


CURVE_POINTS = 200
"""Least number of lines in the log of a run, if it has as many steps, unless `train.log_steps` is given."""


@dataclass(frozen=True)
class Progress:
    """The progress of a run; `losses` and `images_per_second` are means since the previous line of the log.

    `epoch` is fractional; `seconds_left` is infinite before the first step; `memory_gib` is the peak of GPU memory, 0 on a CPU.
    """

    step: int
    total_steps: int
    epoch: float
    losses: dict[str, float]
    images_per_second: float
    seconds_left: float
    memory_gib: float

    def line(self) -> dict[str, Any]:
        """A line of `log.jsonl`."""
        losses = {name: float(f"{value:.6g}") for name, value in self.losses.items()}
        rate = round(self.images_per_second, 2)
        return {
            "step": self.step,
            "total_steps": self.total_steps,
            "epoch": round(self.epoch, 4),
            "losses": losses,
            "images_per_second": rate,
        }


@dataclass(frozen=True)
class TrainReport:
    """How a call of `train` ended, and how long it took in seconds."""

    step: int
    total_steps: int
    seconds: float
    stopped: str
    """Why training stopped: `finished`, `stop-after` or `signal`."""


class Held:
    """The batches and draws of a step, each kept from its first turn to its last, so that memory holds no more than necessary."""

    def __init__(self, turns: Sequence[Turn]) -> None:
        self.turns = turns
        self.batches: dict[int, Batch] = {}
        self.draws: dict[tuple[int, int], Any] = {}
        self._last_of_batch = {turn.batch: index for index, turn in enumerate(turns)}
        self._last_of_draw = {(turn.batch, turn.draw): index for index, turn in enumerate(turns)}

    def drop(self, index: int) -> None:
        """Drop the batch and the draw of turn `index` if no later turn uses them."""
        turn = self.turns[index]
        if self._last_of_draw[turn.batch, turn.draw] == index:
            self.draws.pop((turn.batch, turn.draw), None)
        if self._last_of_batch[turn.batch] == index:
            self.batches.pop(turn.batch, None)


class Trainer:
    """The networks, optimizers and random numbers of one run, and the training step.

    `world`: this process among several; None: the only one. Moves the modules of `objective` to `device`.
    """

    def __init__(
        self, objective: Objective[Any], feed: Feed, config: TrainConfig, *, device: torch.device, world: World | None = None
    ) -> None:
        self.objective, self.feed, self.config, self.device = objective, feed, config, device
        self.stages = objective.stages
        self.world = world or World()
        self.precision = Precision.pick(config.precision, device)
        for module in objective.modules.values():
            module.to(device)
            if config.channels_last == "on" or (config.channels_last == "auto" and _wants_channels_last(module)):
                module.to(memory_format=torch.channels_last)
            self.world.broadcast([*module.parameters(), *module.buffers()])
            module.train()
        self.players = {phase.name: Player(phase, config) for phase in objective.phases}
        on_gpu = device.type == "cuda"
        # Where steps get their batches; with `accumulate`, which saves memory, none are prepared in advance.
        self.batches: Feed | Prefetcher = Prefetcher(feed) if on_gpu and config.accumulate == 1 else feed
        whole = self.world.size == config.accumulate == 1
        self.recorder = Recorder() if on_gpu and config.cuda_graphs == "auto" and whole else None
        self.meters = Meters()
        self.memory: dict[str, float] = {}
        self.step = self.batches_used = 0

    # -- one step -----------------------------------------------------------------------------------------------------------

    def run_step(self) -> None:
        """One training step: all turns of the objective."""
        objective = self._enter(self.step)
        turns = objective.turns(self.step, self.memory)
        recorder = self.recorder if len(turns) <= MOST_TURNS else None
        if recorder:
            recorder.begin((id(objective), turns))
        remembers = type(objective).remember is not Objective.remember
        moves = Counter(turn.phase for turn in turns)
        seen: dict[str, Any] = {}
        held = Held(turns)
        for index, turn in enumerate(turns):
            player = self.players[turn.phase]
            player.set_rate(player.base_rate * decay_at(self.epoch, self.config.optim))
            for slice_ in range(self.config.accumulate):
                losses = self._take_turn(objective, held, index, slice_, recorder)
                labeled = {turn.phase if name == "total" else f"{turn.phase}/{name}": value for name, value in losses.items()}
                self.meters.add(labeled)
                if remembers:
                    share = self.config.accumulate * moves[turn.phase]
                    seen |= {label: seen.get(label, 0.0) + value.detach() / share for label, value in labeled.items()}
            held.drop(index)
            snaps = self.config.ema_snap_every
            if player.average is not None and snaps is not None and (self.step + 1) % snaps == 0:
                player.average.snap()
        if remembers:
            self.memory.update(objective.remember(self.step, self.world.mean(seen)) or {})
        self.step += 1
        self.batches_used += len({turn.batch for turn in turns})

    def _enter(self, step: int) -> Objective[Any]:
        """The objective of `step`. At the start of a new stage the optimizers are reset and the memory is cleared."""
        objective = objective_at(self.stages, step)
        if step and objective_at(self.stages, step - 1) is not objective:
            self.memory.clear()
            for player in self.players.values():
                player.reset_optimizer()
        return objective

    def _take_turn(self, objective: Objective[Any], held: Held, index: int, slice_: int, recorder: Recorder | None) -> dict[str, Tensor]:
        """Compute the losses and gradients of (a slice of) a turn and, after the last slice, update the parameters. Returns the losses."""
        turn = held.turns[index]
        key = (turn.batch, turn.draw)
        if self.config.accumulate > 1:  # to save memory, one slice at a time
            draw = self._draw(objective, held.turns, turn, self._batch(turn, slice_), slice_, recorder)
        else:
            if turn.batch not in held.batches:
                held.batches[turn.batch] = self._batch(turn, slice_)
            if key not in held.draws:
                held.draws[key] = self._draw(objective, held.turns, turn, held.batches[turn.batch], slice_, recorder)
            draw = held.draws[key]
        reseed(self.config.seed, "loss", self.step, index, self._part(slice_))
        learn = partial(self._learn, objective, turn, draw, slice_ == self.config.accumulate - 1)
        return recorder.run(index, learn) if recorder else learn()

    def _batch(self, turn: Turn, slice_: int) -> Batch:
        return self.batches.batch(self.step, turn.batch, self._part(slice_), self.world.size * self.config.accumulate)

    def _draw(
        self, objective: Objective[Any], turns: Sequence[Turn], turn: Turn, batch: Batch, slice_: int, recorder: Recorder | None
    ) -> Any:
        """The forward passes shared by `turn` and all turns with the same draw."""
        part, parts = self._part(slice_), self.world.size * self.config.accumulate
        noise = Noise(self.config.seed, "noise", self.step, turn.batch, turn.draw, device=self.device, part=part, parts=parts)
        reseed(self.config.seed, "draw", self.step, turn.batch, turn.draw, part)
        learners = [other for other in turns if (other.batch, other.draw) == (turn.batch, turn.draw)]
        through = [other for other in learners if objective.phase(other.phase).through_draw]

        def forward(batch: Batch, noise: base.Noise) -> Any:
            self._only_trainable(through)
            with self.precision(self.device), nullcontext() if through else torch.no_grad():
                return objective.draw(batch, noise)

        key = ("draw", turn.batch, turn.draw)
        return recorder.draw(key, forward, batch, noise) if recorder else forward(batch, noise)

    def _learn(self, objective: Objective[Any], turn: Turn, draw: Any, last: bool) -> dict[str, Tensor]:
        """The losses of a turn on (a slice of) its batch, their gradients and, after the last slice, the update of the parameters."""
        phase, player = objective.phase(turn.phase), self.players[turn.phase]
        self._only_trainable([turn])
        with self.precision(self.device):
            losses = phase.loss(draw)
        (losses["total"] / self.config.accumulate).backward()
        if last:
            self.world.average_gradients(player.params)
            if phase.before_step is not None:
                phase.before_step()
            player.optimizer.step()
            player.optimizer.zero_grad(set_to_none=True)
            if phase.after_step is not None:
                with torch.no_grad():
                    phase.after_step()
            if player.average is not None:
                player.average.update()
        return losses

    def _part(self, slice_: int) -> int:
        return self.world.rank * self.config.accumulate + slice_

    def _only_trainable(self, turns: Sequence[Turn]) -> None:
        """Enable gradients for the parameters of `turns` only, so that no unused gradient is computed."""
        active = {turn.phase for turn in turns}
        for name, player in self.players.items():
            if name not in active:
                for param in player.params:
                    param.requires_grad_(False)
        for name in active:
            for param in self.players[name].params:
                param.requires_grad_(True)

    @property
    def epoch(self) -> float:
        """Number of batches used so far, in epochs."""
        return self.batches_used * self.feed.batch_size / len(self.feed)

    # -- state --------------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything that is needed to continue this run bit for bit."""
        return {
            "step": self.step,
            "batches": self.batches_used,
            "memory": self.memory,
            "modules": {name: module.state_dict() for name, module in self.objective.modules.items()},
            "optimizers": {name: player.optimizer.state_dict() for name, player in self.players.items()},
            "averages": {name: player.average.module.state_dict() for name, player in self.players.items() if player.average},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Continue from `state`, which may come from another kind of device."""
        for name, module in self.objective.modules.items():
            module.load_state_dict(state["modules"][name])
        for name, player in self.players.items():
            player.load_optimizer(state["optimizers"][name])
            if player.average:
                player.average.module.load_state_dict(state["averages"][name])
        self.step, self.memory = state["step"], dict(state["memory"])
        self.batches_used = state.get("batches", self.step)  # states of earlier versions: one batch per step
        if self.recorder:
            self.recorder.clear()

    def sampling_module(self, name: str) -> nn.Module:
        """The module `name` to sample from and to save: its average if one is kept, with up-to-date BatchNorm statistics."""
        module = self.objective.modules[name]
        for player in self.players.values():
            if player.average is not None and player.ema is module:
                if player.settled != self.step:
                    player.average.settle(self._draw_some)
                    player.settled = self.step
                return player.average.module
        return module

    @torch.no_grad()
    def _draw_some(self) -> None:
        """Forward passes on the first batches of the split: always the same, so that the result does not depend on interruptions."""
        objective, parts = objective_at(self.stages, self.step), self.world.size * self.config.accumulate
        for index in range(math.ceil(SETTLING_IMAGES * parts / self.feed.batch_size)):
            batch = self.feed.batch(index, 0, 0, parts)
            noise = Noise(self.config.seed, "settle", index, device=self.device, parts=parts)
            reseed(self.config.seed, "settle", index)
            with self.precision(self.device):
                objective.draw(batch, noise)


def _wants_channels_last(module: nn.Module) -> bool:
    return any(isinstance(child, nn.Conv2d) for child in module.modules())


def total_steps(config: TrainConfig, num_images: int, batch_size: int | None = None, batches_per_step: int = 1) -> int:
    """Number of steps in a whole run on a split of `num_images`."""
    if config.steps is not None:
        return config.steps
    assert config.epochs is not None
    return max(1, math.ceil(config.epochs * num_images / ((batch_size or config.batch_size) * batches_per_step)))


def log_interval(config: TrainConfig, num_steps: int) -> int:
    """Number of steps between two lines of the log, in a run of `num_steps`."""
    return min(config.log_steps or max(1, num_steps // CURVE_POINTS), config.tick_steps)


def train(
    trainer: Trainer,
    run: Run,
    *,
    save_weights: Callable[[Trainer], None],
    on_log: Callable[[Progress], None] = lambda progress: None,
    on_tick: Callable[[Trainer, Progress], None] = lambda trainer, progress: None,
    stop: StopFlag | None = None,
    stop_after: float | None = None,
    save_seconds: float = 60.0,
) -> TrainReport:
    """Train until the end of the schedule, a signal, or `stop_after` seconds; continues from the state of the run if it has one.

    `save_weights(trainer)` writes a weights file. The state is saved at the first tick, at ticks at least `save_seconds` apart, and when
    training stops. The log has a line for every tick and stop; `on_log` is called after each line, `on_tick` at ticks and stops.
    Raises Diverged (exit 7) if a loss in the log is not finite; the last good state is kept. Raises DataError if the state is damaged.
    """
    config, world = trainer.config, trainer.world
    state = run.load_state(trainer.device)
    if state is not None:
        trainer.load(state)
    if world.is_main:
        run.rewind_log(trainer.step)
        if state is not None and "line" in state and all(line["step"] != trainer.step for line in run.log_lines()):
            run.append_log(state["line"])  # killed between the state and its line
    del state
    end = total_steps(config, len(trainer.feed), trainer.feed.batch_size, trainer.objective.batches_per_step)
    log_steps = log_interval(config, end)
    started = line_started = last_save = time.monotonic()
    first = line_first = trainer.step
    line_batches = trainer.batches_used
    stopped = ""

    def report() -> Progress:
        losses = trainer.meters.read()
        bad = [name for name, value in losses.items() if not math.isfinite(value)]
        if bad:
            raise Diverged(
                f"{', '.join(bad)} became infinite or NaN before step {trainer.step}",
                where=run.folder,
                hint="the last good state was kept; try a smaller train.optim.lr, or train.precision=fp32",
            )
        seconds, steps = max(time.monotonic() - line_started, 1e-9), trainer.step - line_first
        rate = (trainer.batches_used - line_batches) * trainer.feed.batch_size / seconds
        left = (end - trainer.step) * seconds / steps if steps else math.inf
        memory = torch.cuda.max_memory_allocated(trainer.device) / 2**30 if trainer.device.type == "cuda" else 0.0
        return Progress(trainer.step, end, trainer.epoch, losses, rate, left, memory)

    while trainer.step < end and not stopped:
        trainer.run_step()
        at_tick = trainer.step % config.tick_steps == 0 or trainer.step == end
        if world.size == 1 or at_tick or trainer.step % 10 == 0:  # several ranks have to agree, which costs communication
            if world.any(stop is not None and stop.signal is not None, trainer.device):
                stopped = "signal"
            elif world.any(stop_after is not None and time.monotonic() - started >= stop_after, trainer.device):
                stopped = "stop-after"
        at_tick = at_tick or bool(stopped)
        if not at_tick and trainer.step % log_steps:
            continue
        progress = report()
        if world.is_main:
            if at_tick:
                last = bool(stopped) or trainer.step == end
                if last or trainer.step // config.tick_steps % config.weights_every == 0:
                    save_weights(trainer)
                if last or trainer.step - first <= config.tick_steps or time.monotonic() - last_save >= save_seconds:
                    run.save_state({**trainer.state(), "line": progress.line()})
                    last_save = time.monotonic()
            run.append_log(progress.line())  # after the state, so that a run whose log says it is finished has been saved
            on_log(progress)
            if at_tick:
                on_tick(trainer, progress)
        line_started, line_first, line_batches = time.monotonic(), trainer.step, trainer.batches_used
    world.barrier()
    return TrainReport(trainer.step, end, time.monotonic() - started, "finished" if trainer.step == end else stopped)
