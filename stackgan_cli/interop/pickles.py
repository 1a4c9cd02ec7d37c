"""Pickles and PyTorch checkpoints from other projects, read without executing any of their code.

The published StackGAN datasets contain lists of names and arrays pickled by Python 2. Only the names that those need are allowed; a pickle
with any other name is rejected. Checkpoints are read by torch.load(weights_only=True).
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
"""Exceptions that unpickling arbitrary bytes may raise."""


class _Forbidden(Exception):
    """The pickle names something that is not in the list below."""


class _Marker:
    """Replaces `numpy.ndarray` in a pickle, where it is only an argument."""


def _empty_array(*_: object) -> np.ndarray:
    """`numpy.core.multiarray._reconstruct`: an array that the pickle fills later. The requested shape is ignored."""
    return np.empty(0, np.int8)


def _scalar(dtype: np.dtype, data: bytes | str) -> Any:
    """`numpy.core.multiarray.scalar` for plain numbers."""
    if dtype.hasobject:
        raise _Forbidden("numpy.object_")
    raw = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(raw, dtype, 1)[0]


def _encode(text: str, encoding: str) -> bytes:
    """`_codecs.encode`, which Python 3 uses to write bytes in old protocols."""
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


class _Unpickler(pickle._Unpickler):  # the Python version: in the C one, a few damaged bytes can allocate gigabytes for the memo
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise _Forbidden(f"{module}.{name}") from None


def read_pickle(path: Path) -> Any:
    """Read a pickle of lists, tuples, dicts, strings, numbers and numpy arrays; byte strings of Python 2 are decoded as latin-1.

    Raises UsageError when there is no such file, DataError when it is damaged or names anything else.
    """
    if not path.is_file():
        raise UsageError("no such file", where=path)
    try:
        return _Unpickler(io.BytesIO(path.read_bytes()), encoding="latin1").load()
    except _Forbidden as error:
        raise DataError(
            f"this pickle uses {error}, which could run code; it was rejected", where=path, hint="only lists, text and arrays are supported"
        ) from None
    except _DAMAGED as error:
        raise DataError(f"not a readable pickle ({type(error).__name__}: {error})", where=path, hint="download it again") from None


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.pth` state dict by name, on the CPU, without `module.` prefixes. It may be nested under the key `state_dict`.

    Raises UsageError when there is no such file, DataError when it is damaged, contains anything other than tensors, or contains none.
    """
    if not path.is_file():
        raise UsageError("no such file", where=path)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = "contains more than tensors, which could run code; it was rejected" if "Weights only" in str(error) else "is damaged"
        raise DataError(
            f"this checkpoint {reason}", where=path, hint="save only its state dict: torch.save(network.state_dict(), path)"
        ) from None
    except (RuntimeError, *_DAMAGED) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"not a readable PyTorch file ({first})", where=path, hint="download it again") from None
    if isinstance(loaded, dict) and isinstance(loaded.get("state_dict"), dict):
        loaded = loaded["state_dict"]
    state = {str(key): value for key, value in loaded.items() if isinstance(value, Tensor)} if isinstance(loaded, dict) else {}
    if not state:
        raise DataError("this PyTorch file contains no state dict", where=path, hint="give a mapping of names to tensors")
    return {key.removeprefix("module."): value for key, value in state.items()}
