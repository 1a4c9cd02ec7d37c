"""The unfinished cache of `prepare`: a file that already has its final layout, and a journal of the images written so far.

A chunk of images is entered into the journal only after its pixels are on the disk, so a run that was killed at any moment, even by
a power failure, resumes from there and ends with the same bytes.
"""

from __future__ import annotations

import base64
import errno
import fcntl
import json
import os
import shutil
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from stackgan_cli.data.cache import create_images, disk_full
from stackgan_cli.data.workers import Outcome
from stackgan_cli.errors import DataError, EnvironmentProblem

SYNC_SECONDS = 1.0
MARGIN_BYTES = 1 << 24
"""Free space required in addition to the pixels, for captions and other columns."""


def partial_path(path: Path) -> Path:
    """Where a cache is built before it gets its final name."""
    return path.with_name(f".{path.name}.partial")


def journal_path(path: Path) -> Path:
    """Where the journal of an unfinished cache is kept."""
    return path.with_name(f".{path.name}.journal")


class Partial:
    """An unfinished cache, new or resumed. `done` maps the chunks that are already in it to their outcomes.

    Raises EnvironmentProblem when there is not enough disk space, DataError when another process is building the same cache.
    """

    def __init__(self, destination: Path, shape: tuple[int, ...], num_bytes: int, request: str) -> None:
        self.path, self.journal = partial_path(destination), journal_path(destination)
        self.packed = destination.with_name(f".{destination.name}.packed")
        """Where the readable images are copied to when some could not be read."""
        self.num_bytes = num_bytes
        self.done: dict[int, list[Outcome]] = {}
        self._journal = self.journal.open("a+b")
        self._lock(destination)
        self._pool = ThreadPoolExecutor(1)
        self._flushing: Future[None] | None = None
        self._pending: list[bytes] = []
        self._flushed = time.monotonic()
        key: dict[str, object] = {"request": request, "shape": list(shape)}
        try:
            if not self._resume(key):
                self._begin(destination, shape, key)
            self._data = os.open(self.path, os.O_RDWR)
        except BaseException:
            self._journal.close()
            raise

    def _lock(self, destination: Path) -> None:
        try:
            fcntl.flock(self._journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._journal.close()
            raise DataError("another process is preparing this cache", where=destination, hint="wait for it to finish") from None
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):  # a file system without locks
                raise

    def _resume(self, key: dict[str, object]) -> bool:
        """Read the journal. False when there is none, it belongs to another request, or the file does not match it."""
        self._journal.seek(0)
        lines = self._journal.read().split(b"\n")[:-1]  # anything after the last newline is an incomplete line
        try:
            head = json.loads(lines[0])
            header = base64.b64decode(head["header"])
            self.offset = len(header)
            if head["key"] != key or self.path.stat().st_size < self.offset + self.num_bytes:
                return False
            chunks = [json.loads(line) for line in lines[1:]]
        except (IndexError, KeyError, TypeError, ValueError, OSError):
            return False
        for number, outcomes in chunks:
            self.done[number] = [outcome if isinstance(outcome, str) else (outcome[0], outcome[1]) for outcome in outcomes]
        # The last run may have been killed while it added the columns: restore the file as it was before.
        with self.path.open("r+b") as file:
            file.write(header)
            file.truncate(self.offset + self.num_bytes)
        self._journal.truncate(sum(len(line) + 1 for line in lines))
        return True

    def _begin(self, destination: Path, shape: tuple[int, ...], key: dict[str, object]) -> None:
        self._journal.truncate(0)
        self.path.unlink(missing_ok=True)
        check_space(destination, self.num_bytes)
        self.offset = create_images(self.path, shape)
        with self.path.open("r+b") as file:
            header = file.read(self.offset)
            reserve(file.fileno(), self.offset + self.num_bytes, destination)
        line = json.dumps({"key": key, "header": base64.b64encode(header).decode()})
        self._journal.write(line.encode() + b"\n")
        self._journal.flush()

    def record(self, chunk: int, outcomes: list[Outcome]) -> None:
        """Record a finished chunk; it enters the journal with the next sync, about once a second, in the background."""
        self._pending.append(json.dumps([chunk, outcomes]).encode() + b"\n")
        if self._flushing is not None and self._flushing.done():
            self._flushing.result()
            self._flushing = None
        if self._flushing is None and time.monotonic() - self._flushed > SYNC_SECONDS:
            pending, self._pending = self._pending, []
            self._flushing = self._pool.submit(self._flush, pending)

    def _flush(self, lines: list[bytes]) -> None:
        os.fsync(self._data)
        self._journal.write(b"".join(lines))
        self._journal.flush()
        os.fsync(self._journal.fileno())
        self._flushed = time.monotonic()

    def flush(self) -> None:
        """Sync the pixels, then enter every finished chunk into the journal."""
        if self._flushing is not None:
            self._flushing.result()
            self._flushing = None
        pending, self._pending = self._pending, []
        self._flush(pending)

    def discard(self) -> None:
        """Remove all files except the destination, after the cache has been published."""
        for path in (self.path, self.packed, self.journal):
            path.unlink(missing_ok=True)

    def __enter__(self) -> Partial:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown()
        os.close(self._data)
        self._journal.close()


def check_space(destination: Path, num_bytes: int) -> None:
    """Raise EnvironmentProblem when the file system of `destination` has less space than `num_bytes` and a margin."""
    free = shutil.disk_usage(destination.parent).free
    if free < num_bytes + MARGIN_BYTES:
        raise EnvironmentProblem(
            f"the cache needs {(num_bytes + MARGIN_BYTES) / 2**20:,.0f} MiB, but only {free / 2**20:,.0f} MiB are free on this disk",
            where=destination,
            hint="free some space, or choose another location with --workspace",
        )


def reserve(descriptor: int, num_bytes: int, destination: Path) -> None:
    """Have the file system reserve `num_bytes`, so that a full disk is noticed immediately. Raises EnvironmentProblem."""
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(descriptor, 0, num_bytes)
    except OSError as error:
        if error.errno in FULL:
            raise disk_full(destination) from None
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # a file system that cannot reserve
            raise


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers for a full disk or an exceeded quota."""
