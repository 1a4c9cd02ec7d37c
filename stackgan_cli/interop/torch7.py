"""A reader of Torch7's binary `.t7` files: tables, tensors and the fields of objects. Nothing in the file is executed.

An object is an int32 tag and its payload (little-endian): 0 nil; 1 number (double); 2 string (int32 length, bytes); 3 table (int32
reference, int32 count, key and value objects); 4 torch object (int32 reference, version string, class name, payload); 5 boolean
(int32); 6, 7, 8 function. A reference that has occurred before stands for that object and has no payload. Every size is checked against
the remaining length of the file before anything is allocated, and nesting uses an explicit stack, so that a damaged or malicious file
raises a DataError and does nothing worse.
"""

from __future__ import annotations

import struct
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np

from stackgan_cli.errors import DataError, UsageError

NIL, NUMBER, STRING, TABLE, TORCH, BOOLEAN, FUNCTION, LEGACY_FUNCTION, RECURSIVE_FUNCTION = range(9)

MAX_DIMS = 32

_ELEMENTS = {
    "Double": "<f8",
    "Float": "<f4",
    "Half": "<f2",
    "Long": "<i8",
    "Int": "<i4",
    "Short": "<i2",
    "Char": "<i1",
    "Byte": "<u1",
    "Cuda": "<f4",
    "CudaDouble": "<f8",
    "CudaHalf": "<f2",
    "CudaLong": "<i8",
    "CudaInt": "<i4",
    "CudaShort": "<i2",
    "CudaChar": "<i1",
    "CudaByte": "<u1",
}


class Table(dict[Any, Any]):
    """A Lua table: whole-number keys are int, strings are str. Compared and hashed by identity, as in Lua."""

    __hash__ = object.__hash__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def array(self) -> list[Any]:
        """The values at 1, 2, 3, ... up to the first missing key."""
        values: list[Any] = []
        while len(values) + 1 in self:
            values.append(self[len(values) + 1])
        return values


class TorchObject:
    """An object of a class other than tensors and storages. `fields` is its payload, usually a `Table`."""

    def __init__(self, class_name: str) -> None:
        self.class_name = class_name
        self.fields: Any = None

    def get(self, name: str) -> Any:
        """The field called `name`, or None."""
        return self.fields.get(name) if isinstance(self.fields, Table) else None


class TorchStorage:
    """The values behind tensors, as a view of the bytes of the file."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values


class TorchTensor:
    """Sizes, strides and a 0-based offset into a storage, which are checked when the array is requested."""

    def __init__(self, class_name: str) -> None:
        self.class_name = class_name
        self.sizes: tuple[int, ...] = ()
        self.strides: tuple[int, ...] = ()
        self.offset = 0
        self.storage: Any = None

    def numpy(self) -> np.ndarray:
        """A contiguous copy; of shape (0,) when it is empty. Raises DataError when the tensor exceeds its storage."""
        dtype = np.dtype(_ELEMENTS[self.class_name])
        if not self.sizes or 0 in self.sizes:
            return np.zeros(0, dtype)
        if not isinstance(self.storage, TorchStorage) or self.storage.values.dtype != dtype:
            return self._refuse()
        values = self.storage.values
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.sizes, self.strides, strict=True))
        total = 1
        for size in self.sizes:
            total *= size
        if min(self.sizes) < 0 or min(self.strides) < 0 or self.offset < 0 or last >= len(values) or total > len(values):
            return self._refuse()
        steps = tuple(stride * dtype.itemsize for stride in self.strides)
        return np.lib.stride_tricks.as_strided(values[self.offset :], self.sizes, steps, writeable=False).copy()

    def _refuse(self) -> np.ndarray:
        raise DataError(f"a tensor of sizes {self.sizes} exceeds its storage", hint="the file is damaged; download it again")


class TorchFunction:
    """A Lua function: its code is skipped."""


def read_t7(path: Path) -> Any:
    """The object in a `.t7` file: None, bool, float, str, `Table`, `TorchObject`, `TorchTensor`, `TorchStorage` or `TorchFunction`.

    Raises UsageError when there is no such file, DataError when it is not a complete Torch7 binary file.
    """
    if not path.is_file():
        raise UsageError("no such file", where=path)
    try:
        return _Reader(path.read_bytes()).read()
    except DataError as error:
        raise DataError(error.message, where=path, hint=error.hint) from None


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0
        self.seen: dict[int, Any] = {}

    def read(self) -> Any:
        """The first object of the file. Each generator on the stack is an object waiting for one inside it."""
        self._refuse_text()
        stack = [self._object()]
        value: Any = None
        while stack:
            try:
                stack[-1].send(value)
            except StopIteration as done:
                stack.pop()
                value = done.value
            else:
                stack.append(self._object())
                value = None
        return value

    def _refuse_text(self) -> None:
        start = self.data[:64]
        if len(start) >= 4 and all(32 <= byte < 127 or byte in b"\t\r\n" for byte in start):
            shown = start[:24].decode("ascii")
            raise DataError(
                f"this is a text file, not a Torch7 binary file (it begins with {shown!r})",
                hint="file hosts often save a web page instead of the file: download it again; Torch7's ascii format is not supported",
            )

    def _take(self, count: int) -> bytes:
        if not 0 <= count <= len(self.data) - self.place:
            raise DataError(
                f"the file ends early: expected {count} bytes at byte {self.place}, but {len(self.data) - self.place} are left",
                hint="it is truncated or damaged; download it again",
            )
        self.place += count
        return self.data[self.place - count : self.place]

    def _int(self) -> int:
        return int.from_bytes(self._take(4), "little", signed=True)

    def _longs(self, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}q", self._take(8 * count))

    def _text(self) -> str:
        return self._take(self._int()).decode("utf-8", "surrogateescape")

    def _object(self) -> Generator[None, Any, Any]:
        """Read one object. Each `yield` receives the next object of the file."""
        start = self.place
        tag = self._int()
        if tag == NIL:
            return None
        if tag == NUMBER:
            (number,) = struct.unpack("<d", self._take(8))
            return number
        if tag == STRING:
            return self._text()
        if tag == BOOLEAN:
            return self._int() != 0
        if tag == FUNCTION:
            self._take(self._int())
            yield  # its captured variables
            return TorchFunction()
        if tag not in (TABLE, TORCH, LEGACY_FUNCTION, RECURSIVE_FUNCTION):
            raise DataError(f"unknown type tag {tag} at byte {start}", hint="this is not a Torch7 binary file, or it is damaged")
        reference = self._int()
        if reference in self.seen:
            return self.seen[reference]
        if tag == TABLE:
            table = self.seen[reference] = Table()
            for _ in range(self._int()):
                key = yield
                value = yield
                table[int(key) if isinstance(key, float) and key.is_integer() else key] = value
            return table
        if tag == TORCH:
            return (yield from self._torch(reference))
        function = self.seen[reference] = TorchFunction()
        self._take(self._int())
        yield
        return function

    def _torch(self, reference: int) -> Generator[None, Any, Any]:
        name = self._text()
        if name.startswith("V "):
            name = self._text()
        kind = name.removeprefix("torch.")
        element = _ELEMENTS.get(kind.removesuffix("Storage"))
        if element is not None and kind.endswith("Storage"):
            (count,) = self._longs(1)
            values = np.frombuffer(self._take(count * np.dtype(element).itemsize), element)
            storage = self.seen[reference] = TorchStorage(values)
            return storage
        if kind.removesuffix("Tensor") in _ELEMENTS and kind.endswith("Tensor"):
            tensor = self.seen[reference] = TorchTensor(kind.removesuffix("Tensor"))
            dims = self._int()
            if dims > MAX_DIMS:
                raise DataError(f"a tensor with {dims} dimensions", hint="the file is damaged; download it again")
            tensor.sizes, tensor.strides = self._longs(dims), self._longs(dims)
            tensor.offset = self._longs(1)[0] - 1
            tensor.storage = yield
            return tensor
        found = self.seen[reference] = TorchObject(name)
        found.fields = yield
        return found
