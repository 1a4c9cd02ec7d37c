"""`stackgan info`: what a cache, run or weights file contains."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from stackgan_cli.cli.common import examples, session_of
from stackgan_cli.cli.ui import table

EPILOG = examples("stackgan info", "stackgan info demo", "stackgan info runs/demo-stage1/weights/latest.safetensors")


def info(
    ctx: typer.Context,
    path: Annotated[str, typer.Argument(help="Cache, run or weights file. Default: list the caches and runs of the workspace.")] = "",
) -> None:
    """Describe a cache, run or weights file, given by name or path."""
    from stackgan_cli.workflows.info import info as describe

    session = session_of(ctx)
    data = describe(path, workspace=session.workspace)
    session.result(data, table([(key, _plain(value)) for key, value in data.items() if key not in ("config", "class_names")]))


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.5g}" if isinstance(value, float) else str(value)
