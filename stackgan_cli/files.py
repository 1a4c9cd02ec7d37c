"""Atomic writing: a killed process or a full disk never leaves an incomplete file under its final name."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stackgan_cli.errors import EnvironmentProblem


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to `path`; on success the file is synced and renamed to `path`, on failure it is removed.

    Raises EnvironmentProblem (exit 6) if the disk is full or the folder is not writable.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        sync(temporary)
        publish(temporary, path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise EnvironmentProblem("the disk is full", where=path, hint="free some space and run the same command again") from None
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise EnvironmentProblem("this folder is not writable", where=path.parent, hint="choose another --workspace") from None
        raise
    finally:
        temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until the contents of a file, or the entries of a folder, have been written to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(temporary: Path, path: Path) -> None:
    """Give a finished, synced file its final name."""
    temporary.replace(path)
    sync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Atomically write UTF-8 text."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Atomically write indented JSON. Names of files that are not UTF-8 are kept as escapes."""
    text = json.dumps(value, indent=1, ensure_ascii=False)
    if not _is_utf8(text):
        text = json.dumps(value, indent=1)
    write_text(path, text + "\n")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
