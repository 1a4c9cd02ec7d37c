"""The one training loop. It names no architecture: a step is the turns of an objective (objectives/base.py).

Everything random is keyed by (seed, step, batch, draw), so a run that is killed at any moment continues from its last state to the
same bits. Nothing inside a step reads a value off the device; a tick does, once.
"""

from __future__ import annotations

import math
import time
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
from stackgan_cli.objectives.base import Batch, Objective, Phase, Turn
from stackgan_cli.runs import Run
from stackgan_cli.runtime import Noise, Precision, StopFlag, World, reseed
from stackgan_cli.training.cuda_graphs import Recorder
from stackgan_cli.training.meters import Meters
from stackgan_cli.training.optim import MovingAverage, base_rate, decay_at, make_optimizer

SETTLING_IMAGES = 256
"""Images of which the BatchNorm statistics of averaged weights are taken."""


@dataclass(frozen=True)
class Tick:
    """What is known every `train.tick_steps` steps."""

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
    step: int
    total_steps: int
    seconds: float
    stopped: str
    """`finished`, `stop-after` or `signal`."""


class Player:
    """A phase with its optimiser and, perhaps, the average of its generator."""

    def __init__(self, phase: Phase, config: TrainConfig) -> None:
        self.phase, self.config = phase, config.optim
        self.params = phase.params
        self.base_rate = base_rate(phase, config.optim)
        self.start_anew()
        self.average = MovingAverage(phase.ema, config.ema) if phase.ema is not None and config.ema > 0 else None
        self.settled = -1  # the step of its average's BatchNorm statistics

    def start_anew(self) -> None:
        """A new optimiser."""
        self.rate = self.base_rate
        self.optimizer = make_optimizer(self.params, self.config, self.rate)

    def set_rate(self, rate: float) -> None:
        """Set the learning rate."""
        if rate != self.rate:
            self.rate = rate
            for group in self.optimizer.param_groups:
                group["lr"] = group["lr"].fill_(rate) if isinstance(group["lr"], Tensor) else rate

    def load_optimizer(self, state: Mapping[str, Any]) -> None:
        """Continue with the moments of `state`, which may come from another kind of device."""
        own = [{key: group[key] for key in ("lr", "capturable")} for group in self.optimizer.param_groups]
        groups = [saved | mine for saved, mine in zip(state["param_groups"], own, strict=True)]
        self.optimizer.load_state_dict({**state, "param_groups": groups})


class Trainer:
    """Networks, players and randomness of one run: everything between two ticks."""

    def __init__(self, objective: Objective, feed: Feed, config: TrainConfig, *, device: torch.device, world: World | None = None) -> None:
        self.objective, self.feed, self.config, self.device = objective, feed, config, device
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
        # What steps take their batches from; with `accumulate`, which is there to save memory, none are made ahead.
        self.batches: Feed | Prefetcher = Prefetcher(feed) if on_gpu and config.accumulate == 1 else feed
        whole = self.world.size == config.accumulate == 1
        self.recorder = Recorder() if on_gpu and config.cuda_graphs == "auto" and whole else None
        self.meters = Meters()
        self.memory: dict[str, float] = {}
        self.step = 0

    # -- one step -----------------------------------------------------------------------------------------------------------

    def run_step(self) -> None:
        """One optimisation step: all turns of the objective."""
        objective = self._enter(self.step)
        step, turns, parts = self.step, objective.turns(self.step, self.memory), self.config.accumulate
        if self.recorder:
            self.recorder.begin((id(objective), turns))
        remembers = type(objective).remember is not Objective.remember
        drawn: dict[tuple[int, int], Any] = {}
        seen: dict[str, Any] = {}
        for index, turn in enumerate(turns):
            player, key = self.players[turn.phase], (turn.batch, turn.draw)
            player.set_rate(player.base_rate * decay_at(self.epoch, self.config.optim))
            for slice_ in range(parts):
                draw = drawn.get(key)
                if draw is None:
                    draw = self._draw(objective, turns, turn, slice_)
                    if parts == 1:
                        drawn[key] = draw
                reseed(self.config.seed, "loss", step, index, self._part(slice_))
                learn = partial(self._learn, objective, turn, draw, slice_ == parts - 1)
                losses = self.recorder.run(index, learn) if self.recorder else learn()
                labelled = {turn.phase if name == "total" else f"{turn.phase}/{name}": value for name, value in losses.items()}
                self.meters.add(labelled)
                if remembers:
                    seen |= {label: seen.get(label, 0.0) + value.detach() / parts for label, value in labelled.items()}
            if player.average is not None and self.config.ema_snap_every is not None and (step + 1) % self.config.ema_snap_every == 0:
                player.average.snap()
        if remembers:
            self.memory.update(objective.remember(step, self.world.mean(seen)) or {})
        self.step += 1

    def _enter(self, step: int) -> Objective:
        """The game of `step`. A new stage of a run starts with new optimisers and without memory."""
        objective = self.objective.at(step)
        if step and self.objective.at(step - 1) is not objective:
            self.memory.clear()
            for player in self.players.values():
                player.start_anew()
        return objective

    def _draw(self, objective: Objective, turns: Sequence[Turn], turn: Turn, slice_: int) -> Any:
        """The forward passes that `turn` and those that share its draw build on."""
        part, parts = self._part(slice_), self.world.size * self.config.accumulate
        batch = self.batches.batch(self.step, turn.batch, part, parts)
        noise = Noise(self.config.seed, "noise", self.step, turn.batch, turn.draw, device=self.device, part=part, parts=parts)
        reseed(self.config.seed, "draw", self.step, turn.batch, turn.draw, part)
        learners = [other for other in turns if (other.batch, other.draw) == (turn.batch, turn.draw)]
        through = [other for other in learners if self.players[other.phase].phase.through_draw]

        def forward(batch: Batch, noise: base.Noise) -> Any:
            self._only_trainable(through)
            with self.precision(self.device), nullcontext() if through else torch.no_grad():
                return objective.draw(batch, noise)

        key = ("draw", turn.batch, turn.draw)
        return self.recorder.draw(key, forward, batch, noise) if self.recorder else forward(batch, noise)

    def _learn(self, objective: Objective, turn: Turn, draw: Any, last: bool) -> dict[str, Tensor]:
        """The loss of a turn on (a slice of) its batch, its gradients and, after the last slice, the step of its player."""
        player = self.players[turn.phase]
        self._only_trainable([turn])
        with self.precision(self.device):
            losses = objective.loss(turn.phase, draw)
        (losses["total"] / self.config.accumulate).backward()
        if last:
            self.world.average_gradients(player.params)
            if player.phase.before_step is not None:
                player.phase.before_step()
            player.optimizer.step()
            player.optimizer.zero_grad(set_to_none=True)
            if player.average is not None:
                player.average.update()
        return losses

    def _part(self, slice_: int) -> int:
        return self.world.rank * self.config.accumulate + slice_

    def _only_trainable(self, turns: Sequence[Turn]) -> None:
        """Let only the phases of `turns` have gradients, so that no gradient of a weight is computed to be thrown away."""
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
        return self.step * self.feed.batch_size / len(self.feed)

    # -- state --------------------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything that continues this training bit for bit."""
        return {
            "step": self.step,
            "memory": self.memory,
            "modules": {name: module.state_dict() for name, module in self.objective.modules.items()},
            "optimizers": {name: player.optimizer.state_dict() for name, player in self.players.items()},
            "averages": {name: player.average.module.state_dict() for name, player in self.players.items() if player.average},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        for name, module in self.objective.modules.items():
            module.load_state_dict(state["modules"][name])
        for name, player in self.players.items():
            player.load_optimizer(state["optimizers"][name])
            if player.average:
                player.average.module.load_state_dict(state["averages"][name])
        self.step, self.memory = state["step"], dict(state["memory"])
        if self.recorder:
            self.recorder.clear()

    def sampling_module(self, name: str) -> nn.Module:
        """The module to sample from and to save: its average where one is kept, with BatchNorm statistics of its own."""
        module = self.objective.modules[name]
        for player in self.players.values():
            if player.average is not None and player.phase.ema is module:
                if player.settled != self.step:
                    player.average.settle(self._draw_some)
                    player.settled = self.step
                return player.average.module
        return module

    @torch.no_grad()
    def _draw_some(self) -> None:
        """Draw from the first batches of the set: always the same ones, so that nothing depends on where a run was interrupted."""
        objective, parts = self.objective.at(self.step), self.world.size * self.config.accumulate
        for index in range(math.ceil(SETTLING_IMAGES * parts / self.feed.batch_size)):
            batch = self.feed.batch(index, 0, 0, parts)
            noise = Noise(self.config.seed, "settle", index, device=self.device, parts=parts)
            reseed(self.config.seed, "settle", index)
            with self.precision(self.device):
                objective.draw(batch, noise)


def _wants_channels_last(module: nn.Module) -> bool:
    return any(isinstance(child, nn.Conv2d) for child in module.modules())


def total_steps(config: TrainConfig, num_images: int, batch_size: int | None = None) -> int:
    """Optimisation steps of a whole run over a split of `num_images`."""
    if config.steps is not None:
        return config.steps
    assert config.epochs is not None
    return max(1, math.ceil(config.epochs * num_images / (batch_size or config.batch_size)))


def train(
    trainer: Trainer,
    run: Run,
    *,
    save_weights: Callable[[Trainer], None],
    on_tick: Callable[[Trainer, Tick], None] = lambda trainer, tick: None,
    stop: StopFlag | None = None,
    stop_after: float | None = None,
    save_seconds: float = 60.0,
) -> TrainReport:
    """Train until the end of the schedule, a signal, or `stop_after` seconds; continue from the run's state when it has one.

    `save_weights(trainer)` writes a weights file. State is saved at the first tick, at ticks at least `save_seconds` apart, and at
    every stop. Raises Diverged (exit 7) when a loss is not finite: the last good state stays.
    """
    config, world = trainer.config, trainer.world
    state = run.load_state(trainer.device)
    if state is not None:
        trainer.load(state)
        del state
    if world.is_main:
        run.rewind_log(trainer.step)
    end = total_steps(config, len(trainer.feed), trainer.feed.batch_size)
    started = tick_started = last_save = time.monotonic()
    first = tick_first = trainer.step
    stopped = ""

    def report() -> Tick:
        losses = trainer.meters.read()
        bad = [name for name, value in losses.items() if not math.isfinite(value)]
        if bad:
            raise Diverged(
                f"{', '.join(bad)} became non-finite before step {trainer.step}",
                where=run.folder,
                hint="the last good state was kept; try a smaller train.optim.lr, or train.precision=fp32",
            )
        rate = (trainer.step - tick_first) * trainer.feed.batch_size / max(time.monotonic() - tick_started, 1e-9)
        left = (end - trainer.step) * trainer.feed.batch_size / rate if rate else math.inf
        memory = torch.cuda.max_memory_allocated(trainer.device) / 2**30 if trainer.device.type == "cuda" else 0.0
        return Tick(trainer.step, end, trainer.epoch, losses, rate, left, memory)

    while trainer.step < end and not stopped:
        trainer.run_step()
        at_tick = trainer.step % config.tick_steps == 0 or trainer.step == end
        if world.size == 1 or at_tick or trainer.step % 10 == 0:  # several ranks have to agree, which costs a collective
            if world.any(stop is not None and stop.signal is not None, trainer.device):
                stopped = "signal"
            elif world.any(stop_after is not None and time.monotonic() - started >= stop_after, trainer.device):
                stopped = "stop-after"
        if not at_tick and not stopped:
            continue
        tick = report()
        if world.is_main:
            last = bool(stopped) or trainer.step == end
            if last or trainer.step // config.tick_steps % config.weights_every == 0:
                save_weights(trainer)
            if last or trainer.step - first <= config.tick_steps or time.monotonic() - last_save >= save_seconds:
                run.save_state(trainer.state())
                last_save = time.monotonic()
            run.append_log(tick.line())  # after the state: a run that its log calls finished is saved
            on_tick(trainer, tick)
        tick_started, tick_first = time.monotonic(), trainer.step
    if world.is_main and not any(line["step"] == trainer.step for line in run.log_lines()):
        run.append_log(report().line())  # killed between the last state and its line
    world.barrier()
    return TrainReport(trainer.step, end, time.monotonic() - started, "finished" if trainer.step == end else stopped)
