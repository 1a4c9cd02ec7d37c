"""One process per run: a lock file that names its holder.

The lock is an advisory one of the operating system (`flock`), which ends with the process that holds it, even if that is killed. Where the
file system has none, the lock is a second file that can be created by one process only; it is taken over when its holder no longer lives.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stackgan_cli.errors import MismatchError
from stackgan_cli.files import writing

SETTLING_SECONDS = 0.2
"""After taking over the file of a dead process: how long to wait before looking whether another process did so at the same time."""


@contextlib.contextmanager
def exclusive(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file `path` of `what` (for example "run").

    Raises MismatchError (exit 5), naming the holder, if another process holds it, and EnvironmentProblem if it cannot be written.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = _flock(path, what)
        alone = None if descriptor is not None else _create(path.with_name(f"{path.name}-holder"), what)
    try:
        yield
    finally:
        for file in (path, alone):
            if file is not None:
                file.unlink(missing_ok=True)
        if descriptor is not None:
            os.close(descriptor)


def _flock(path: Path, what: str) -> int | None:
    """The descriptor of the locked file; None if the file system has no locks."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _same_file(descriptor, path):
                os.ftruncate(descriptor, 0)
                with contextlib.suppress(OSError):  # a full disk: the holder stays unnamed
                    os.write(descriptor, _me().encode())
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise _busy(path, what) from None
        except OSError:
            os.close(descriptor)
            return None
        os.close(descriptor)  # its last holder has removed it since it was opened


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _create(path: Path, what: str) -> Path:
    """The file, created by this process and by no other."""
    took_over = False
    for _ in range(10):
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        except FileExistsError:
            if not _is_dead(_holder(path)):
                raise _busy(path, what) from None
            path.unlink(missing_ok=True)
            took_over = True
            continue
        try:
            os.write(descriptor, _me().encode())
        except OSError:
            path.unlink(missing_ok=True)
            raise
        finally:
            os.close(descriptor)
        if took_over:
            time.sleep(SETTLING_SECONDS)
            if _holder(path).get("pid") != os.getpid():
                raise _busy(path, what)
        return path
    raise _busy(path, what)


def _me() -> str:
    pid = os.getpid()
    return json.dumps({"host": socket.gethostname(), "pid": pid, "started": _started(pid), "since": time.strftime("%Y-%m-%d %H:%M:%S")})


def _holder(path: Path) -> dict[str, Any]:
    """What the file says about its holder; empty if it says nothing (yet)."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_dead(holder: dict[str, Any]) -> bool:
    """Whether the holder was a process of this machine that no longer lives. Of processes of other machines this is not known."""
    if holder.get("host") != socket.gethostname():
        return False
    pid = holder.get("pid")
    if not isinstance(pid, int) or pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return bool(_started(pid) != holder.get("started"))  # another process may have its number now


def _started(pid: int) -> str:
    """When a process was started, in the units of the system; empty if it does not say."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]


def _busy(path: Path, what: str) -> MismatchError:
    holder = _holder(path)
    who = f": process {holder['pid']} on {holder['host']}, since {holder['since']}" if {"pid", "host", "since"} <= set(holder) else ""
    hint = "wait for it to finish, or stop it"
    if path.name.endswith("-holder"):
        hint += f"; if it no longer runs, delete {path}"
    return MismatchError(f"another process is working on this {what}{who}", where=path.parent, hint=hint)
