"""`train`: prerequisites first, then the run, with progress, sample grids and saving when it is stopped."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from stackgan_cli import registry
from stackgan_cli.config.presets import load_config, require_pairs
from stackgan_cli.config.schema import RunConfig
from stackgan_cli.data.sources import dataset_of
from stackgan_cli.errors import EnvironmentProblem, Exit, MismatchError, UserError, is_out_of_memory
from stackgan_cli.metrics.held_out import Trained, final_score
from stackgan_cli.runs import Run
from stackgan_cli.runtime import StopFlag, World, pick_device
from stackgan_cli.training.batches import check_inputs, memory_hint
from stackgan_cli.training.inputs import ResolvedInputs, default_run_name
from stackgan_cli.training.job import Job, open_job
from stackgan_cli.training.loop import Progress as TrainProgress
from stackgan_cli.training.loop import Trainer, TrainReport
from stackgan_cli.training.loop import train as run_loop
from stackgan_cli.training.plan import plan
from stackgan_cli.viz.tensorboard import Board
from stackgan_cli.workflows.encode_text import encode_cache
from stackgan_cli.workflows.reporter import SILENT, Reporter, duration
from stackgan_cli.workflows.sample_grids import SampleGrids
from stackgan_cli.workspace import Workspace


def train(
    preset: str = "",
    overrides: Sequence[str] = (),
    *,
    workspace: Workspace | None = None,
    name: str = "",
    device: str = "auto",
    stop_after: float | None = None,
    prerequisites: bool = True,
    resume: bool = True,
    tensorboard: bool = False,
    reporter: Reporter = SILENT,
) -> Run:
    """Train a preset (or a YAML file) into a run, making first what it needs, and return the run. A finished run is returned unchanged.

    `overrides` are `key=value` words. `stop_after` (seconds) saves and stops before the end of the schedule; the same call continues.
    Without `prerequisites`, missing ones raise MismatchError with the commands that make them; without `resume`, so does an existing run.
    Raises UserError with exit code 130 or 143 after saving if interrupted, Diverged if a loss is not finite.
    """
    workspace = workspace or Workspace.locate()
    return train_run(
        configuration(preset, overrides, workspace, reporter),
        workspace,
        reporter,
        name=name,
        device=device,
        stop_after=stop_after,
        prerequisites=prerequisites,
        resume=resume,
        tensorboard=tensorboard,
    )[0]


def train_run(
    config: RunConfig,
    workspace: Workspace,
    reporter: Reporter,
    *,
    name: str = "",
    device: str = "auto",
    stop_after: float | None = None,
    prerequisites: bool = True,
    resume: bool = True,
    tensorboard: bool = False,
) -> tuple[Run, dict[str, Any]]:
    """`train` for a configuration: the run and its status, with its final scores when it has just been finished."""
    name = name or default_run_name(config.name, config.data.cache, workspace)
    run = Run(workspace.run_folder(name))
    training = Training(workspace, reporter, device, stop_after, tensorboard=tensorboard)
    inputs = training.inputs(config, make=prerequisites)
    if inputs is None:
        return run, {"name": name, "finished": False, "step": 0}
    return run, training.train(inputs, name, fresh=not resume)


def configuration(preset: str, overrides: Sequence[str], workspace: Workspace, reporter: Reporter) -> RunConfig:
    """The configuration to train; without a preset, that of the newest cache's dataset, on that cache. Raises UsageError without one."""
    require_pairs(overrides)
    if preset:
        return load_config(preset, overrides)
    cache = workspace.newest_cache()
    preset = dataset_of(workspace.open_cache(cache)).preset
    reporter.say(f"no --preset given: {preset}")
    return load_config(preset, overrides, {"data": {"cache": cache}})


class Training:
    """Trains runs and encodes captions one after the other, within one time limit."""

    def __init__(
        self, workspace: Workspace, reporter: Reporter, device: str, stop_after: float | None = None, *, tensorboard: bool = False
    ) -> None:
        self.workspace, self.reporter, self.tensorboard = workspace, reporter, tensorboard
        self.world: World = World.from_environment()
        self.device: torch.device = pick_device(device)
        self.world.start(self.device)
        self.deadline = None if stop_after is None else time.monotonic() + stop_after

    def inputs(self, config: RunConfig, *, make: bool = True) -> ResolvedInputs | None:
        """The inputs of a run, what is missing made first, in order; None when the time limit came before all of it was.

        Raises MismatchError, with the commands, when something is missing and not to be made.
        """
        inputs = ResolvedInputs(config, self.workspace)
        check_inputs(inputs, self.world.size)
        missing = plan(inputs)
        self.world.barrier()  # every rank has to have seen the same
        if not missing:
            return inputs
        if not make:
            commands = "\n".join(f"  {item.command}" for item in missing)
            raise MismatchError(f"{len(missing)} prerequisites are missing", where=config.name, hint=f"make them with\n{commands}")
        self.reporter.say(f"{config.name} needs, first:")
        for number, item in enumerate(missing, 1):
            self.reporter.say(f"  {number}. {item.what}: {item.cost}")
        for item in missing:
            if item.config is None:
                self.encode(ResolvedInputs(config, self.workspace))
                continue
            needed = self.inputs(item.config)
            if needed is None or not self.train(needed, item.run_name)["finished"]:
                return None
        return ResolvedInputs(config, self.workspace)

    def encode(self, inputs: ResolvedInputs) -> None:
        """Store the vectors of all captions of the cache."""
        encode_cache(inputs, self.device, self.world, self.reporter)

    def train(self, inputs: ResolvedInputs, name: str, *, fresh: bool = False) -> dict[str, Any]:
        """Train or continue the run `name`; returns its status. Raises UserError (130, 143) after saving when a signal came,
        MismatchError when another process is training it."""
        folder = self.workspace.run_folder(name)
        # One lock for all ranks. A finished run needs none, and may lie in a place that cannot be written.
        with Run(folder).lock() if self.world.is_main and not _is_finished(folder) else nullcontext():
            return self._train(inputs, self._open_run(inputs.config, folder, fresh))

    def _train(self, inputs: ResolvedInputs, run: Run) -> dict[str, Any]:
        status, name = run.status(), run.name
        if status["finished"]:
            self.reporter.say(f"{name} is finished ({status['step']:,} steps)")
            return status
        try:
            job = open_job(inputs, run, device=self.device, world=self.world)
            with StopFlag() as stop:
                report = self._run(job, stop)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            hint = memory_hint(inputs.config, self.world.size, on_gpu=self.device.type == "cuda")
            raise EnvironmentProblem("out of memory", where=run.folder, hint=hint) from None
        if report.stopped == "signal":
            code = Exit(stop.exit_code or Exit.INTERRUPTED)
            raise UserError(
                f"stopped at step {report.step:,}; everything is saved", where=run.folder, hint="the same command continues", code=code
            )
        if report.stopped == "stop-after":
            self.reporter.say(f"{name}: time is up at step {report.step:,} of {report.total_steps:,}; the same command continues")
        else:
            self.reporter.say(f"{name}: {report.total_steps:,} steps done, {duration(report.seconds)} in this session")
        return {**run.status(), **self._scores(job, report.stopped)}

    def _run(self, job: Job, stop: StopFlag) -> TrainReport:
        """The loop, with progress, sample grids and, where it is asked for, TensorBoard."""
        run = job.run
        grids = SampleGrids.of(job.inputs, self.reporter)
        board = Board(run.folder / "tensorboard", run.status()["step"]) if self.tensorboard and self.world.is_main else None
        with self.reporter.progress(f"training {run.name}", unit="images") as bar:

            def on_log(progress: TrainProgress) -> None:
                if board is not None:
                    board.write(progress.step, {**progress.losses, "images_per_second": progress.images_per_second})

            def on_tick(trainer: Trainer, tick: TrainProgress) -> None:
                losses = "  ".join(f"{key} {value:.3f}" for key, value in tick.losses.items() if "/" not in key)
                memory = f"  {tick.memory_gib:.1f} GiB" if tick.memory_gib else ""
                bar.update(tick.step, tick.total_steps, f"{losses}{memory}", rate=tick.images_per_second, left=tick.seconds_left)
                grids.write(trainer, run.folder / "samples" / f"step-{tick.step:08d}.png")

            left = None if self.deadline is None else max(self.deadline - time.monotonic(), 1e-3)
            return run_loop(job.trainer, run, save_weights=job.save_weights, on_log=on_log, on_tick=on_tick, stop=stop, stop_after=left)

    def _scores(self, job: Job, stopped: str) -> dict[str, float]:
        """The final score of a run that has just been finished, where its architecture has one; also a line of its `metrics.jsonl`."""
        if stopped != "finished" or not self.world.is_main:
            return {}
        trainer, inputs = job.trainer, job.inputs
        name = registry.find(inputs.config.model.arch).final_score
        if name is None:
            return {}
        networks = {name: trainer.sampling_module(name) for name in trainer.objective.modules}
        line = final_score(name, Trained(inputs.config, networks, inputs.cache, trainer.device, inputs.labels, inputs.vectors))
        if not line:
            return {}
        line |= {"step": trainer.step}
        job.run.append_metric(line)
        scores = {key: value for key, value in line.items() if isinstance(value, float)}
        self.reporter.say(f"{job.run.name}: held out, " + ", ".join(f"{key} {value:.3f}" for key, value in scores.items()))
        return scores

    def _open_run(self, config: RunConfig, folder: Path, fresh: bool) -> Run:
        """The run's folder, made by the first rank before the others look at it."""
        if self.world.is_main:
            if fresh and (folder / "config.yaml").exists():
                raise MismatchError(
                    "this run exists", where=folder, hint="give the new one a --name, or continue it without --resume never"
                )
            Run.open_or_create(folder, config)
        self.world.barrier()
        return Run.open_or_create(folder, config)

    def trained(self, preset: str, overrides: Sequence[str], cache: str, name: str) -> Run:
        """The finished run `name` of a preset on `cache`, trained where it is not. Raises UserError when the time limit came first.

        `name` is a free one (training/inputs.py), so that the run is not one of another cache.
        """
        run = Run(self.workspace.run_folder(name))
        if _is_finished(run.folder):
            return run
        config = load_config(preset, overrides, {"data": {"cache": cache}})
        inputs = self.inputs(config)
        if inputs is None or not self.train(inputs, name)["finished"]:
            raise UserError(f"the run {name} is not finished", where=run.folder, hint="the same command continues")
        return run


def _is_finished(folder: Path) -> bool:
    return (folder / "config.yaml").is_file() and bool(Run(folder).status()["finished"])
