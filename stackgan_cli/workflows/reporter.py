"""How workflows report what they are doing. This reporter is silent; the command line has one that prints (cli/ui.py). Torch-free."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class Progress:
    """The progress of one piece of work. `update` may be called any number of times."""

    def update(self, done: int, total: int, note: str = "", *, rate: float | None = None, left: float | None = None) -> None:
        """`done` of `total`; `rate` per second and `left` in seconds where they are known better than from the calls themselves."""


class Reporter:
    """Reports nothing. Subclasses override the methods they need."""

    def say(self, text: str) -> None:
        """A sentence for people about what is being done."""

    def warn(self, text: str) -> None:
        """Something that the user should know although the work goes on."""

    @contextlib.contextmanager
    def progress(self, title: str, *, unit: str = "") -> Iterator[Progress]:
        """The progress of one piece of work, counted in `unit`."""
        yield Progress()


SILENT = Reporter()


def duration(seconds: float) -> str:
    """`4 s`, `3:20`, `2:03:20`; `?` when it is not known."""
    if not 0 <= seconds < 1e8:
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}" if minutes else f"{rest} s"
