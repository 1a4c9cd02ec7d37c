"""Which files below a folder are its images.

- Files of the types in `data.image_files`, in the folder and in its subfolders; linked folders too, but every folder only once.
- Not hidden files and folders, nor the folders in which operating systems keep thumbnails and metadata.
- Not the grids that `stackgan sample` wrote next to the images: `grid.png` and `grid-SIDEpx.png`, where a `samples.json` lists images.
- Animations and types that cannot be read are not images, but they are counted in a note.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from stackgan_cli.data.image_files import SUFFIXES
from stackgan_cli.errors import DataError

# fmt: off
NOT_READ = frozenset((
    ".gif", ".mng", ".heic", ".heif", ".hif", ".jxl", ".jxr", ".wdp", ".avifs", ".svg", ".svgz", ".eps", ".ps", ".pdf", ".psd", ".xcf",
    ".ico", ".icns", ".exr", ".hdr", ".dds", ".npy", ".npz", ".mp4", ".webm", ".mov", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw",
    ".orf", ".rw2", ".raf", ".sgi", ".ras", ".xbm", ".xpm", ".fits", ".dcm",
))
# fmt: on
"""File types that may contain images but are not read."""
SIDECAR = "samples.json"
GRID = re.compile(r"grid(-\d+px)?\.png")
SYSTEM_FOLDERS = frozenset(("__MACOSX", "@eaDir"))


def image_files(folder: Path) -> tuple[list[Path], tuple[str, ...]]:
    """(the images below `folder` sorted by path, notes about files that are left out). Raises DataError when there are no images."""
    files: list[Path] = []
    others: Counter[str] = Counter()
    grids = dangling = 0
    for place in _folders(folder):
        own = own_files(place)
        for path in _entries(place):
            suffix = path.suffix.lower()
            if suffix not in SUFFIXES and suffix not in NOT_READ:
                continue
            if not path.is_file():
                dangling += path.is_symlink() and not path.exists()
            elif suffix in NOT_READ:
                others[suffix] += 1
            elif own is not None and GRID.fullmatch(path.name):
                grids += 1
            else:
                files.append(path)
    notes = []
    if others:
        notes.append("files that are not read: " + ", ".join(f"{count} {suffix}" for suffix, count in sorted(others.items())))
    if dangling:
        notes.append(f"links to files that do not exist: {dangling}")
    if not files:
        found = f" ({'; '.join(notes)})" if notes else " (only a grid of them)" if grids else ""
        raise DataError(f"there are no images in this folder{found}", where=folder, hint=f"supported file types are {', '.join(SUFFIXES)}")
    return sorted(files), tuple(notes)


def own_files(folder: Path) -> set[str] | None:
    """Names of the images and grids in `folder` that its `samples.json` tells `stackgan sample` wrote; None without a valid one."""
    try:
        facts: Any = json.loads((folder / SIDECAR).read_text(encoding="utf-8"))
        listed = {entry["file"] for entry in facts["pictures"]}
    except (OSError, ValueError, TypeError, KeyError):
        return None
    names = {path.name for path in folder.iterdir() if not path.is_dir()}
    return {name for name in names if name in listed or GRID.fullmatch(name)}


def _entries(folder: Path) -> list[Path]:
    """What is in a folder except hidden and system files and folders, sorted."""
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.name not in SYSTEM_FOLDERS)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=folder) from None


def _folders(root: Path) -> Iterator[Path]:
    """`root` and the folders below it, linked ones last, none of them twice, and none that contains `root` itself."""
    seen = {_identity(folder) for folder in root.resolve().parents}
    links = [root]
    while links:
        inside = [links.pop(0)]
        while inside:
            folder = inside.pop()
            if (identity := _identity(folder)) in seen:
                continue
            seen.add(identity)
            yield folder
            below = [path for path in _entries(folder) if path.is_dir()]
            inside += [path for path in below if not path.is_symlink()]
            links += [path for path in below if path.is_symlink()]


def _identity(folder: Path) -> tuple[int, int]:
    facts = folder.stat()
    return facts.st_dev, facts.st_ino
