"""What has to be made before a run can start, in order, and what each part costs."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from typing import Any, Literal

from stackgan_cli.config.presets import load_config, preset_names
from stackgan_cli.config.schema import RunConfig
from stackgan_cli.errors import MismatchError
from stackgan_cli.training.inputs import ResolvedInputs, as_classifier, free_run_name, run_name
from stackgan_cli.training.loop import total_steps


@dataclass(frozen=True)
class Prerequisite:
    """One missing input. `command` makes it; `config` is the run to train (None for `vectors`)."""

    kind: Literal["text-encoder", "vectors", "stage1", "extractor"]
    what: str
    cost: str
    command: str
    config: RunConfig | None = None
    run_name: str = ""


def plan(inputs: ResolvedInputs) -> list[Prerequisite]:
    """The missing prerequisites, in the order in which they have to be made.

    Raises MismatchError if a requirement names something that neither exists nor can be made.
    """
    requires, missing = inputs.config.requires, _captions(inputs)
    if requires.stage1 is not None and inputs.stage1 is None:
        missing.append(_training("stage1", requires.stage1, inputs, inputs.config.model.of_stage1()))
    extractor = requires.extractor
    if extractor is not None and inputs.requirements.classifier and not inputs.names_extractor and inputs.classifier is None:
        missing.append(_training("extractor", extractor, inputs, {}))
    return missing


def _captions(inputs: ResolvedInputs) -> list[Prerequisite]:
    """The text embeddings of the captions, preceded by the text encoder."""
    text_dim, cache = inputs.requirements.text_dim, inputs.config.data.cache
    if text_dim is None or inputs.vectors is not None:
        return []
    command = f"stackgan encode-text {shlex.quote(cache)}"
    vectors = Prerequisite(
        "vectors", f"text embeddings of {inputs.cache.path.stem}", f"{inputs.cache.num_captions:,} captions to encode", command
    )
    encoder = inputs.config.requires.text_encoder
    if inputs.stage1 is not None and inputs.encoder_file == inputs.stage1.path:
        return [replace(vectors, command=f"{command} --encoder {shlex.quote(str(inputs.encoder_file))}")]
    if encoder is None or inputs.encoder_file is not None:
        return [vectors]
    if inputs.stage1 is not None and inputs.stage1_encoder_hash is not None:
        raise MismatchError(
            f"Stage-I was trained with text encoder {inputs.stage1_encoder_hash[:8]}, which was not found",
            where=inputs.stage1.path,
            hint="give its file with requires.text_encoder=FILE",
        )
    return [_training("text-encoder", encoder, inputs, {"text_dim": text_dim}), vectors]


def _training(
    kind: Literal["text-encoder", "stage1", "extractor"], preset: str, inputs: ResolvedInputs, model: dict[str, Any]
) -> Prerequisite:
    """The run of a preset, with the dataset and the model keys `model` overridden."""
    if preset not in preset_names():
        raise MismatchError(
            f"{preset!r} is not a finished run, a weights file or a preset",
            where=f"requires.{kind.replace('-', '_')}",
            hint="list the presets with `stackgan presets ls`",
        )
    base, cache = load_config(preset, []), inputs.config.data.cache
    if kind == "extractor":
        as_classifier(base, preset)
    overrides = {f"model.{key}": value for key, value in base.model.differing(model).items()}
    if base.data.cache != cache:
        overrides["data.cache"] = cache
    words = [f"{key}={str(value).lower() if isinstance(value, bool) else value}" for key, value in overrides.items()]
    name, default = free_run_name(run_name(preset, cache), inputs.cache, inputs.workspace), run_name(preset, cache)
    made = load_config(preset, words)
    steps = total_steps(made.train, len(inputs.cache.rows(made.data.split)))
    named = [] if name == default else ["--name", name]
    command = shlex.join(["stackgan", "train", "--preset", preset, *named, *words])
    cost = f"{steps:,} steps of {made.train.batch_size} images"
    return Prerequisite(kind, f"{kind} {preset!r}", cost, command, made, name)
