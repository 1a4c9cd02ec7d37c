"""Pickles and PyTorch checkpoints of other projects, read without letting them run anything.

The published StackGAN datasets hold lists of names and arrays pickled by Python 2. Only what those need is let through; every other name in
a pickle is refused. Checkpoints go through torch.load(weights_only=True).
"""

from __future__ import annotations

import io
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stackgan_cli.errors import DataError, UsageError

_DAMAGED = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    OverflowError,
    MemoryError,
    RecursionError,
    AssertionError,
    struct.error,
)
"""What unpickling random bytes may raise."""


class _Forbidden(Exception):
    """The pickle names something that is not in the short list below."""


class _Marker:
    """Stands for `numpy.ndarray` in a pickle, where it is only an argument."""


def _empty_array(*_: object) -> np.ndarray:
    """`numpy.core.multiarray._reconstruct`: an array that the pickle then fills. The shape it asks for is ignored."""
    return np.empty(0, np.int8)


def _scalar(dtype: np.dtype, data: bytes | str) -> Any:
    """`numpy.core.multiarray.scalar` for plain numbers."""
    if dtype.hasobject:
        raise _Forbidden("numpy.object_")
    raw = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(raw, dtype, 1)[0]


def _encode(text: str, encoding: str) -> bytes:
    """`_codecs.encode`, by which Python 3 writes bytes in old protocols."""
    if encoding != "latin1":
        raise _Forbidden(f"_codecs.encode to {encoding!r}")
    return text.encode("latin1")


_ALLOWED: dict[tuple[str, str], Any] = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _empty_array for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    ("numpy", "ndarray"): _Marker,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): _encode,
}


class _Unpickler(pickle._Unpickler):  # the one in Python: the C one lets a few bytes of a damaged file allocate gigabytes for its memo
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _Forbidden(f"{module}.{name}") from None


def read_pickle(path: Path) -> Any:
    """Lists, tuples, dicts, strings, numbers and numpy arrays of a pickle; byte strings of Python 2 are read as latin-1.

    Raises UsageError when there is no such file, DataError when it is damaged or names anything else.
    """
    if not path.is_file():
        raise UsageError("no such file", where=path)
    try:
        return _Unpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except _Forbidden as error:
        raise DataError(
            f"this pickle asks for {error}, which could run code, and was refused", where=path, hint="only lists, text and arrays are read"
        ) from None
    except _DAMAGED as error:
        raise DataError(f"not a readable pickle ({type(error).__name__}: {error})", where=path, hint="download it again") from None


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.pth` state dict by name, on the CPU, without `module.` prefixes; also from under a key `state_dict`.

    Raises UsageError when there is no such file, DataError when it is damaged, holds more than tensors, or none.
    """
    if not path.is_file():
        raise UsageError("no such file", where=path)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = "holds more than tensors, which could run code, and was refused" if "Weights only" in str(error) else "is damaged"
        raise DataError(
            f"this checkpoint {reason}", where=path, hint="save its state dict alone: torch.save(network.state_dict(), path)"
        ) from None
    except (RuntimeError, *_DAMAGED) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"not a readable PyTorch file ({first})", where=path, hint="download it again") from None
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    state = {str(key): value for key, value in loaded.items() if isinstance(value, Tensor)} if isinstance(loaded, dict) else {}
    if not state:
        raise DataError("this PyTorch file holds no state dict", where=path, hint="a mapping of names to tensors is needed")
    return {key.removeprefix("module."): value for key, value in state.items()}
