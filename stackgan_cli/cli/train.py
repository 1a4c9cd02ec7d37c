"""`stackgan train`: train a preset."""

from __future__ import annotations

import sys
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stackgan_cli.cli.common import Device, examples, seconds, session_of
from stackgan_cli.cli.ui import Session, table

if TYPE_CHECKING:
    from stackgan_cli.config.schema import RunConfig

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
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Configuration keys to change.", show_default=False)
    ] = None,
    preset: Annotated[
        str, typer.Option("--preset", "-p", help="Preset or YAML file. Default: the one for the newest cache.", show_default=False)
    ] = "",
    name: Annotated[str, typer.Option(help="Name of the run. Default: PRESET-DATASET.", show_default=False)] = "",
    device: Device = "auto",
    stop_after: Annotated[str | None, typer.Option(help="Save and stop after this long, e.g. 90s, 8m or 1.5h.", show_default=False)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the configuration, cost and prerequisites without training.")] = False,
    no_prerequisites: Annotated[
        bool, typer.Option("--no-prerequisites", help="Do not train missing prerequisites; print the commands that do.")
    ] = False,
    resume: Annotated[Resume, typer.Option(help="auto continues an existing run; never refuses to.")] = Resume.auto,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Also write TensorBoard event files to the run's folder.")] = False,
    gpus: Annotated[int, typer.Option(min=1, help="Number of GPUs; starts one process per GPU with torchrun.")] = 1,
) -> None:
    """Train a preset, after training anything it requires. If interrupted, the same command continues."""
    from stackgan_cli.config.presets import require_pairs

    session = session_of(ctx)
    limit = seconds(stop_after)
    require_pairs(overrides or [])
    from stackgan_cli.workflows.train import configuration, train_run

    config = configuration(preset, overrides or [], session.workspace, session)
    if gpus > 1:
        from stackgan_cli.runtime import relaunch

        relaunch(gpus, sys.argv[1:])
    if dry_run:
        _dry_run(session, config, name)
        return
    run, status = train_run(
        config,
        session.workspace,
        session,
        name=name,
        device=device,
        stop_after=limit,
        prerequisites=not no_prerequisites,
        resume=resume is not Resume.never,
        tensorboard=tensorboard,
    )
    session.result({**status, "path": str(run.folder)}, str(status.get("weights") or run.folder))


def _dry_run(session: Session, config: RunConfig, name: str) -> None:
    from stackgan_cli.config.presets import dump
    from stackgan_cli.workflows.dry_run import dry_run

    found = dry_run(config, session.workspace, session, name=name)
    name = found.name
    config, cost = found.config, found.cost
    rows = [
        ("run", str(session.workspace.runs / name)),
        *((f"parameters of {network}", f"{count:,}") for network, count in cost.parameters.items()),
        ("FLOPs per step", f"{cost.flops:.3e}"),
        ("memory, about", f"{cost.memory / 2**30:.2f} GiB"),
        ("steps", f"{found.steps:,}" if found.steps else f"{config.train.epochs:g} epochs"),
        *(("needs first", f"{item.what}: {item.cost}  ({item.command})") for item in found.missing),
    ]
    needs: list[dict[str, Any]] = [{key: getattr(item, key) for key in ("kind", "what", "cost", "command")} for item in found.missing]
    data = {"name": name, "config": config.model_dump(mode="json"), **asdict(cost), "steps": found.steps, "missing": needs}
    session.result(data, f"{dump(config)}\n{table(rows)}")
