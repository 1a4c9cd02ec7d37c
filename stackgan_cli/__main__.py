"""The program `stackgan`, and the target of `torchrun -m stackgan_cli`. Every way out of it is in this file."""

from __future__ import annotations

import errno
import os
import sys
import time
import traceback
from collections.abc import Sequence

import typer

from stackgan_cli import __version__
from stackgan_cli.cli.app import app
from stackgan_cli.cli.ui import ReaderGone, Session, discard, prepare_streams
from stackgan_cli.errors import EnvironmentProblem, Exit, UsageError, UserError, is_out_of_memory

UsageProblem: type[Exception] = typer.BadParameter.__mro__[2]
"""The class of all errors that Typer finds in a command line; the library it comes from is Typer's own affair."""

FLAGS = ("--json", "--quiet", "-q", "--debug")
BROKEN_PIPE = 141
"""What the shell reports for a program whose reader went away."""


def hoist(words: Sequence[str]) -> list[str]:
    """Root options given after the subcommand, moved before it. Raises UsageError for `--workspace` without a folder."""
    front: list[str] = []
    rest: list[str] = []
    left = iter(words)
    for word in left:
        if word == "--":
            rest += [word, *left]
        elif word in FLAGS or word.startswith("--workspace="):
            front.append(word)
        elif word == "--workspace":
            folder = next(left, None)
            if folder is None or folder.startswith("-"):
                raise UsageError("--workspace needs a folder", hint="for example --workspace ~/birds")
            front += [word, folder]
        else:
            rest.append(word)
    return front + rest


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code, and never raises anything but SystemExit."""
    prepare_streams()
    words = list(sys.argv[1:] if argv is None else argv)
    options = words[: words.index("--")] if "--" in words else words
    session = Session(json="--json" in options, quiet="--quiet" in options or "-q" in options, debug="--debug" in options)
    try:
        return _run(words, session)
    except ReaderGone:
        return BROKEN_PIPE


def _run(words: list[str], session: Session) -> int:
    """The exit code of a command. Raises ReaderGone."""
    try:
        code = app(hoist(words), prog_name="stackgan", standalone_mode=False, obj=session)
        if code == Exit.INTERRUPTED:  # how Typer reports a Ctrl-C
            raise KeyboardInterrupt
        session.finish()
    except ReaderGone:
        raise
    except (KeyboardInterrupt, typer.Abort):
        return session.fail(UserError("interrupted", code=Exit.INTERRUPTED))
    except Exception as error:
        problem = _as_user_error(error, session)
        try:
            return session.fail(problem)
        except UserError:  # standard output cannot be written to; the message is already on the standard error
            return int(problem.code)
    return code if isinstance(code, int) else 0


def _as_user_error(error: Exception, session: Session) -> UserError:
    """The error to show for whatever escaped from a command."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, UsageProblem):
        context = getattr(error, "ctx", None)
        path = context.command_path if context is not None else "stackgan"
        message = error.format_message()  # type: ignore[attr-defined]
        return UsageError(message, hint=f"{path} --help")
    if isinstance(error, BrokenPipeError):  # help and version are written by Typer
        discard(sys.stdout)
        raise ReaderGone from error
    if isinstance(error, UnicodeEncodeError) and any("\ud800" <= character <= "\udfff" for character in error.object):
        return UsageError(f"{error.object[:80]!r} is not UTF-8 text", hint="use a UTF-8 terminal, or rename the file")
    if isinstance(error, RuntimeError) and "home directory" in str(error):  # Path.expanduser of a user who does not exist
        return UsageError("a path begins with ~ and a name that is not a user's", hint="write ./~NAME for a file of that name")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS):
        return EnvironmentProblem(os.strerror(error.errno).lower(), where=error.filename or "")
    if is_out_of_memory(error):
        return EnvironmentProblem(
            "out of memory", hint="end other programs, work on fewer images at a time, or use a machine with more memory"
        )
    return _crash(error, session)


def _crash(error: Exception, session: Session) -> UserError:
    """A bug of ours: the traceback goes into a file (onto the screen with --debug)."""
    text = "".join(traceback.format_exception(error))
    if session.debug:
        sys.stderr.write(text)
    import tempfile
    from pathlib import Path

    path = Path(tempfile.gettempdir()) / f"stackgan-crash-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    where = f"the traceback is in {path}"
    try:
        report = f"stackgan {__version__}, Python {sys.version}\n{sys.argv}\n\n{text}"
        path.write_text(report, encoding="utf-8", errors="backslashreplace")
    except OSError as problem:
        where = f"the traceback could not be written to {path} ({problem.strerror}); --debug shows it"
    message = str(error).splitlines()[0] if str(error) else ""
    return UserError(f"this is a bug: {type(error).__name__}: {message}", hint=f"{where}; please report it", code=Exit.BUG)


if __name__ == "__main__":
    sys.exit(main())
