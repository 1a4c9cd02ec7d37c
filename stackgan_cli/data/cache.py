"""The HDF5 cache: one file with the images, captions, classes, boxes, parts and attributes of a prepared dataset.

Names and types, all datasets contiguous (so that they can be read by memmap, without a call into HDF5):

    /images           fit 'squash': uint8 (N, S, S, 3). fit 'keep': uint8 (bytes,), all images concatenated
    /image_offsets    fit 'keep': int64 (N + 1,), first byte of each image
    /image_sizes      fit 'keep': int32 (N, 2), height and width
    /class_ids        int32 (N,), index into class_names, -1 if it has no class
    /split            uint8 (N,), 0 train, 1 test
    /boxes            float32 (N, 4), x, y, width, height in pixels of the cached image, NaN if it has no box; absent when no image has one
    /parts            float32 (N, 15, 3), x, y, visible; absent when no image has parts
    /caption_offsets  int64 (N + 1,), first caption of each image
    /captions, /names, /class_names, /skipped_names, /skipped_reasons, /attributes/KEY
                      strings: a group of `utf8` (bytes,) uint8 and `ends` (count,) int64

Attributes: format, version, dataset, image_size, fit, crop, filter, source (JSON), request (hash of the inputs and settings of `prepare`),
identity (hash of the contents) and, written last, complete.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from stackgan_cli.errors import DataError, EnvironmentProblem
from stackgan_cli.files import sync

FORMAT, VERSION = "stackgan-cache", 1
SPLITS = ("train", "test")
PREPARE_AGAIN = "prepare it again with --force"
_SIGNATURE = b"\x89HDF\r\n\x1a\n"


@contextmanager
def hdf5_errors(path: Path) -> Iterator[None]:
    """Turn whatever h5py raises about `path` into a DataError, or an EnvironmentProblem when the disk is full."""
    try:
        yield
    except KeyError as error:
        raise DataError(f"is missing a part ({error.args[0]})", where=path, hint=PREPARE_AGAIN) from None
    except (OSError, RuntimeError, ValueError, TypeError) as error:
        text = str(error)
        if "No space left" in text or "errno = 28" in text:
            raise disk_full(path) from None
        raise DataError(f"cannot be read: {text}", where=path, hint=PREPARE_AGAIN) from None


def disk_full(path: Path) -> EnvironmentProblem:
    """The error for a file system that has no room for `path`."""
    return EnvironmentProblem(
        "the disk is full", where=path, hint="free some space, or choose another location with --workspace, and run again"
    )


def open_hdf5(path: Path, kind: str, version: int) -> h5py.File:
    """Open one of our files for reading after checking its format, version and completeness. Raises DataError."""
    if not path.is_file():
        raise DataError("there is no such file", where=path, hint="`stackgan prepare demo` or `stackgan prepare cub` makes a cache")
    try:
        with path.open("rb") as file:
            signature = file.read(len(_SIGNATURE))
        if signature != _SIGNATURE:
            raise DataError("is not an HDF5 file", where=path, hint="give a cache made by `stackgan prepare`")
        file = h5py.File(path, "r", locking=False)
    except OSError as error:
        if isinstance(error, PermissionError):
            raise DataError("cannot be read: permission denied", where=path) from None
        size = path.stat().st_size
        raise DataError(f"is truncated or damaged ({size:,} bytes found)", where=path, hint=PREPARE_AGAIN) from None
    if file.attrs.get("format") != kind:
        file.close()
        raise DataError(f"is an HDF5 file, but not a {kind!r} file", where=path, hint="give a file made by `stackgan prepare`")
    found = file.attrs.get("version")
    if found != version:
        file.close()
        raise DataError(f"has version {found}, but this program reads version {version}", where=path, hint=PREPARE_AGAIN)
    if not file.attrs.get("complete", False):
        file.close()
        raise DataError("is incomplete", where=path, hint=PREPARE_AGAIN)
    return file


def place_of(file: h5py.File, name: str) -> tuple[int, tuple[int, ...], np.dtype]:
    """(byte offset, shape, dtype) of a contiguous dataset, checked to lie inside the file. Raises DataError."""
    dataset = file[name]
    offset = dataset.id.get_offset()
    if dataset.chunks is not None or (offset is None and dataset.size):
        raise DataError(f"{name} is not stored in one piece", where=file.filename, hint=PREPARE_AGAIN)
    if offset is not None and offset + dataset.nbytes > Path(file.filename).stat().st_size:
        raise DataError(f"is truncated: {name} ends beyond the end of the file", where=file.filename, hint=PREPARE_AGAIN)
    return offset or 0, dataset.shape, dataset.dtype


def read_strings(group: h5py.Group) -> list[str]:
    """The strings of a group written by `_write_strings`."""
    raw, ends = group["utf8"][()].tobytes(), group["ends"][()].tolist()
    return [raw[start:end].decode() for start, end in zip([0, *ends], ends, strict=False)]


@dataclass(eq=False)
class Cache:
    """A prepared dataset, open for reading. Images are read through a memmap, captions on first use."""

    path: Path
    dataset: str
    image_size: int
    fit: str
    crop: str
    identity: str
    request: str
    class_names: list[str]
    caption_offsets: np.ndarray
    """(N + 1,) int64: captions of image i are `captions[caption_offsets[i]:caption_offsets[i + 1]]`."""
    class_ids: np.ndarray
    """(N,) int64, -1 if it has no class."""
    boxes: np.ndarray | None
    """(N, 4) float32: x, y, width, height in pixels of the cached image, NaN where unknown."""
    parts: np.ndarray | None
    """(N, 15, 3) float32: x, y, visible."""
    source: dict[str, Any]
    skipped: list[tuple[str, str]]
    """(name, reason) of images that were left out."""
    _split: np.ndarray = field(repr=False)
    _images_offset: int = field(repr=False)
    _images_shape: tuple[int, ...] = field(repr=False)
    _image_offsets: np.ndarray | None = field(default=None, repr=False)
    _image_sizes: np.ndarray | None = field(default=None, repr=False)

    @classmethod
    def open(cls, path: Path) -> Cache:
        """Open and validate. Raises DataError for a file that is missing, not a cache, of another version, incomplete or truncated."""
        with open_hdf5(path, FORMAT, VERSION) as file, hdf5_errors(path):
            offset, shape, dtype = place_of(file, "images")
            attrs = file.attrs
            keep = attrs["fit"] == "keep"
            cache = cls(
                path=path,
                dataset=attrs["dataset"],
                image_size=int(attrs["image_size"]),
                fit=attrs["fit"],
                crop=attrs["crop"],
                identity=attrs["identity"],
                request=attrs["request"],
                class_names=read_strings(file["class_names"]),
                caption_offsets=file["caption_offsets"][()],
                class_ids=file["class_ids"][()].astype(np.int64),
                boxes=file["boxes"][()] if "boxes" in file else None,
                parts=file["parts"][()] if "parts" in file else None,
                source=json.loads(attrs["source"]),
                skipped=list(zip(read_strings(file["skipped_names"]), read_strings(file["skipped_reasons"]), strict=True)),
                _split=file["split"][()],
                _images_offset=offset,
                _images_shape=shape,
                _image_offsets=file["image_offsets"][()] if keep else None,
                _image_sizes=file["image_sizes"][()] if keep else None,
            )
            for name in ("captions/utf8", "names/utf8"):
                place_of(file, name)
            lengths = {"names": len(file["names/ends"]), "split": len(cache._split), "caption_offsets": len(cache.caption_offsets) - 1}
            lengths |= {name: len(value) for name, value in (("boxes", cache.boxes), ("parts", cache.parts)) if value is not None}
            if keep:
                assert cache._image_offsets is not None and cache._image_sizes is not None
                lengths |= {"image_sizes": len(cache._image_sizes), "image_offsets": len(cache._image_offsets) - 1}
                wanted: tuple[int, ...] = (int(cache._image_offsets[-1]),)
            else:
                wanted = (cache.num_images, cache.image_size, cache.image_size, 3)
            bad = [name for name, length in lengths.items() if length != cache.num_images]
            if shape != wanted or dtype != np.uint8:
                bad.append("images")
            if len(file["captions/ends"]) != cache.caption_offsets[-1]:
                bad.append("captions")
            if bad:
                raise DataError(f"is damaged: {', '.join(bad)} of the wrong length", where=path, hint=PREPARE_AGAIN)
        return cache

    @property
    def num_images(self) -> int:
        return len(self.class_ids)

    @property
    def num_captions(self) -> int:
        return int(self.caption_offsets[-1])

    @cached_property
    def _pixels(self) -> np.ndarray:
        return np.memmap(self.path, np.uint8, "r", self._images_offset, self._images_shape)

    @property
    def images(self) -> np.ndarray:
        """(N, S, S, 3) uint8, a read-only memmap. Raises DataError for a cache prepared with fit 'keep'."""
        if self.fit != "squash":
            raise DataError("holds images of different sizes (fit 'keep')", where=self.path, hint="prepare it again with --fit squash")
        return self._pixels

    def kept_images(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """For fit 'keep': the bytes of all images, concatenated (a read-only memmap); the first byte of each (N,); height and
        width of each (N, 2)."""
        assert self._image_offsets is not None and self._image_sizes is not None
        return self._pixels, self._image_offsets[:-1], self._image_sizes

    def image(self, row: int) -> np.ndarray:
        """uint8 (H, W, 3) of one image, whatever the layout."""
        if self._image_offsets is None or self._image_sizes is None:
            return np.asarray(self._pixels[row])
        height, width = self._image_sizes[row]
        return np.asarray(self._pixels[self._image_offsets[row] : self._image_offsets[row + 1]]).reshape(height, width, 3)

    def _strings(self, name: str) -> list[str]:
        with open_hdf5(self.path, FORMAT, VERSION) as file, hdf5_errors(self.path):
            return read_strings(file[name])

    @cached_property
    def captions(self) -> list[str]:
        """All captions, in the order of the images."""
        return self._strings("captions")

    @cached_property
    def names(self) -> list[str]:
        """`class_folder/image_name` of every image."""
        return self._strings("names")

    @cached_property
    def attributes(self) -> dict[str, list[str]]:
        """The values of each attribute, one per image; an empty string where an image has none."""
        with open_hdf5(self.path, FORMAT, VERSION) as file, hdf5_errors(self.path):
            return {key: read_strings(group) for key, group in file["attributes"].items()}

    def rows(self, split: str) -> np.ndarray:
        """(M,) int64: row numbers of `train`, `test` or `all`, ascending. Raises DataError for another name."""
        if split == "all":
            return np.arange(self.num_images)
        if split not in SPLITS:
            raise DataError(f"there is no split {split!r}", where=self.path, hint="use train, test or all")
        return np.flatnonzero(self._split == SPLITS.index(split))

    def summary(self) -> dict[str, Any]:
        """What `stackgan info` shows."""
        counts = np.diff(self.caption_offsets)
        return {
            "kind": "cache",
            "path": str(self.path),
            "dataset": self.dataset,
            "images": self.num_images,
            "train": len(self.rows("train")),
            "test": len(self.rows("test")),
            "classes": len(self.class_names),
            "captions": self.num_captions,
            "captions_per_image": [int(counts.min()), int(counts.max())],
            "image_size": self.image_size,
            "fit": self.fit,
            "crop": self.crop,
            "boxes": self.boxes is not None,
            "parts": self.parts is not None,
            "attributes": sorted(self.attributes),
            "skipped": len(self.skipped),
            "source": self.source,
            "identity": self.identity,
            "bytes": self.path.stat().st_size,
        }


# -- writing ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Strings:
    """`count` strings with `num_bytes` UTF-8 bytes in total, written one at a time, so they need not fit in memory together."""

    texts: Iterable[str]
    count: int
    num_bytes: int

    @classmethod
    def of(cls, texts: Sequence[str]) -> Strings:
        return cls(texts, len(texts), sum(len(text.encode()) for text in texts))


@dataclass(frozen=True)
class Columns:
    """Everything in a cache except its pixels, for `write_columns`."""

    attrs: Mapping[str, str | int]
    arrays: Mapping[str, np.ndarray]
    strings: Mapping[str, Strings]


def create_images(path: Path, shape: tuple[int, ...]) -> int:
    """Create a cache file that only reserves space for uint8 images of `shape`. Returns the byte offset of that space."""
    with hdf5_errors(path), h5py.File(path, "w", libver=("earliest", "v110")) as file:
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        properties.set_layout(h5py.h5d.CONTIGUOUS)
        properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
        properties.set_obj_track_times(False)
        dataset = h5py.h5d.create(file.id, b"images", h5py.h5t.NATIVE_UINT8, h5py.h5s.create_simple(shape), properties)
        offset: int = dataset.get_offset()
    return offset


def write_columns(path: Path, columns: Columns) -> None:
    """Add the columns to a file from `create_images` once its pixels are written, mark it complete and sync it."""
    with hdf5_errors(path), h5py.File(path, "r+", libver=("earliest", "v110")) as file:
        for name, array in columns.arrays.items():
            file.create_dataset(name, data=array)
        file.create_group("attributes")
        for name, strings in columns.strings.items():
            _write_strings(file.create_group(name), strings)
        file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
        for key, value in columns.attrs.items():
            file.attrs[key] = value
        file.attrs["complete"] = True
    sync(path)


def _write_strings(group: h5py.Group, strings: Strings) -> None:
    target = group.create_dataset("utf8", (strings.num_bytes,), np.uint8)
    ends = np.zeros(strings.count, np.int64)
    start = end = 0
    block = bytearray()
    for i, text in enumerate(strings.texts):
        block += text.encode()
        ends[i] = end = start + len(block)
        if len(block) > 1 << 20:
            target[start:end] = np.frombuffer(bytes(block), np.uint8)
            start, block = end, bytearray()
    if block:
        target[start:end] = np.frombuffer(bytes(block), np.uint8)
    group.create_dataset("ends", data=ends)
