"""A small writer of Torch7 binary files for the tests."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np

ELEMENT = {"f4": "Float", "f8": "Double", "i8": "Long", "i4": "Int", "u1": "Byte", "f2": "Half"}


@dataclass(eq=False)
class Obj:
    """A torch object: class name and fields."""

    class_name: str
    fields: Any = None


@dataclass(eq=False)
class View:
    """A tensor over a storage (a flat array), with strides and a 0-based offset in elements."""

    storage: np.ndarray
    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0


@dataclass
class Writer:
    """Shared Python objects (by identity) are written once, as Torch7 does."""

    versioned: bool = True
    out: bytearray = field(default_factory=bytearray)
    references: dict[int, int] = field(default_factory=dict)
    kept: list[Any] = field(default_factory=list)

    def ints(self, *values: int) -> None:
        self.out += struct.pack(f"<{len(values)}i", *values)

    def longs(self, *values: int) -> None:
        self.out += struct.pack(f"<{len(values)}q", *values)

    def text(self, value: str) -> None:
        raw = value.encode()
        self.ints(len(raw))
        self.out += raw

    def shared(self, tag: int, value: Any) -> bool:
        """Write tag and reference; True if the payload was written before."""
        known = id(value) in self.references
        number = self.references.setdefault(id(value), len(self.references) + 1)
        self.kept.append(value)
        self.ints(tag, number)
        return known

    def class_name(self, name: str) -> None:
        if self.versioned:
            self.text("V 1")
        self.text(name)

    def write(self, value: Any) -> None:
        if value is None:
            self.ints(0)
        elif isinstance(value, bool):
            self.ints(5, int(value))
        elif isinstance(value, int | float):
            self.ints(1)
            self.out += struct.pack("<d", value)
        elif isinstance(value, str):
            self.ints(2)
            self.text(value)
        elif isinstance(value, dict | list):
            items = dict(enumerate(value, 1)) if isinstance(value, list) else value
            if not self.shared(3, value):
                self.ints(len(items))
                for key, item in items.items():
                    self.write(key)
                    self.write(item)
        elif isinstance(value, np.ndarray):
            strides = tuple(int(np.prod(value.shape[axis + 1 :])) for axis in range(value.ndim))
            view = View(np.ascontiguousarray(value).reshape(-1), value.shape, strides)
            self.write_view(value, view)
        elif isinstance(value, View):
            self.write_view(value, value)
        elif isinstance(value, Obj):
            if not self.shared(4, value):
                self.class_name(value.class_name)
                self.write(value.fields)
        else:
            raise TypeError(type(value))

    def write_view(self, identity: Any, view: View) -> None:
        if self.shared(4, identity):
            return
        element = ELEMENT[view.storage.dtype.str[1:]]
        self.class_name(f"torch.{element}Tensor")
        self.ints(len(view.sizes))
        self.longs(*view.sizes, *view.strides, view.offset + 1)
        if not self.shared(4, view.storage):
            self.class_name(f"torch.{element}Storage")
            self.longs(len(view.storage))
            self.out += view.storage.tobytes()


def to_t7(value: Any, *, versioned: bool = True) -> bytes:
    writer = Writer(versioned)
    writer.write(value)
    return bytes(writer.out)
