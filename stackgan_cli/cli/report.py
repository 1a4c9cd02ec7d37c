"""`stackgan report`: everything about a run in one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stackgan_cli.cli.common import examples, session_of

EPILOG = examples("stackgan report", "stackgan report demo-stage2-demo", "stackgan report runs/v2-cub --output v2.html")


def report(
    ctx: typer.Context,
    run: Annotated[str, typer.Argument(help="Run to report on. Default: the newest that generates images.", show_default=False)] = "",
    output: Annotated[Path | None, typer.Option(help="Output file. Default: report.html in the run's folder.", show_default=False)] = None,
) -> None:
    """Write a self-contained page about a run: configuration, curves, samples, metrics and figures."""
    from stackgan_cli.workflows.report import report as write

    session = session_of(ctx)
    facts = write(run, output=output, workspace=session.workspace, reporter=session)
    session.result(facts, facts["path"])
