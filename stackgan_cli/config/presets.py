"""From a preset or YAML file and `key=value` overrides to a checked `RunConfig`, and back to YAML. Torch-free.

Values come from four places, and later ones win: the preset that `extends:` names, the file itself, `extra`, the overrides. Setting
one of two mutually exclusive keys (`train.steps` and `train.epochs`) clears the other if that one came from an earlier place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from stackgan_cli.config.problems import InvalidConfig, Problem, known_keys, show, suggest, translate, wrong_booleans
from stackgan_cli.config.schema import RunConfig
from stackgan_cli.config.yaml_text import parse_value, read_mapping, to_text
from stackgan_cli.errors import ConfigError, UsageError, did_you_mean

EXCLUSIVE = ("steps", "epochs")
"""Keys of `train`, exactly one of which must be given."""


TEXT_KEYS = ("data.cache", "requires.text_encoder", "requires.stage1", "requires.extractor")
"""Keys whose value in an override is taken as it was typed, unless it is quoted, because it is a name: 2011, 1e3 or `a #1`."""


def preset_folder() -> Path:
    """`presets/` inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "presets"
    return inside if inside.is_dir() else package.parent / "presets"


def preset_names() -> list[str]:
    """The names of all presets, sorted."""
    return sorted(path.stem for path in preset_folder().glob("*.yaml"))


def find_preset(name: str) -> Path:
    """The file of the preset called `name`, or at the path `name`. Raises ConfigError, with a suggestion, if neither exists."""
    path = Path(name).expanduser()
    looks_like_path = path.suffix in (".yaml", ".yml") or len(path.parts) > 1
    names = preset_names()
    if not looks_like_path:
        if name in names:
            return preset_folder() / f"{name}.yaml"
        if path.is_file():
            return path
        raise ConfigError(f"unknown preset {name!r}{did_you_mean(name, names)}", hint="list them with `stackgan presets ls`")
    if not path.exists():
        raise ConfigError(f"no such file{did_you_mean(path.stem, names)}", where=path, hint="list the presets with `stackgan presets ls`")
    return path


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`base` updated with `over`, section by section; neither argument is changed."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _lay_over(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """`_merge`; if `over` sets just one of the exclusive keys, the other one of `base` is dropped."""
    merged, train = _merge(base, over), over.get("train")
    if isinstance(train, Mapping) and isinstance(merged["train"], dict):
        given = [key for key in EXCLUSIVE if train.get(key) is not None]
        if len(given) == 1:
            merged["train"] = {key: value for key, value in merged["train"].items() if key not in EXCLUSIVE or key in train}
    return merged


def read_preset(name: str) -> tuple[dict[str, Any], dict[str, str]]:
    """The values of a preset or file with `extends` resolved but not yet checked, and the file and line of each dotted key."""
    path = find_preset(name)
    values, lines = read_mapping(path)
    origins = {key: f"{path.name} line {line}" for key, line in lines.items()}
    if "extends" in values:
        parent = values.pop("extends")
        if not isinstance(parent, str):
            raise ConfigError(f"extends must name a preset, not {show(parent)}", where=f"{path}, line {lines['extends']}")
        beside = path.parent / parent
        parent_path = beside if beside.is_file() else find_preset(parent)
        base, base_lines = read_mapping(parent_path)
        if "extends" in base:
            raise ConfigError(
                f"extends goes one level deep, but {parent!r} itself extends {show(base['extends'])}",
                where=f"{path}, line {lines['extends']}",
                hint=f"extend {show(base['extends'])} instead, or write the keys out",
            )
        origins = {key: f"{parent_path.name} line {line}" for key, line in base_lines.items()} | origins
        base.pop("name", None)
        values = _lay_over(base, values)
    if values.get("name") in (None, ""):
        values["name"] = path.stem
    return values, origins


def require_pairs(overrides: Sequence[str]) -> None:
    """Raise UsageError for a word that does not have the form `key=value`."""
    for word in overrides:
        if "=" not in word:
            hint = (
                f"to name a preset: --preset {word}" if word in preset_names() else "for example train.batch_size=16; flags begin with --"
            )
            raise UsageError(f"{word!r} does not have the form key=value", hint=hint)


def _is_yaml(key: str, text: str) -> bool:
    """Whether the value of a key of `TEXT_KEYS` is to be read as YAML: quoted text, or nothing where nothing is allowed."""
    return text[:1] in ("'", '"') or (key != "data.cache" and text in ("", "~", "null"))


def _parse_overrides(overrides: Sequence[str]) -> tuple[dict[str, Any], dict[str, str], list[Problem]]:
    """The tree of values that `key=value` words set, their origins, and the problems found in them."""
    tree: dict[str, Any] = {}
    origins: dict[str, str] = {}
    problems: list[Problem] = []
    keys = known_keys()
    for word in overrides:
        path, _, text = word.partition("=")
        path = path.strip()
        if path in origins:
            problems.append(Problem(path, text, "was given twice", line="command line"))
            continue
        origins[path] = "command line"
        if path not in keys:
            problems.append(Problem(path, text, "unknown key", suggest(path, keys), "command line"))
            continue
        try:
            value: Any = text.strip() if path in TEXT_KEYS and not _is_yaml(path, text.strip()) else parse_value(text)
        except ValueError as error:
            problems.append(Problem(path, show(text), str(error), "quote it", "command line"))
            continue
        for part in reversed(path.split(".")):
            value = {part: value}
        tree = _merge(tree, value)
    return tree, origins, problems


def load_config(preset_or_path: str, overrides: Sequence[str] = (), extra: Mapping[str, Any] | None = None) -> RunConfig:
    """The checked configuration. Raises ConfigError with every problem at once, or UsageError for a word without `=`."""
    require_pairs(overrides)
    values, origins = read_preset(preset_or_path)
    values = _lay_over(values, extra or {})
    tree, given, problems = _parse_overrides(overrides)
    return check(_lay_over(values, tree), origins | given, problems, where=preset_or_path)


def check(values: Mapping[str, Any], origins: Mapping[str, str], problems: Sequence[Problem] = (), *, where: object) -> RunConfig:
    """Validate a tree of values. `problems` that were found earlier are reported together with the new ones. Raises InvalidConfig."""
    found = [*problems, *wrong_booleans(values, origins)]
    try:
        config = RunConfig.model_validate(values)
    except ValidationError as error:
        found += translate(error.errors(include_url=False), values, origins)
    if found:
        raise InvalidConfig(found, where=where, hint="all keys and their defaults: `stackgan presets show demo-stage1 --resolved`")
    return config


def dump(config: RunConfig) -> str:
    """The whole configuration as YAML with every key present; `load_config` reads it back as an equal configuration."""
    return to_text(config.model_dump(mode="json"))


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


DESCRIPTION = ("name", "summary", "paper")
"""Keys that describe a configuration and do not affect what it computes."""


def diff(a: BaseModel, b: BaseModel) -> list[str]:
    """The keys whose values differ, as `key: value in a -> value in b`; descriptions are left out."""
    left, right = (dict(_leaves(config.model_dump(mode="json"))) for config in (a, b))
    keys = [key for key in {**left, **right} if key not in DESCRIPTION and left.get(key) != right.get(key)]
    return [f"{key}: {show(left.get(key))} -> {show(right.get(key))}" for key in keys]
