"""`stackgan train`: a preset into a run."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stackgan_cli.cli.common import Device, examples, seconds, session_of
from stackgan_cli.errors import UserError

if TYPE_CHECKING:
    from stackgan_cli.cli.ui import Session

EPILOG = examples(
    "stackgan train --preset demo-stage1",
    "stackgan train --preset v1-stage2 train.batch_size=32 train.optim.lr=1e-4",
    "stackgan train --preset v1-stage1 --dry-run",
    "stackgan train --preset mine.yaml --name try2 --stop-after 8m",
)


class Resume(StrEnum):
    auto = "auto"
    never = "never"


def train(
    ctx: typer.Context,
    overrides: Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Keys to change.", show_default=False)] = None,
    preset: Annotated[
        str, typer.Option("--preset", "-p", help="A preset or a YAML file. Default: one for the newest cache.", show_default=False)
    ] = "",
    name: Annotated[str, typer.Option(help="Name of the run. Default: the preset's and the dataset's.", show_default=False)] = "",
    device: Device = "auto",
    stop_after: Annotated[str | None, typer.Option(help="Stop in good order after so long: 90s, 8m, 1.5h.", show_default=False)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show configuration, cost and prerequisites; make nothing.")] = False,
    no_prerequisites: Annotated[bool, typer.Option("--no-prerequisites", help="Do not make what is missing; say how to.")] = False,
    resume: Annotated[Resume, typer.Option(help="never: refuse to continue a run that exists.")] = Resume.auto,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also write TensorBoard event files into the run.")] = False,
    gpus: Annotated[int, typer.Option(min=1, help="Start torchrun with so many processes.")] = 1,
) -> None:
    """Train a preset, making first what it needs. The same command continues the run after an interruption."""
    from stackgan_cli.config.presets import load_config, require_pairs

    session = session_of(ctx)
    limit = seconds(stop_after)
    require_pairs(overrides or [])
    config = load_config(preset or default_preset(session), overrides or [])
    if gpus > 1:
        from stackgan_cli.cli.launch import torchrun

        torchrun(gpus, sys.argv[1:])
    from stackgan_cli.cli.work import Worker
    from stackgan_cli.training.inputs import run_name

    name = name or run_name(config.name, config.data.cache)
    if dry_run:
        from stackgan_cli.cli.dry_run import dry_run as show

        show(session, config, name)
        return
    worker = Worker(session, device, limit, tensorboard=tensorboard)
    if not worker.make_prerequisites(config, allowed=not no_prerequisites):
        status: dict[str, Any] = {"name": name, "finished": False, "step": 0}
    else:
        status = worker.train(config, name, fresh=resume is Resume.never)
    folder = session.workspace.runs / name
    session.result({**status, "path": str(folder)}, str(status.get("weights") or folder))


def default_preset(session: Session) -> str:
    """The preset that belongs to the dataset of the newest cache. Raises UserError without a cache."""
    from stackgan_cli.data.cache import Cache
    from stackgan_cli.data.sources import dataset_of

    caches = session.workspace.cache_names()
    if not caches:
        raise UserError("no dataset has been prepared yet", where=session.workspace.caches, hint="stackgan prepare demo")
    preset = dataset_of(Cache.open(session.workspace.cache_path(caches[0]))).preset
    session.say(f"no --preset given: {preset}")
    return preset
