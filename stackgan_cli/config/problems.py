"""What is wrong with a configuration, in the user's words: every problem with its dotted key, the value given, and what to do.

Pydantic finds the problems; this file rewords them. Torch-free.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from stackgan_cli.config.schema import RunConfig
from stackgan_cli.errors import ConfigError

_MISSING = object()


@dataclass(frozen=True)
class Problem:
    """One wrong key. `given` is the value as typed (shortened), or empty if the key is missing."""

    path: str
    given: str
    problem: str
    hint: str = ""
    line: str = ""

    def __str__(self) -> str:
        key = f"{self.path} = {self.given}" if self.given else self.path
        text = f"{key}{f' ({self.line})' if self.line else ''}: {self.problem}"
        return f"{text} - {self.hint}" if self.hint else text


class InvalidConfig(ConfigError):
    """All problems of one configuration at once."""

    def __init__(self, problems: Sequence[Problem], *, where: object, hint: str = "") -> None:
        count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__("\n".join([f"{count} in the configuration", *(f"  {problem}" for problem in problems)]), where=where, hint=hint)
        self.problems = tuple(problems)

    def details(self) -> list[dict[str, str]]:
        """The problems as plain data, for `--json`."""
        return [asdict(problem) for problem in self.problems]


def show(value: Any) -> str:
    """A value as the user would type it, shortened if it is long."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 60
    short.maxlevel = 2
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return short.repr(value)


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The models inside an annotation (a union of architectures has several)."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType) or hasattr(annotation, "__metadata__"):
        return [model for part in get_args(annotation) for model in _models(part)]
    return []


def known_keys(arch: object = None, model: type[BaseModel] = RunConfig, prefix: str = "") -> dict[str, Any]:
    """Every dotted key, sections included, with its type. `arch` restricts `model.*` to one architecture; None includes all of them."""
    keys: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        keys[f"{prefix}{name}"] = field.annotation
        for section in _models(field.annotation):
            tag = section.model_fields.get("arch")
            if arch is None or tag is None or tag.default == arch:
                keys |= known_keys(arch, section, f"{prefix}{name}.")
    return keys


def suggest(path: str, keys: Iterable[str]) -> str:
    """`did you mean 'train.optim.lr'?` for the key closest to `path`, by its whole name or its last part; otherwise empty."""
    choices = list(keys)
    leaf = path.rsplit(".", 1)[-1]
    by_leaf = {key.rsplit(".", 1)[-1]: key for key in reversed(choices)}
    if leaf in by_leaf:
        return f"did you mean {by_leaf[leaf]!r}?"
    near = difflib.get_close_matches(path, choices, n=1, cutoff=0.75)
    if near:
        return f"did you mean {near[0]!r}?"
    near_leaf = difflib.get_close_matches(leaf, list(by_leaf), n=1, cutoff=0.6)
    return f"did you mean {by_leaf[near_leaf[0]]!r}?" if near_leaf else ""


def _lookup(values: Any, path: Sequence[str]) -> Any:
    for part in path:
        if isinstance(values, Mapping) and part in values:
            values = values[part]
        elif isinstance(values, (list, tuple)) and part.isdigit() and int(part) < len(values):
            values = values[int(part)]
        else:
            return _MISSING
    return values


_LIMITS = {
    "greater_than": ("gt", "must be greater than"),
    "greater_than_equal": ("ge", "must be at least"),
    "less_than": ("lt", "must be less than"),
    "less_than_equal": ("le", "must be at most"),
}
_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text (put it in quotes)",
    "model": "a section of keys",
    "dict": "a section of keys",
    "tuple": "a list",
}


def _explain(kind: str, context: Mapping[str, Any], message: str) -> tuple[str, str]:
    """What is wrong and what to do, for one pydantic error type."""
    if kind in _LIMITS:
        key, words = _LIMITS[kind]
        return f"{words} {context[key]:g}", ""
    if kind == "literal_error":
        return "is not one of the choices", f"choose {context['expected']}"
    if kind == "union_tag_invalid":
        return f"unknown architecture {context['tag']!r}", f"choose {context['expected_tags']}"
    if kind == "union_tag_not_found":
        return "the architecture is missing", "add the key 'arch'"
    if kind == "missing":
        return "this key is missing", ""
    if kind == "finite_number":
        return "must be a finite number", ""
    if kind in ("too_short", "too_long"):
        limit = context.get("min_length", context.get("max_length"))
        return f"must have {limit} items, not {context['actual_length']}", ""
    if kind == "model_attributes_type":
        kind = "model_type"
    for start, words in _KINDS.items():
        if kind.startswith(f"{start}_"):
            return f"must be {words}", ""
    return message.removeprefix("Value error, "), ""


def translate(errors: Iterable[Any], values: Mapping[str, Any], origins: Mapping[str, str]) -> list[Problem]:
    """Pydantic's errors (`ValidationError.errors()`) as problems. `origins` says where each dotted key was given."""
    model = values.get("model")
    arch = model.get("arch") if isinstance(model, Mapping) else None
    tags = {section.model_fields["arch"].default for section in _models(RunConfig.model_fields["model"].annotation)}
    problems = []
    for error in errors:
        parts = [str(part) for part in error["loc"]]
        if parts[:1] == ["model"] and len(parts) > 1 and parts[1] in tags:
            del parts[1]
        kind, message = error["type"], error["msg"]
        if kind == "union_tag_invalid":
            parts.append("arch")
        if kind == "missing" and parts[-1].isdigit():  # an item of a list of fixed length
            parts, kind, message = parts[:-1], "", "has too few items"
        if kind == "value_error":  # messages of our own cross-field checks begin with the key to change
            key, colon, rest = message.removeprefix("Value error, ").partition(": ")
            if colon and key.isidentifier():
                parts, message = [*parts, key], rest
        path, given = ".".join(parts), _lookup(values, parts)
        if kind == "extra_forbidden":
            problem, hint = (
                "unknown key",
                suggest(path, known_keys(arch)) or f"this configuration has arch {arch!r}" * (parts[0] == "model"),
            )
        else:
            problem, hint = _explain(kind, error.get("ctx", {}), message)
        line = next((origins[place] for n in range(len(parts), 0, -1) if (place := ".".join(parts[:n])) in origins), "")
        problems.append(Problem(path, "" if given is _MISSING else show(given), problem, hint, line))
    return problems


def _atoms(annotation: Any) -> set[Any]:
    """The plain types (and choices) inside an annotation."""
    parts = get_args(annotation)
    return {atom for part in parts for atom in _atoms(part)} if parts else {annotation} if isinstance(annotation, type) else set()


def wrong_booleans(values: Mapping[str, Any], origins: Mapping[str, str]) -> list[Problem]:
    """Keys given as true or false where a number is expected: Python would silently accept them as 1 and 0."""
    problems = []
    for path, annotation in known_keys().items():
        given, atoms = _lookup(values, path.split(".")), _atoms(annotation)
        flat = given if isinstance(given, list) else [given]
        if any(isinstance(item, bool) for item in flat) and atoms & {int, float} and bool not in atoms:
            problems.append(Problem(path, show(given), "must be a number", line=origins.get(path, "")))
    return problems
