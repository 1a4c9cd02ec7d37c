"""Download a file over HTTP, with resume, and unpack untrusted archives safely."""

from __future__ import annotations

import hashlib
import http.client
import os
import shutil
import stat
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from stackgan_cli.data.cache import disk_full
from stackgan_cli.data.journal import FULL, check_space
from stackgan_cli.data.zips import LARGEST, MOST_MEMBERS, BadArchive, check_zip
from stackgan_cli.errors import DataError, EnvironmentProblem
from stackgan_cli.files import sync

BLOCK = 1 << 20
Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in total)."""


@dataclass(frozen=True)
class Remote:
    """A file to fetch. `digest` is `sha256:HEX` or `md5:HEX`, as its publisher states it, or its first digits if only those are known."""

    url: str
    file_name: str
    size: int
    digest: str


def download(remote: Remote, folder: Path, progress: Progress | None = None, *, attempts: int = 4, timeout: float = 30.0) -> Path:
    """Download `remote` into `folder`, verify its size and digest, and return its path. A partial file from an earlier run is resumed.

    A different file of that name is never overwritten. Raises EnvironmentProblem when the server cannot be reached or the disk is full,
    DataError when the server sends a different file or one is in the way.
    """
    path = folder / remote.file_name
    if os.path.lexists(path):
        if path.is_file() and matches(path, remote):
            return path
        raise DataError(
            f"is not the published file ({remote.size:,} bytes, {remote.digest}); it was left as it is",
            where=path,
            hint="move it elsewhere or delete it, and run the same command again",
        )
    part = folder / f"{remote.file_name}.part"
    with _disk_errors(part):
        folder.mkdir(parents=True, exist_ok=True)
        for attempt in range(attempts):
            have = part.stat().st_size if part.exists() else 0
            if have >= remote.size:
                break
            check_space(part, remote.size - have)
            try:
                _fetch(remote, part, have, progress, timeout)
            except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
                refused = isinstance(error, urllib.error.HTTPError) and error.code < 500
                if refused or attempt == attempts - 1:
                    raise _unreachable(remote, folder, error) from None
                time.sleep(0.5 * 2**attempt)
        _verify(remote, part)
        sync(part)
        part.replace(path)
    return path


def matches(path: Path, remote: Remote) -> bool:
    """Whether a file has the size and digest of `remote`."""
    return path.stat().st_size == remote.size and _digest(path, remote.digest) == remote.digest


def _fetch(remote: Remote, part: Path, have: int, progress: Progress | None, timeout: float) -> None:
    """One request for everything after the first `have` bytes."""
    request = urllib.request.Request(remote.url, headers={"User-Agent": "stackgan", "Accept-Encoding": "identity"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=timeout) as response:
        continued = response.status == 206 and response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        done = have if continued else 0  # a server without range requests sends everything again
        with part.open("ab" if continued else "wb") as file:
            while block := response.read(BLOCK):
                file.write(block)
                done += len(block)
                if progress is not None:
                    progress(done, remote.size)
                if done > remote.size:
                    break
    if done < remote.size:
        raise ConnectionError(f"the connection ended after {done:,} of {remote.size:,} bytes")


def _unreachable(remote: Remote, folder: Path, error: Exception) -> EnvironmentProblem:
    reason = getattr(error, "reason", None) or error
    return EnvironmentProblem(
        f"cannot be downloaded: {reason}",
        where=remote.url,
        hint=f"run the same command again to continue, or download it some other way and save it as {folder / remote.file_name}",
    )


def _verify(remote: Remote, part: Path) -> None:
    size, found = part.stat().st_size, _digest(part, remote.digest)
    if size != remote.size or found != remote.digest:
        part.unlink()
        raise DataError(
            f"is not the published file: {size:,} bytes with {found} instead of {remote.size:,} with {remote.digest}; it was removed",
            where=remote.url,
            hint="run the same command again; if it happens again, the published file has changed or a proxy is replacing it",
        )


def _digest(path: Path, like: str) -> str:
    """The digest of a file, with the same algorithm and number of digits as `like`."""
    kind, _, digits = like.partition(":")
    with path.open("rb") as file:
        return f"{kind}:{hashlib.file_digest(file, kind).hexdigest()[: len(digits)]}"


@contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise disk_full(path) from None
        raise DataError(f"cannot be written: {error.strerror or error}", where=path) from None


# -- archives ---------------------------------------------------------------------------------------------------------------


def extract(archive: Path, folder: Path) -> None:
    """Unpack a tar (with any compression) or zip archive into `folder`; its contents appear there only once all of it is unpacked.

    Contents are merged with what is already there: an existing file stays as it is, whatever the archive has in its place. After an
    error or an interruption, nothing is left of the archive. Only plain files and folders are created; links that stay inside are
    skipped. Raises DataError for a damaged archive, for one with a path or a link that leads out of the folder, for one that is too
    large, and when a file is in the place of a folder.
    """
    with _disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{archive.name}.", suffix=".unpacking", dir=folder))
        try:
            with _archive_errors(archive):
                if zipfile.is_zipfile(archive):
                    _extract_zip(archive, staging)
                else:
                    _extract_tar(archive, staging)
            _check_places(archive, staging, folder)
            _merge(staging, folder)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _check_places(archive: Path, source: Path, target: Path) -> None:
    """Raise DataError if a file is where `source` has a folder, or a folder where it has a file."""
    for entry in source.iterdir():
        place = target / entry.name
        if not os.path.lexists(place):
            continue
        if entry.is_dir() != place.is_dir():
            found, wanted = ("folder", "file") if place.is_dir() else ("file", "folder")
            raise DataError(f"is a {found}, but {archive.name} has a {wanted} of that name", where=place, hint="move it elsewhere")
        if entry.is_dir():
            _check_places(archive, entry, place)


def _merge(source: Path, target: Path) -> None:
    """Move everything in `source` that `target` lacks; on any failure, everything is moved back."""
    moved: list[tuple[Path, Path]] = []
    pending = [(source, target)]
    try:
        while pending:
            here, there = pending.pop()
            for entry in sorted(here.iterdir()):
                place = there / entry.name
                if not os.path.lexists(place):
                    moved.append((entry, place))
                    entry.rename(place)
                elif entry.is_dir():
                    pending.append((entry, place))
    except BaseException:
        for entry, place in reversed(moved):
            if not os.path.lexists(entry):  # the last one may not have been moved yet
                place.rename(entry)
        raise


@contextmanager
def _archive_errors(archive: Path) -> Iterator[None]:
    try:
        yield
    except BadArchive as error:
        raise DataError(f"was rejected: {error}", where=archive, hint="do not use this archive") from None
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, RuntimeError, NotImplementedError) as error:
        raise DataError(f"is damaged, or not an archive: {error}", where=archive, hint="download it again") from None
    except OSError as error:
        if error.errno is not None:  # from the file system; gzip's own errors have no number
            raise
        raise DataError(f"is damaged, or not an archive: {error}", where=archive, hint="download it again") from None


def _inside(archive: Path, name: str) -> PurePosixPath:
    """The relative path of a member. Raises DataError when it leads out of the folder."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name.partition("/")[0] or "\0" in name:
        raise DataError(f"has a member that leads out of its folder: {name!r}", where=archive, hint="do not use this archive")
    return path


def _check_link(archive: Path, name: PurePosixPath, target: str) -> None:
    resolved = os.path.normpath(name.parent / target)
    if PurePosixPath(target).is_absolute() or resolved == ".." or resolved.startswith("../"):
        raise DataError(f"has a link that leads out of its folder: {name} -> {target}", where=archive, hint="do not use this archive")


def _extract_tar(archive: Path, folder: Path) -> None:
    size = 0
    with tarfile.open(archive) as tar:
        for number, member in enumerate(tar, 1):
            size += member.size
            if number > MOST_MEMBERS or size > LARGEST:
                raise BadArchive(f"it holds more than {MOST_MEMBERS:,} members or {LARGEST:,} bytes")
            name = _inside(archive, member.name)
            if member.issym():
                _check_link(archive, name, member.linkname)
            elif member.islnk():
                _inside(archive, member.linkname)
            elif member.isdir():
                (folder / name).mkdir(parents=True, exist_ok=True)
            elif member.isfile():
                source = tar.extractfile(member)
                assert source is not None
                _write(source, folder / name)
            else:
                raise DataError(f"has a member that is neither a file nor a folder: {name}", where=archive, hint="do not use this archive")
        assert tar.fileobj is not None
        while tar.fileobj.read(BLOCK):  # to the end of the compressed data, where the checksum is verified
            pass


def _extract_zip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as files:
        check_zip(files)
        check_space(folder, sum(info.file_size for info in files.infolist()))
        for info in files.infolist():
            name = _inside(archive, info.filename)
            if stat.S_ISLNK(info.external_attr >> 16):
                _check_link(archive, name, files.read(info).decode(errors="replace"))
            elif info.is_dir():
                (folder / name).mkdir(parents=True, exist_ok=True)
            else:
                with files.open(info) as source:
                    _write(source, folder / name)


def _write(source: IO[bytes], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as target:
        shutil.copyfileobj(source, target, BLOCK)
