"""What has to be made before a run can start, in order, with what each part costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stackgan_cli.config.presets import load_config, preset_names
from stackgan_cli.config.schema import RunConfig
from stackgan_cli.data.cache import Cache
from stackgan_cli.errors import MismatchError
from stackgan_cli.runs import Workspace
from stackgan_cli.training.inputs import as_classifier, encoder_weights, find_vectors, is_extractor, run_name
from stackgan_cli.training.loop import total_steps


@dataclass(frozen=True)
class Prerequisite:
    """One missing thing. `command` makes it by hand; `config` is the run to train (None for `vectors`)."""

    kind: Literal["text-encoder", "vectors", "stage1", "extractor"]
    what: str
    cost: str
    command: str
    config: RunConfig | None = None
    run_name: str = ""


def plan(config: RunConfig, workspace: Workspace) -> list[Prerequisite]:
    """The prerequisites of `config` that are missing, in the order in which they are made.

    Raises DataError when the cache is absent, MismatchError when a requirement names nothing that exists or can be made.
    """
    cache = Cache.open(workspace.cache_path(config.data.cache))
    requires, missing = config.requires, []
    reads = config.model.arch == "vs-similarity" or getattr(config.model, "conditioning", "none") == "text"
    text_dim = getattr(config.model, "text_dim", None) if reads else None
    if text_dim is not None and find_vectors(config, cache, workspace) is None:
        if requires.text_encoder is not None and encoder_weights(requires.text_encoder, config, workspace) is None:
            missing.append(_training("text-encoder", requires.text_encoder, config, cache, {"text_dim": text_dim}))
        missing.append(
            Prerequisite(
                "vectors",
                f"text vectors of {cache.path.stem}",
                f"{len(cache.captions):,} captions to encode",
                f"stackgan encode-text {config.data.cache}",
            )
        )
    if requires.stage1 is not None and encoder_weights(requires.stage1, config, workspace) is None:
        missing.append(_training("stage1", requires.stage1, config, cache, config.model.of_stage1()))
    extractor = requires.extractor
    if extractor is not None and not is_extractor(extractor) and encoder_weights(extractor, config, workspace) is None:
        missing.append(_training("extractor", extractor, config, cache, {}))
    return missing


def _training(
    kind: Literal["text-encoder", "stage1", "extractor"], preset: str, config: RunConfig, cache: Cache, model: dict[str, object]
) -> Prerequisite:
    if preset not in preset_names():
        raise MismatchError(
            f"{preset!r} is neither a finished run, a weights file nor a preset",
            where=f"requires.{kind.replace('-', '_')}",
            hint="stackgan presets ls",
        )
    base = load_config(preset, [])
    if kind == "extractor":
        as_classifier(base, preset)
    overrides = {f"model.{key}": value for key, value in model.items() if getattr(base.model, key) != value}
    if base.data.cache != config.data.cache:
        overrides["data.cache"] = config.data.cache
    words = [f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in overrides.items()]
    made = load_config(preset, words)
    steps = total_steps(made.train, len(cache.rows(made.data.split)))
    command = " ".join(["stackgan train --preset", preset, *words])
    cost = f"{steps:,} steps of {made.train.batch_size} images"
    return Prerequisite(kind, f"{kind} {preset!r}", cost, command, made, run_name(preset, config.data.cache))
