"""YAML as configuration files need it: strict, with line numbers, and without the surprises of YAML 1.1.

Only `true` and `false` are booleans (`on`, `off`, `yes` and `no` stay words, which several keys use), `2e-4` is a number, `010` is not
octal, and there are no dates. A key that is given twice is an error. Torch-free.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from stackgan_cli.errors import ConfigError

MAX_BYTES = 1 << 20
"""Larger files are refused: no configuration is this long."""

_RESOLVERS = (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?(?:0|[1-9][0-9]*)$", "-+0123456789"),
    ("float", r"^[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.inf)$|^\.nan$", "-+0123456789."),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("merge", r"^(?:<<)$", "<"),
)
_PREFIX = "tag:yaml.org,2002:"


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML declares them this way


class _Dumper(yaml.SafeDumper):
    """Quotes text that our loader or a YAML 1.1 reader would not read as text."""

    yaml_implicit_resolvers = {first: list(rules) for first, rules in yaml.SafeDumper.yaml_implicit_resolvers.items()}  # noqa: RUF012

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        """Write a list of numbers on one line, any other list with one item per line."""
        numbers = all(isinstance(item, (int, float)) for item in sequence)
        return super().represent_sequence(tag, sequence, flow_style=numbers)


for _tag, _pattern, _first in _RESOLVERS:
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_PREFIX + _tag, re.compile(_pattern), list(_first))


def _index_lines(node: yaml.Node, prefix: str, lines: dict[str, int]) -> None:
    """Record the line (from 1) of every dotted key below `node`; raise for keys that are given twice."""
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[str, int] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode) or key.tag not in (f"{_PREFIX}str", f"{_PREFIX}merge"):
            given = f", not {key.value}" if isinstance(key, yaml.ScalarNode) else ""
            raise yaml.constructor.ConstructorError(None, None, f"a key must be a word{given}", key.start_mark)
        path, line = f"{prefix}{key.value}", key.start_mark.line + 1
        if key.value in seen:
            raise yaml.constructor.ConstructorError(None, None, f"key {path!r} was already given in line {seen[key.value]}", key.start_mark)
        seen[key.value] = lines[path] = line
        _index_lines(value, f"{path}.", lines)


def _parse(text: str) -> tuple[Any, dict[str, int]]:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[str, int] = {}
        if node is None:
            return None, lines
        _index_lines(node, "", lines)
        return loader.construct_document(node), lines
    finally:
        loader.dispose()


def _problem(error: Exception) -> tuple[str, str]:
    """What is wrong with the text, and where (`line 3, column 7`, or empty)."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return str(error.problem), f"line {mark.line + 1}, column {mark.column + 1}"
    if isinstance(error, yaml.reader.ReaderError):
        return "it contains control characters", ""
    if isinstance(error, RecursionError):
        return "it is nested too deeply", ""
    return str(error).splitlines()[0], ""


def read_text(path: Path) -> str:
    """The text of a configuration file, without a byte order mark. Raises ConfigError for a file that cannot be one."""
    if path.is_dir():
        raise ConfigError("this is a folder, not a configuration file", where=path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"this is not a configuration file: it is larger than {MAX_BYTES >> 20} MiB", where=path)
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError("no such file", where=path, hint="list the presets with `stackgan presets ls`") from None
    except UnicodeDecodeError:
        raise ConfigError("this is not a YAML file: it is not UTF-8 text", where=path) from None
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", where=path) from None


def read_mapping(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """The mapping in a YAML file and the line of each dotted key. Raises ConfigError, with line and column, for anything else."""
    text = read_text(path)
    try:
        values, lines = _parse(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problem, place = _problem(error)
        where = f"{path}, {place}" if place else str(path)
        raise ConfigError(f"not valid YAML: {problem}", where=where, hint="compare with `stackgan presets show demo-stage1`") from None
    if not isinstance(values, dict):
        kind = "empty" if values is None else f"a {type(values).__name__}"
        raise ConfigError(f"must be a mapping of keys to values, not {kind}", where=path, hint="see `stackgan presets show demo-stage1`")
    return values, lines


def parse_value(text: str) -> Any:
    """The value of one `key=value` override. Raises ValueError, saying what is wrong, if it is not valid YAML."""
    try:
        return _parse(text)[0]
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ValueError(f"not a valid value: {_problem(error)[0]}") from None


def to_text(values: Any) -> str:
    """`values` as YAML with the keys in the given order; `read_mapping` reads it back unchanged."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
