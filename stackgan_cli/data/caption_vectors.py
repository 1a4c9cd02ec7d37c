"""Embeddings of all captions of a cache from one text encoder, in a file beside the cache: NAME.<8 hex digits of the encoder hash>.h5.

/vectors is float32 (num_captions, T), row i for `cache.captions[i]`. The file records the encoder and the cache that it belongs to.
"""

from __future__ import annotations

import contextlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from stackgan_cli.data.cache import Cache, hdf5_errors, open_hdf5, place_of
from stackgan_cli.errors import DataError, MismatchError
from stackgan_cli.files import replacing

FORMAT, VERSION = "stackgan-text-vectors", 1
OF_VECTORS = r"\.[0-9a-f]{8}"
"""What follows the name of a cache in the name of a file of its embeddings, as a regular expression."""


@dataclass(frozen=True, eq=False)
class CaptionVectors:
    """Caption embeddings, open for reading."""

    path: Path
    vectors: np.ndarray
    """(num_captions, T) float32, a read-only memmap."""
    encoder: dict[str, Any]
    """The encoder that made them: name, variant, origin of its weights."""
    encoder_hash: str

    @staticmethod
    def path_for(cache_path: Path, encoder_hash: str) -> Path:
        """Path of the embeddings of a cache from one encoder."""
        return cache_path.with_name(f"{cache_path.stem}.{encoder_hash[:8]}.h5")

    @staticmethod
    def find(cache_path: Path) -> list[Path]:
        """All embedding files beside a cache, newest first."""
        pattern = re.compile(re.escape(cache_path.stem) + OF_VECTORS + r"\.h5")
        found = [path for path in cache_path.parent.glob("*.h5") if pattern.fullmatch(path.name)]
        times = {}
        for path in found:
            with contextlib.suppress(FileNotFoundError):  # another process may have removed it
                times[path] = -path.stat().st_mtime_ns
        return sorted(times, key=lambda path: (times[path], path.name))

    @classmethod
    def open(cls, path: Path, cache: Cache) -> CaptionVectors:
        """Open the embeddings of `cache`. Raises DataError for a damaged file, MismatchError when they belong to another cache."""
        with open_hdf5(path, FORMAT, VERSION) as file, hdf5_errors(path):
            offset, shape, dtype = place_of(file, "vectors")
            encoder, encoder_hash = json.loads(file.attrs["encoder"]), file.attrs["encoder_hash"]
            if file.attrs["cache"] != cache.identity:
                raise MismatchError(
                    f"these text embeddings do not belong to the cache {cache.path}", where=path, hint="run `stackgan encode-text` again"
                )
            if len(shape) != 2 or shape[0] != cache.num_captions or dtype != np.float32:
                raise DataError("is damaged: the embeddings have the wrong shape", where=path, hint="run `stackgan encode-text` again")
        return cls(path, np.memmap(path, np.float32, "r", offset, shape), encoder, encoder_hash)

    @staticmethod
    def write(cache: Cache, vectors: np.ndarray, encoder: dict[str, Any], encoder_hash: str) -> Path:
        """Store (num_captions, T) float32 `vectors` beside `cache`, replacing those of the same encoder. Returns the file."""
        if vectors.ndim != 2 or len(vectors) != cache.num_captions:
            raise ValueError(f"expected {cache.num_captions} vectors, got an array of shape {vectors.shape}")
        path = CaptionVectors.path_for(cache.path, encoder_hash)
        with replacing(path) as temporary, h5py.File(temporary, "w") as file:
            file.create_dataset("vectors", data=np.ascontiguousarray(vectors, np.float32))
            file.attrs["format"], file.attrs["version"] = FORMAT, VERSION
            file.attrs["encoder"], file.attrs["encoder_hash"] = json.dumps(encoder, sort_keys=True), encoder_hash
            file.attrs["cache"] = cache.identity
            file.attrs["complete"] = True
        return path
