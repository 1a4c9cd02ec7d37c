"""What a file is, judged by its first bytes, if it cannot contain weights: browsers and hosts save many other things under such names."""

from __future__ import annotations

import tarfile
from pathlib import Path

from stackgan_cli.errors import DataError, UsageError

AGAIN = "download it again; if the result is the same, open its address in a browser"
_MAGIC = {
    b"version https://git-lfs": ("is a Git LFS pointer, not the file itself", "run `git lfs pull` in its repository, or download the file"),
    b"\x89PNG": ("is a PNG image, not weights", ""),
    b"\xff\xd8\xff": ("is a JPEG image, not weights", ""),
    b"GIF8": ("is a GIF image, not weights", ""),
    b"%PDF": ("is a PDF document, not weights", ""),
    b"\x89HDF\r\n": ("is an HDF5 file, which is not supported", "save the tensors as a PyTorch state dict"),
    b"\x1f\x8b": ("is compressed with gzip", "unpack it, and give the file inside it"),
    b"Rar!": ("is a RAR archive", "unpack it, and give the file inside it"),
    b"7z\xbc\xaf": ("is a 7z archive", "unpack it, and give the file inside it"),
    b"\x93NUMPY": ("is a single NumPy array, not weights", ""),
}
_LEGACY = {"sys_info", "storages", "tensors", "pickle"}
"""Members of the archives that PyTorch wrote before version 0.1.10."""


def refuse_other_files(path: Path) -> None:
    """Raise UsageError if there is no such file, and DataError if its first bytes show that it is something other than weights."""
    if path.is_dir():
        raise DataError("is a folder, not a file", where=path, hint="give the file inside it")
    if not path.is_file():
        raise UsageError("no such file", where=path)
    with path.open("rb") as file:
        head = file.read(512)
    if not head:
        raise DataError("is an empty file", where=path, hint=AGAIN)
    for magic, (what, hint) in _MAGIC.items():
        if head.startswith(magic):
            raise DataError(what, where=path, hint=hint or "give a file of weights")
    text = head.decode("utf-8", "ignore").lstrip("\ufeff \t\r\n").lower()
    if text.startswith(("<!doctype", "<html", "<head", "<?xml", "<body")):
        raise DataError("is a web page, not weights", where=path, hint=f"file hosts often save a notice instead of the file: {AGAIN}")
    if head.isascii() and all(byte >= 32 or byte in b"\t\r\n\f" for byte in head):
        raise DataError(f"is a text file, not weights (it begins with {text[:24]!r})", where=path, hint=AGAIN)
    if head[257:262] == b"ustar":
        _refuse_tar(path)


def _refuse_tar(path: Path) -> None:
    try:
        with tarfile.open(path, "r:") as tar:
            first = [member.name.removeprefix("./") for member, _ in zip(tar, range(8), strict=False)]
    except (tarfile.TarError, OSError, ValueError):
        raise DataError("is a damaged tar archive", where=path, hint=AGAIN) from None
    if _LEGACY.intersection(first):
        raise DataError(
            "was saved by PyTorch before 0.1.10 as a tar archive, a format that is not supported",
            where=path,
            hint="load it in an old PyTorch (up to 2.5), and save its state dict with torch.save",
        )
    raise DataError("is a tar archive, not weights", where=path, hint="unpack it, and give the file inside it")
