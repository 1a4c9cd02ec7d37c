"""What several subcommands share: examples in the help, the session, and common options."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from stackgan_cli.errors import UsageError

if TYPE_CHECKING:
    from stackgan_cli.cli.ui import Session

Labels = Annotated[
    list[str] | None,
    typer.Option(
        "--labels",
        "--label",
        help="Class labels, as numbers or names, e.g. 0-9 or 0,3,7 (class-conditional models). Default: the first ten.",
        show_default=False,
    ),
]
Device = Annotated[str, typer.Option(help="Device to run on: auto, cpu, cuda or cuda:N.")]
RunName = Annotated[str, typer.Option("--run", help="Run to use. Default: the newest that generates images.", show_default=False)]
WeightsFile = Annotated[Path | None, typer.Option("--weights", help="Weights file to use instead of a run.")]
Scale = Annotated[str, typer.Option(help="Resolution of the images, e.g. 64. Default: the largest.", show_default=False)]
TextEncoderFile = Annotated[Path | None, typer.Option(help="File of the text encoder, if the weights file does not contain it.")]
Output = Annotated[
    Path | None, typer.Option(help="Output folder. Default: a folder named after the command, in the run's folder.", show_default=False)
]


MoreCaptions = Annotated[
    list[str] | None, typer.Option("--caption", help="Another caption, for example one that begins with a dash.", show_default=False)
]


def from_home(command: Callable[..., Any]) -> Callable[..., Any]:
    """`command` with `~` expanded in all the paths that it is given: a shell leaves `--output=~/images` as it is."""

    def expanded(value: Any) -> Any:
        if isinstance(value, list):
            return [expanded(item) for item in value]
        return value.expanduser() if isinstance(value, Path) else value

    @wraps(command)
    def wrapped(*args: Any, **options: Any) -> Any:
        return command(*args, **{name: expanded(value) for name, value in options.items()})

    return wrapped


def examples(*commands: str) -> str:
    """The epilog of a subcommand: commands that can be pasted into a shell."""
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
        raise UsageError(f"{text!r} is not a duration", where="--stop-after", hint="for example 90s, 8m or 1.5h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def read_captions(path: Path) -> list[str]:
    """The non-blank lines of a UTF-8 text file. Raises UsageError for a file that cannot be read as captions."""
    from stackgan_cli.data.text_files import UTF_8, decode, lines

    path = path.expanduser()
    try:
        text, encoding = decode(path.read_bytes())
    except FileNotFoundError:
        raise UsageError("no such file", where=path, hint="a text file with one caption per line") from None
    except IsADirectoryError:
        raise UsageError("this is a folder", where=path, hint="give a text file with one caption per line") from None
    except OSError as error:
        raise UsageError(f"cannot be read: {error.strerror}", where=path) from None
    if encoding != UTF_8:
        raise UsageError("this is not UTF-8 text", where=path, hint=f"save it as UTF-8; it seems to be {encoding}")
    captions = [line.strip() for line in lines(text) if line.strip()]
    if not captions:
        raise UsageError("this file contains no captions", where=path, hint="write one caption per line")
    return captions


def model_of(run: str, weights: Path | None) -> str | Path:
    """The weights file or run named by --weights or --run; empty for the newest run. Raises UsageError if both are given."""
    if run and weights is not None:
        raise UsageError("give --run or --weights, not both")
    return run if weights is None else weights.expanduser()
