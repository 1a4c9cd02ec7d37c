"""Networks from torch.export files (`.pt2`), run without executing any code from the file.

`torch.export.load` is not safe for untrusted files: besides the tensors, it unpickles example inputs and custom objects, evaluates the
text of symbolic shapes and guards, imports modules that the file names, and loads compiled libraries from it. None of that is needed to
run a network. The archive is a ZIP with raw tensors and a JSON list of operator calls; this module executes those calls one by one and
allows only the operators listed in export_operators.py, within bounds.

Files from PyTorch 2.8 and newer are supported. Control flow and autocast regions inside the network are not.
"""

from __future__ import annotations

import json
import math
import operator
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from stackgan_cli.data.zips import BadArchive, check_zip
from stackgan_cli.errors import MismatchError, UsageError
from stackgan_cli.interop.export_operators import ALLOWED, MOST_LIVE, OutOfBounds, check_call, on_numbers, size_of

SCHEMA = 8
"""Major version of the layout of the JSON."""
# Values of the enumerations in that layout.
_DTYPES = {1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 6: torch.float16, 7: torch.float32} | {
    8: torch.float64,
    12: torch.bool,
    13: torch.bfloat16,
}
_FORMATS = {1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d, 4: torch.preserve_format}
_ON_NUMBERS: dict[str, Callable[..., Any]] = {
    "torch.sym_max": max,
    "torch.sym_min": min,
    "torch.sym_float": float,
    "torch.sym_int": int,
    "torch.sym_not": operator.not_,
    **{f"math.{name}": getattr(math, name) for name in ("ceil", "floor", "trunc", "sqrt")},
    **{f"_operator.{name}": getattr(operator, name) for name in ("add", "sub", "mul", "floordiv", "truediv", "mod", "neg", "pow")},
    **{f"_operator.{name}": getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
}
_LARGEST_FILE = 16 << 30
_MOST_MEMBERS = 100_000
_SHARED = 64
"""How many times its stored size a tensor may take, since some are expanded from fewer values."""
_CHECKS = ("_assert", "sym_constrain_range")
"""Prefixes of the names of operators that compute nothing."""


class _Unreadable(Exception):
    """The file contains something unsupported."""


@dataclass(frozen=True)
class Call:
    """One operator call: arguments are constants, or `Name` for the result of an earlier call. `drop`: names not used afterwards."""

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    results: tuple[str, ...]
    is_list: bool
    drop: tuple[str, ...]


@dataclass(frozen=True)
class Name:
    """A value of the graph."""

    name: str


class ExportedNetwork(nn.Module):
    """A network with one input. `forward` returns a tuple of its outputs, in order."""

    def __init__(self, path: Path) -> None:
        """Raises UsageError when there is no such file, MismatchError when it cannot be read or uses something that is not allowed."""
        super().__init__()
        if not path.is_file():
            raise UsageError("no such file", where=path)
        try:
            with zipfile.ZipFile(path) as archive:
                check_zip(archive, largest=_LARGEST_FILE, most=_MOST_MEMBERS)
                graph, state = _read(archive)
            self._tensors: dict[str, str] = {}
            for number, (name, tensor) in enumerate(state.items()):
                self.register_buffer(f"tensor_{number}", tensor)
                self._tensors[name] = f"tensor_{number}"
            self._input, self._outputs = graph.input, graph.outputs
            self._calls = graph.calls
            self._checked: set[tuple[torch.Size, torch.dtype]] = set()
        except zipfile.BadZipFile:
            raise MismatchError(
                "not a torch.export file", where=path, hint="write it with torch.export.save(program, 'NAME.pt2')"
            ) from None
        except (_Unreadable, BadArchive) as error:
            raise MismatchError(f"this exported network is not supported: {error}", where=path, hint=_HINT) from None
        except (KeyError, ValueError, TypeError, IndexError, AttributeError, RuntimeError, MemoryError, OverflowError, zlib.error) as error:
            raise MismatchError(
                f"this exported network is damaged or has another version ({type(error).__name__}: {error})", where=path, hint=_HINT
            ) from None

    def forward(self, x: Tensor) -> tuple[Any, ...]:
        """Every shape is first tried without data, so that nothing is computed that would take too much memory."""
        if (x.shape, x.dtype) not in self._checked:
            self._run(x.to("meta"))
            self._checked.add((x.shape, x.dtype))
        return self._run(x)

    def _run(self, x: Tensor) -> tuple[Any, ...]:
        """The outputs. Raises OutOfBounds on the meta device where a result would be too large."""
        values: dict[str, Any] = {name: self.get_buffer(buffer).to(x.device) for name, buffer in self._tensors.items()}
        values[self._input] = x
        live: dict[str, int] = {}
        for call in self._calls:
            arguments = [_fill(argument, values, x.device) for argument in call.arguments]
            keywords = {name: _fill(argument, values, x.device) for name, argument in call.keywords.items()}
            if x.is_meta:
                check_call(call.name, [*arguments, *keywords.values()])
            found = call.function(*arguments, **keywords)
            if x.is_meta:
                live[call.results[0] if call.results else ""] = size_of(found)
                if sum(live.values()) > MOST_LIVE:
                    raise OutOfBounds("its results take too much memory together")
            if call.is_list or len(call.results) > 1:
                values.update(zip(call.results, found, strict=True))
            elif call.results:
                values[call.results[0]] = found
            for name in call.drop:
                values.pop(name, None)
                live.pop(name, None)
        return tuple(values[name] for name in self._outputs)


_HINT = "export it in eval mode under torch.no_grad() with PyTorch 2.8 or newer: torch.export.save(program, 'NAME.pt2')"


def _fill(argument: Any, values: Mapping[str, Any], device: torch.device) -> Any:
    """An argument with its names replaced by values, and any device by the one in use."""
    if isinstance(argument, Name):
        return values[argument.name]
    if isinstance(argument, list):
        return [_fill(part, values, device) for part in argument]
    return device if isinstance(argument, torch.device) else argument


# -- reading ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Graph:
    input: str
    outputs: tuple[str, ...]
    calls: tuple[Call, ...]


def _read(archive: zipfile.ZipFile) -> tuple[_Graph, dict[str, Tensor]]:
    root = archive.namelist()[0].partition("/")[0] if archive.namelist() else ""

    def load(name: str) -> Any:
        try:
            return json.loads(archive.read(f"{root}/{name}"))
        except KeyError:
            raise _Unreadable(f"it has no {name}") from None

    program = load("models/model.json")
    if program["schema_version"]["major"] != SCHEMA:
        raise _Unreadable(f"its layout is version {program['schema_version']['major']}, not {SCHEMA}")
    stored: dict[str, Tensor] = {}
    for kind in ("weights", "constants"):
        entries = load(f"data/{kind}/model_{kind}_config.json")["config"]
        for name, entry in entries.items():
            if entry["use_pickle"] or entry["tensor_meta"] is None:
                raise _Unreadable(f"{name!r} is a pickled object, which could run code")
            stored[name] = _tensor(archive.read(f"{root}/data/{kind}/{entry['path_name']}"), entry["tensor_meta"])
    module = program["graph_module"]
    inputs, state = [], {}
    for spec in module["signature"]["input_specs"]:
        ((kind, content),) = spec.items()
        if kind == "user_input":
            ((argument_kind, argument),) = content["arg"].items()
            if argument_kind == "as_tensor":
                inputs.append(argument["name"])
        elif kind in ("parameter", "buffer", "tensor_constant"):
            state[content["arg"]["name"]] = stored[content[f"{kind}_name"]]
        else:
            raise _Unreadable(f"it has an input of kind {kind!r}")
    if len(inputs) != 1:
        raise _Unreadable(f"it has {len(inputs)} inputs instead of one (images)")
    outputs = []
    for spec in module["signature"]["output_specs"]:
        if "user_output" in spec:
            argument = spec["user_output"]["arg"]
            if "as_tensor" not in argument:
                raise _Unreadable("one of its outputs is not a tensor")
            outputs.append(argument["as_tensor"]["name"])
    return _Graph(inputs[0], tuple(outputs), _calls(module["graph"]["nodes"], {*outputs, *state})), state


def _tensor(raw: bytes, meta: Mapping[str, Any]) -> Tensor:
    sizes, strides = ([dim["as_int"] for dim in meta[key]] for key in ("sizes", "strides"))
    dtype = _DTYPES[meta["dtype"]]
    total = math.prod(sizes) * dtype.itemsize
    if min(sizes, default=0) < 0 or total > _SHARED * max(len(raw), 1024):
        raise _Unreadable(f"a tensor of shape {tuple(sizes)} has only {len(raw)} bytes")
    if not raw:
        return torch.zeros(sizes, dtype=dtype)
    flat = torch.frombuffer(bytearray(raw), dtype=dtype)
    return flat.as_strided(sizes, strides, meta["storage_offset"]["as_int"]).clone()


def _calls(nodes: list[dict[str, Any]], kept: set[str]) -> tuple[Call, ...]:
    """The calls in order; values that are not `kept` are dropped after their last use."""
    calls: list[Call] = []
    last: dict[str, int] = {}
    for node in nodes:
        if node["target"].startswith(tuple(f"torch.ops.aten.{name}" for name in _CHECKS)):
            continue
        function, positional = _function(node["target"])
        given = {entry["name"] or str(place): _value(entry["arg"]) for place, entry in enumerate(node["inputs"])}
        # An optional argument may have been omitted; those after it are passed by keyword.
        in_place = list(takewhile(given.__contains__, positional)) if positional is not None else list(given)
        results, is_list = _results(node["outputs"])
        for name in (*results, *(name for _, names in given.values() for name in names)):
            last[name] = len(calls)
        keywords = {name: value for name, (value, _) in given.items() if name not in in_place}
        if isinstance(function, torch._ops.OpOverload) and any(a.name == "device" and a.kwarg_only for a in function._schema.arguments):
            keywords["device"] = torch.device("cpu")  # replaced by the one in use; without it, new tensors would be on the CPU
        calls.append(
            Call(node["target"].split(".")[-2], function, tuple(given[name][0] for name in in_place), keywords, results, is_list, ())
        )
    drop: dict[int, list[str]] = {}
    for name, place in last.items():
        if name not in kept:
            drop.setdefault(place, []).append(name)
    return tuple(replace(call, drop=tuple(drop.get(place, ()))) for place, call in enumerate(calls))


def _function(target: str) -> tuple[Callable[..., Any], list[str] | None]:
    """The operator, and the names of its positional parameters; None for functions on numbers."""
    if target in _ON_NUMBERS:
        return on_numbers(_ON_NUMBERS[target]), None
    match = re.fullmatch(r"torch\.ops\.(aten|prims)\.(\w+)\.(\w+)", target)
    if match is None or match[2] not in ALLOWED or match[3] == "out" or match[3].endswith("_out"):
        raise _Unreadable(f"it calls {target!r}, which is not allowed")
    packet = getattr(getattr(torch.ops, match[1]), match[2])
    found = getattr(packet, match[3])
    if not isinstance(found, torch._ops.OpOverload):
        raise _Unreadable(f"it calls {target!r}, which is not an operator")
    return found, [argument.name for argument in found._schema.arguments if not argument.kwarg_only]


def _value(argument: Mapping[str, Any]) -> tuple[Any, set[str]]:
    """A constant, a `Name` or a list of them, and the names in it."""
    ((kind, content),) = argument.items()
    match kind:
        case "as_none":
            return None, set()
        case "as_tensor":
            return Name(content["name"]), {content["name"]}
        case "as_int" | "as_float" | "as_bool" | "as_string" | "as_ints" | "as_floats" | "as_bools" | "as_strings":
            return content, set()
        case "as_sym_int" | "as_sym_float" | "as_sym_bool" | "as_optional_tensor":
            return _value_or_name(content)
        case "as_tensors" | "as_sym_ints" | "as_sym_floats" | "as_sym_bools" | "as_optional_tensors":
            parts = [_value_or_name(part) for part in content]
            return [value for value, _ in parts], {name for _, names in parts for name in names}
        case "as_scalar_type":
            return _DTYPES[content], set()
        case "as_memory_format":
            return _FORMATS[content], set()
        case "as_layout":
            return torch.strided, set()
        case "as_device":
            return torch.device("cpu"), set()
        case _:
            raise _Unreadable(f"it has an argument of kind {kind!r}")


def _value_or_name(content: Mapping[str, Any]) -> tuple[Any, set[str]]:
    if "name" in content:
        return Name(content["name"]), {content["name"]}
    if "as_name" in content:
        return Name(content["as_name"]), {content["as_name"]}
    return _value(content)


def _results(outputs: list[dict[str, Any]]) -> tuple[tuple[str, ...], bool]:
    """The names of the results of a call, and whether they form one list."""
    if len(outputs) == 1 and "as_tensors" in outputs[0]:
        return tuple(entry["name"] for entry in outputs[0]["as_tensors"]), True
    names = []
    for output in outputs:
        value, found = _value(output)
        if not isinstance(value, Name) and value is not None:
            raise _Unreadable("an operator returns something other than a tensor or a number")
        names.append(next(iter(found), ""))
    return tuple(names), False
