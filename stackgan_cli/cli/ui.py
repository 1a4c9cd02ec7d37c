"""Output of the command line: results go to stdout, everything for people to stderr.

Rich on a terminal (bars, colour unless NO_COLOR is set), plain lines elsewhere, one JSON document on stdout with `--json`.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from stackgan_cli import __version__
from stackgan_cli.errors import EnvironmentProblem, Exit, UserError
from stackgan_cli.processes import is_first
from stackgan_cli.workflows.reporter import Progress, Reporter, duration

if TYPE_CHECKING:
    from stackgan_cli.workspace import Workspace


def table(rows: Sequence[tuple[str, ...]], header: tuple[str, ...] = ()) -> str:
    """Left-aligned columns, two spaces apart."""
    lines = [header, *rows] if header else list(rows)
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))] if lines else []
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


EVERY = 10.0
"""Seconds between two plain lines of progress."""


class ReaderGone(Exception):
    """The reader of our output has closed the pipe."""


def prepare_streams() -> None:
    """Make the standard streams safe to write to: a closed one discards, and no character ends a command.

    Called before anything opens a file, which would otherwise get the number of the closed stream. A character that the terminal cannot
    show is written as an escape, such as `\\xe9`.
    """
    for name in ("stdin", "stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w", encoding="utf-8"))  # noqa: SIM115, PTH123
        elif name != "stdin" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def discard(stream: TextIO) -> None:
    """Send all that is still written to a stream, the interpreter's last flush included, to nowhere."""
    with contextlib.suppress(OSError, ValueError):
        target = os.open(os.devnull, os.O_WRONLY)
        os.dup2(target, stream.fileno())
        os.close(target)


@dataclass
class Session(Reporter):
    """One invocation of the program: its root options and its output."""

    json: bool = False
    quiet: bool = False
    debug: bool = False
    root: Path | None = None
    command: str = ""
    warnings: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def workspace(self) -> Workspace:
        """The folder of caches and runs: --workspace, else $STACKGAN_HOME, else the current folder."""
        from stackgan_cli.workspace import Workspace

        return Workspace.locate(self.root)

    # -- for people -----------------------------------------------------------------------------------------------------------

    @property
    def silent(self) -> bool:
        """Whether to print results and errors only: asked to, or not the first of several processes."""
        return self.quiet or not is_first()

    @property
    def on_terminal(self) -> bool:
        return sys.stderr.isatty() and not self.json

    def say(self, text: str) -> None:
        """A line for people, on stderr."""
        if not self.silent:
            self._write(text)

    def warn(self, text: str) -> None:
        """A note that does not stop the command; also part of the JSON document."""
        self.warnings.append(text)
        if not self.silent:
            self._write(f"note: {text}", "yellow")

    def _write(self, text: str, style: str = "") -> None:
        try:
            self._write_line(text, style)
        except OSError:  # nobody reads the messages any more; the work and its result are not affected
            discard(sys.stderr)

    def _write_line(self, text: str, style: str) -> None:
        if self.on_terminal:
            from rich.console import Console

            Console(stderr=True, highlight=False).print(text, style=style or None, markup=False, soft_wrap=True)
        else:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()

    @contextlib.contextmanager
    def progress(self, title: str, *, unit: str = "") -> Iterator[Progress]:
        """A bar on a terminal; elsewhere a plain line at each `update(..., note)` or every ten seconds, and at the end."""
        if self.on_terminal and not self.silent:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TextColumn("{task.fields[note]}"),
            )
            with Bar(*columns, console=Console(stderr=True)) as bar:
                yield Line(self, title, unit, bar)
        else:
            yield Line(self, title, unit)

    # -- results --------------------------------------------------------------------------------------------------------------

    def result(self, data: dict[str, Any], text: str) -> None:
        """The outcome: `text` on stdout now, or `data` in the JSON document at the end."""
        self.data = data
        if not self.json:
            self._print(text)

    def _print(self, text: str) -> None:
        if not is_first():
            return
        try:
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()
        except OSError as error:
            discard(sys.stdout)
            if error.errno in (errno.EPIPE, errno.ESHUTDOWN):
                raise ReaderGone from error
            raise EnvironmentProblem(f"cannot be written: {os.strerror(error.errno or 0).lower()}", where="standard output") from None

    def finish(self, error: dict[str, Any] | None = None) -> None:
        """Write the JSON document, if one was asked for."""
        if self.json:
            document = {
                "command": self.command,
                "version": __version__,
                "ok": error is None,
                "result": self.data,
                "warnings": self.warnings,
                "elapsed_s": round(time.monotonic() - self.started, 3),
            }
            if error is not None:
                document["error"] = error
            text = json.dumps(document, ensure_ascii=False, default=str)
            try:
                text.encode(sys.stdout.encoding or "utf-8")
            except UnicodeEncodeError:
                text = json.dumps(document, default=str)
            self._print(text)

    def fail(self, error: UserError) -> int:
        """Show a UserError; returns its exit code."""
        if self.debug and error.code != Exit.BUG:
            traceback.print_exception(error)
        self._write(f"✗ {error}", "red")
        if error.hint:
            self._write(f"→ {error.hint}")
        report = {"code": int(error.code), "message": error.message, "hint": error.hint, "where": error.where}
        details = getattr(error, "details", None)
        if details is not None:
            report["problems"] = details()
        self.finish(report)
        return int(error.code)


class Line(Progress):
    """Progress as a bar, or as plain lines."""

    def __init__(self, session: Session, title: str, unit: str, bar: Any = None) -> None:
        self.session, self.title, self.unit, self.bar = session, title, unit, bar
        self.task = bar.add_task(title, total=None, note="") if bar else None
        self.started = self.last_line = self.seen = time.monotonic()
        self.first: int | None = None
        self.done = 0

    def update(self, done: int, total: int, note: str = "", *, rate: float | None = None, left: float | None = None) -> None:
        """`done` of `total`; a `note` makes a plain line at once. A smaller `done` than before starts another round.

        `rate` in `unit` per second and `left` in seconds are measured from the start if they are not given.
        """
        now = time.monotonic()
        if self.first is None:
            self.first = 0 if done <= 1 else done
        elif done < self.done:
            self.first, self.started = 0, self.seen
        self.done, self.seen = done, now
        measured = (done - self.first) / (now - self.started) if now > self.started else 0.0
        speed = f"{rate if rate is not None else measured:.1f} {self.unit}/s"
        if left is None:
            left = (total - done) / measured if measured > 0 else -1.0
        words = [word for word in (note, speed, f"{duration(left)} left" if done < total else f"in {duration(now - self.started)}") if word]
        if self.bar is not None:
            self.bar.update(self.task, completed=done, total=total, note="  ".join(words))
        elif note or done == total or now - self.last_line >= EVERY:
            self.last_line = now
            self.session.say(f"{self.title} {done:,}/{total:,}  {'  '.join(words)}")
