"""What several subcommands share: examples in the help, the session, options that look the same everywhere."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from stackgan_cli.errors import UsageError

if TYPE_CHECKING:
    from stackgan_cli.cli.ui import Session

Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--labels", "--label", help="Class-conditional models: numbers or names, e.g. 0-9 or 0,3,7. Default: the first.", show_default=False
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
RunName = Annotated[str, typer.Option("--run", help="A run. Default: the newest that makes images.", show_default=False)]
WeightsFile = Annotated[Path | None, typer.Option("--weights", help="A weights file instead of a run.")]
Scale = Annotated[str, typer.Option(help="Which side's pictures, e.g. 64. Default: the largest.", show_default=False)]
TextEncoderFile = Annotated[Path | None, typer.Option(help="The text encoder's file, when the weights do not carry it.")]
Output = Annotated[Path | None, typer.Option(help="Folder. Default: one of the command's name in the run's.", show_default=False)]


def examples(*commands: str) -> str:
    """The epilog of a subcommand: commands that can be pasted as they are."""
    return "Examples:\n\n\b\n" + "\n".join(f"  {command}" for command in commands)


def session_of(ctx: typer.Context) -> Session:
    """The session of this invocation."""
    return cast("Session", ctx.obj)


def seconds(text: str | None) -> float | None:
    """`90`, `90s`, `8m` or `1.5h` in seconds. Raises UsageError."""
    if text is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smh]?)", text.strip().lower())
    if match is None or float(match[1]) == 0:
        raise UsageError(f"{text!r} is not a length of time", where="--stop-after", hint="for example 90s, 8m or 1.5h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def read_captions(path: Path) -> list[str]:
    """The lines of a text file that are not blank. Raises UsageError for a file that cannot be read as captions."""
    path = path.expanduser()
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UsageError("no such file", where=path, hint="a text file with one caption a line") from None
    except IsADirectoryError:
        raise UsageError("this is a folder", where=path, hint="give a text file with one caption a line") from None
    except UnicodeDecodeError:
        raise UsageError("this is no UTF-8 text", where=path, hint="give a text file with one caption a line") from None
    captions = [line.strip() for line in text.splitlines() if line.strip()]
    if not captions:
        raise UsageError("there is no caption in this file", where=path, hint="write one caption a line")
    return captions


def model_of(run: str, weights: Path | None) -> str | Path:
    """The weights file or the run that --weights or --run names; empty for the newest. Raises UsageError for both."""
    if run and weights is not None:
        raise UsageError("give --run or --weights, not both")
    return run if weights is None else weights.expanduser()
