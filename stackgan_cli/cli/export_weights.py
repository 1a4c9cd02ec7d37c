"""`stackgan export`: our weights files to the authors' formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stackgan_cli.cli.common import examples, model_of, session_of
from stackgan_cli.errors import UsageError

EPILOG = examples("stackgan export", "stackgan export --run v2-cub --output published")


def export(
    ctx: typer.Context,
    run: Annotated[str, typer.Option(help="Run to export. Default: the newest that generates images.", show_default=False)] = "",
    weights: Annotated[Path | None, typer.Option(help="Weights file to export instead of a run.")] = None,
    layout: Annotated[str, typer.Option("--format", help="File format: official (as the authors' code reads it).")] = "official",
    output: Annotated[Path | None, typer.Option(help="Output folder. Default: exported/ in the workspace.", show_default=False)] = None,
) -> None:
    """Write the networks of a run in the format that the authors' code reads."""
    from stackgan_cli.workflows.export_weights import export_weights

    session = session_of(ctx)
    if layout != "official":
        raise UsageError(f"unknown format {layout!r}", where="--format", hint="official")
    paths = [str(path) for path in export_weights(model_of(run, weights), output=output, workspace=session.workspace)]
    session.result({"files": paths}, "\n".join(paths))
