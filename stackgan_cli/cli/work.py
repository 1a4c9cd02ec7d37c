"""Training as the command line does it: prerequisites first, then the run, with bars, sample grids and saving when it is stopped."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from stackgan_cli.cli.ui import Session, duration
from stackgan_cli.errors import Exit, MismatchError, UserError

if TYPE_CHECKING:
    import torch

    from stackgan_cli.config.schema import RunConfig
    from stackgan_cli.runs import Run
    from stackgan_cli.runtime import World
    from stackgan_cli.training.job import Job
    from stackgan_cli.training.plan import Prerequisite


class Worker:
    """Makes runs and text vectors one after the other, within one time limit."""

    def __init__(self, session: Session, device: str, stop_after: float | None = None, *, tensorboard: bool = False) -> None:
        from stackgan_cli.runtime import World, pick_device

        self.session, self.workspace, self.tensorboard = session, session.workspace, tensorboard
        self.world: World = World.from_environment()
        self.device: torch.device = pick_device(device)
        self.world.start(self.device)
        self.deadline = None if stop_after is None else time.monotonic() + stop_after

    def missing(self, config: RunConfig) -> list[Prerequisite]:
        """What has to be made before `config`, as every rank sees it."""
        from stackgan_cli.training.plan import plan

        found = plan(config, self.workspace)
        self.world.barrier()
        return found

    def make_prerequisites(self, config: RunConfig, *, allowed: bool = True) -> bool:
        """Make what is missing, in order; False when the time limit came first. Raises MismatchError when it is not `allowed`."""
        missing = self.missing(config)
        if missing and not allowed:
            commands = "\n".join(f"  {item.command}" for item in missing)
            raise MismatchError(f"{len(missing)} prerequisites are missing", where=config.name, hint=f"make them with\n{commands}")
        if missing:
            self.session.say(f"{config.name} needs, first:")
            for number, item in enumerate(missing, 1):
                self.session.say(f"  {number}. {item.what}: {item.cost}")
        for item in missing:
            if item.config is None:
                self.encode_cache(config.requires.text_encoder, config)
            elif self.make_prerequisites(item.config) and self.train(item.config, item.run_name)["finished"]:
                continue
            else:
                return False
        return True

    def train(self, config: RunConfig, name: str, *, fresh: bool = False) -> dict[str, Any]:
        """Train or continue the run `name`; returns its status. Raises UserError (130, 143) after saving when a signal came."""
        from stackgan_cli.cli.grids import SampleGrids
        from stackgan_cli.runtime import StopFlag
        from stackgan_cli.training.inputs import resolve
        from stackgan_cli.training.job import open_job
        from stackgan_cli.training.loop import Progress, Trainer, train
        from stackgan_cli.viz.tensorboard import Board

        config = resolve(config, self.workspace)
        run = self._open_run(config, name, fresh)
        if run.status()["finished"]:
            self.session.say(f"{name} is finished ({run.status()['step']:,} steps)")
            return run.status()
        job = open_job(config, run, self.workspace, device=self.device, world=self.world)
        grids = SampleGrids.of(job, self.session)
        board = Board(run.folder / "tensorboard", run.status()["step"]) if self.tensorboard and self.world.is_main else None
        with StopFlag() as stop, self.session.progress(f"training {name}", unit="images") as bar:

            def on_log(progress: Progress) -> None:
                if board is not None:
                    board.write(progress.step, {**progress.losses, "images_per_second": progress.images_per_second})

            def on_tick(trainer: Trainer, tick: Progress) -> None:
                losses = "  ".join(f"{key} {value:.3f}" for key, value in tick.losses.items() if "/" not in key)
                memory = f"  {tick.memory_gib:.1f} GiB" if tick.memory_gib else ""
                bar.update(tick.step, tick.total_steps, f"{losses}{memory}", rate=tick.images_per_second, left=tick.seconds_left)
                grids.draw(trainer, tick.step)

            left = None if self.deadline is None else max(self.deadline - time.monotonic(), 1e-3)
            report = train(job.trainer, run, save_weights=job.save_weights, on_log=on_log, on_tick=on_tick, stop=stop, stop_after=left)
        if report.stopped == "signal":
            code = Exit(stop.exit_code or Exit.INTERRUPTED)
            raise UserError(
                f"stopped at step {report.step:,}; everything is saved", where=run.folder, hint="the same command continues", code=code
            )
        if report.stopped == "stop-after":
            self.session.say(f"{name}: time is up at step {report.step:,} of {report.total_steps:,}; the same command continues")
        else:
            self.session.say(f"{name}: {report.total_steps:,} steps done, {duration(report.seconds)} in this session")
        return {**run.status(), **self._scores(job, report.stopped)}

    def _scores(self, job: Job, stopped: str) -> dict[str, float]:
        """What a text encoder, classifier or similarity that has just been finished has learned; also a line of its `metrics.jsonl`."""
        from stackgan_cli.training.scores import final_scores

        if stopped != "finished" or not self.world.is_main:
            return {}
        line = final_scores(job)
        if not line:
            return {}
        job.run.append_metric(line)
        scores = {key: value for key, value in line.items() if isinstance(value, float)}
        self.session.say(f"{job.run.name}: held out, " + ", ".join(f"{key} {value:.3f}" for key, value in scores.items()))
        return scores

    def _open_run(self, config: RunConfig, name: str, fresh: bool) -> Run:
        """The run's folder, made by the first rank before the others look at it."""
        from stackgan_cli.runs import Run

        folder = self.workspace.runs / name
        if self.world.is_main:
            if fresh and (folder / "config.yaml").exists():
                raise MismatchError(
                    "this run exists", where=folder, hint="give the new one a --name, or continue it without --resume never"
                )
            Run.open_or_create(folder, config)
        self.world.barrier()
        return Run.open_or_create(folder, config)

    def make_encoder(self, encoder: str, config: RunConfig) -> None:
        """Train the preset `encoder` for the configuration's cache when it names neither a file nor a finished run."""
        from stackgan_cli.config.presets import load_config, preset_names
        from stackgan_cli.training.inputs import encoder_weights, run_name

        if encoder_weights(encoder, config, self.workspace) is None and encoder in preset_names():
            made = load_config(encoder, [], {"data": {"cache": config.data.cache}})
            self.session.say(f"the text encoder {encoder!r} has not been trained for {config.data.cache}: that comes first")
            self.world.barrier()
            self.train(made, run_name(encoder, config.data.cache))

    def encode_cache(self, encoder: str | None, config: RunConfig) -> dict[str, Any]:
        """Store the vectors of all captions of the configuration's cache by `encoder`; returns what was written."""
        from stackgan_cli.data.cache import Cache
        from stackgan_cli.data.caption_vectors import CaptionVectors
        from stackgan_cli.encoders.text_encoder import TextEncoder
        from stackgan_cli.errors import DataError
        from stackgan_cli.training.inputs import encoder_weights, vectors_of

        path = encoder_weights(encoder, config, self.workspace)
        if path is None:
            raise DataError(f"the text encoder {encoder!r} is not there", hint=f"stackgan train --preset {encoder}")
        cache = Cache.open(self.workspace.cache_path(config.data.cache))
        loaded = TextEncoder.load(path)
        target = CaptionVectors.path_for(cache.path, loaded.hash)
        if self.world.is_main and loaded.hash not in [vectors.encoder_hash for vectors in vectors_of(cache)]:
            loaded.save(self.workspace.encoder_path(loaded.hash))
            with self.session.progress(f"encoding {cache.path.stem}", unit="captions") as bar:
                vectors = loaded.encode(cache.captions, device=self.device, progress=bar.update)
            target = CaptionVectors.write(cache, vectors, {**loaded.identity, "file": str(path)}, loaded.hash)
        self.world.barrier()
        facts = {"path": str(target), "captions": cache.num_captions, "dimensions": loaded.config.text_dim}
        return {**facts, "encoder": str(path), "encoder_hash": loaded.hash}
