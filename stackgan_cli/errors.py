"""The errors that users see: what is wrong, where, and what to do about it.

A `UserError` is an expected failure: bad input, a missing file, a full disk. The command line prints it without a traceback and exits
with its code. Any other exception that reaches the user is a bug in this package (exit 1).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from enum import IntEnum


class Exit(IntEnum):
    """Process exit codes; documented in the README and never renumbered."""

    DONE = 0
    BUG = 1
    USAGE = 2
    CONFIG = 3
    DATA = 4
    MISMATCH = 5
    ENVIRONMENT = 6
    DIVERGED = 7
    INTERRUPTED = 130
    TERMINATED = 143


class UserError(Exception):
    """A problem that the user can fix. `where` names the file, key or option; `hint` is what to do next."""

    code: Exit = Exit.USAGE

    def __init__(self, message: str, *, where: object = "", hint: str = "", code: Exit | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.where = str(where)
        self.hint = hint
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class UsageError(UserError):
    """A wrong argument or option (exit 2)."""

    code = Exit.USAGE


class ConfigError(UserError):
    """A preset, configuration file or override is wrong (exit 3)."""

    code = Exit.CONFIG


class DataError(UserError):
    """A dataset or cache is missing, damaged or of the wrong kind (exit 4)."""

    code = Exit.DATA


class MismatchError(UserError):
    """Weights, a run or an encoder do not fit what they are used with (exit 5)."""

    code = Exit.MISMATCH


class EnvironmentProblem(UserError):
    """The machine lacks something: a device, an optional package, disk space (exit 6)."""

    code = Exit.ENVIRONMENT


class Diverged(UserError):
    """A loss became non-finite; the last good state was kept (exit 7)."""

    code = Exit.DIVERGED


def is_out_of_memory(error: Exception) -> bool:
    """Whether Python, or PyTorch on a GPU or the CPU, found no memory."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """`" - did you mean 'x'?"` for the choice closest to `name`, or an empty string if none is close."""
    near = difflib.get_close_matches(name, list(choices), n=1, cutoff=0.6)
    return f" - did you mean {near[0]!r}?" if near else ""
