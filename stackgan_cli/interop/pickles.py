"""Pickles and PyTorch checkpoints from other projects, read without executing any of their code.

The published StackGAN datasets contain lists of names and arrays pickled by Python 2. Only the names that those need are allowed; a pickle
with any other name is rejected. Checkpoints are read by torch.load(weights_only=True).
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stackgan_cli.data.zips import BadArchive, check_zip
from stackgan_cli.errors import DataError, UsageError
from stackgan_cli.interop.file_kinds import AGAIN, refuse_other_files
from stackgan_cli.safety import check_torch

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


_NESTED = (
    "g_ema",
    "netG_ema",
    "ema",
    "params_ema",
    "generator",
    "netG",
    "G",
    "g",
    "state_dict",
    "model_state_dict",
    "model",
    "params",
    "net",
)
"""Keys under which a checkpoint holds the network to use, the first one that is there; averaged weights come first."""
_STEPS = ("step", "global_step", "iteration", "iterations", "iter", "epoch")
_DEEPEST = 4
_MOST_TIMES = 16
"""How many times its own size the tensors of a file may take: some share their memory."""


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a PyTorch checkpoint by name; see `read_network`."""
    return read_network(path)[0]


def read_network(path: Path) -> tuple[dict[str, Tensor], int | None]:
    """The tensors of a PyTorch checkpoint by name, on the CPU, and the step that it records, if any.

    Floating-point tensors are converted to float32. The state dict may be nested, beside optimizers and other networks: an averaged
    generator is preferred to a generator, and that to any other network. The prefixes of DataParallel and torch.compile are removed.

    Raises UsageError when there is no such file, DataError when it is damaged, contains code, or contains no tensors.
    """
    refuse_other_files(path)
    check_torch()
    try:
        size = _size(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Weights only" not in str(error) or not _is_pickle(path):
            raise DataError("this file is damaged, or not a PyTorch file", where=path, hint=AGAIN) from None
        raise DataError(
            "this checkpoint contains more than tensors, which could run code; it was rejected",
            where=path,
            hint="save only its state dict: torch.save(network.state_dict(), path)",
        ) from None
    except BadArchive as error:
        raise DataError(f"this file was rejected: {error}", where=path, hint=AGAIN) from None
    except (RuntimeError, OSError, zipfile.BadZipFile, *_DAMAGED) as error:
        first = str(error).splitlines()[0] if str(error) and not isinstance(error, OSError) else type(error).__name__
        raise DataError(f"not a readable PyTorch file ({first})", where=path, hint="it is cut off or damaged: download it again") from None
    state = _network(loaded, _DEEPEST)
    if not state:
        raise DataError("this PyTorch file contains no state dict", where=path, hint="give a mapping of names to tensors")
    total = 0
    for name, tensor in state.items():
        if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized or tensor.is_complex():
            raise DataError(f"{name!r} is not an ordinary tensor", where=path, hint="save the weights of the network before quantization")
        total += tensor.numel() * tensor.element_size()
    if total > _MOST_TIMES * size:
        raise DataError(f"its tensors take {total:,} bytes, but the file has {size:,}; it was rejected", where=path, hint=AGAIN)
    return {_plain(key): value.float() if value.is_floating_point() else value for key, value in state.items()}, _step(loaded)


def _size(path: Path) -> int:
    """The unpacked size of a file. Raises BadArchive for a ZIP that is ambiguous or too large."""
    if not zipfile.is_zipfile(path):
        return path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        check_zip(archive)
        if any(info.filename.rpartition("/")[2] == "constants.pkl" for info in archive.infolist()):
            raise BadArchive("it is a TorchScript program, not a checkpoint")
        return sum(info.file_size for info in archive.infolist())


def _is_pickle(path: Path) -> bool:
    """Whether a file begins as pickles and PyTorch's archives do."""
    with path.open("rb") as file:
        head = file.read(2)
    return head in (b"PK", *(bytes((0x80, protocol)) for protocol in range(2, 6)))


def _network(loaded: Any, depth: int) -> dict[str, Tensor]:
    """The state dict in a checkpoint, which may be nested; empty when there is none."""
    if not isinstance(loaded, Mapping) or not depth:
        return {}
    inner = {str(key): value for key, value in loaded.items() if isinstance(value, Mapping)}
    for key in _NESTED:
        if key in inner and (found := _network(inner[key], depth - 1)):
            return found
    if state := {str(key): value for key, value in loaded.items() if isinstance(value, Tensor)}:
        return state
    others = [found for key, value in inner.items() if "optim" not in key.lower() and (found := _network(value, depth - 1))]
    return others[0] if len(others) == 1 else {}


def _plain(key: str) -> str:
    """A name without the prefixes of DataParallel (`module.`) and torch.compile (`_orig_mod.`)."""
    key = key.replace("_orig_mod.", "")
    while key.startswith("module."):
        key = key.removeprefix("module.")
    return key


def _step(loaded: Any) -> int | None:
    """The step, or else the epoch, that a checkpoint records beside its networks."""
    for key in _STEPS:
        value = loaded.get(key) if isinstance(loaded, Mapping) else None
        if isinstance(value, Tensor) and value.numel() == 1 and not value.is_floating_point():
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53:
            return value
    return None
