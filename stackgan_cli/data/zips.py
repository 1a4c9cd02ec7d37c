"""ZIP archives from elsewhere: only those that every reader understands in the same way, and that unpack to a bounded size."""

from __future__ import annotations

import zipfile
from collections import Counter

LARGEST = 64 << 30
"""Bytes that an archive may hold when it is unpacked."""
MOST_MEMBERS = 1_000_000
_END = b"PK\5\6"
_END_SIZE = 22


class BadArchive(Exception):
    """The archive is ambiguous or too large; the message says why."""


def check_zip(archive: zipfile.ZipFile, *, largest: int = LARGEST, most: int = MOST_MEMBERS) -> None:
    """Raise BadArchive if names occur twice, data comes before or after the archive, or it holds more than the limits."""
    members = archive.infolist()
    if len(members) > most:
        raise BadArchive(f"it has {len(members):,} members, and the limit is {most:,}")
    name, times = Counter(info.filename for info in members).most_common(1)[0] if members else ("", 0)
    if times > 1:
        raise BadArchive(f"it has {times} members called {name!r}")
    size = sum(info.file_size for info in members)
    if size > largest:
        raise BadArchive(f"it unpacks to {size:,} bytes, and the limit is {largest:,}")
    file = archive.fp
    assert file is not None
    file.seek(0, 2)
    file.seek(max(0, file.tell() - _END_SIZE - len(archive.comment)))
    if file.read(len(_END)) != _END:
        raise BadArchive("there is data after its end")
    if members and min(info.header_offset for info in members) > 0:
        raise BadArchive("there is data before its beginning")
