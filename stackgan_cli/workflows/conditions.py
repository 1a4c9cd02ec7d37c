"""What to generate images from (captions, or class labels as typed), at which resolutions, and what sidecars record about a model."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stackgan_cli import __version__
from stackgan_cli.errors import UsageError, UserError, did_you_mean
from stackgan_cli.runs import Weights
from stackgan_cli.runtime import pick_device
from stackgan_cli.sampling import Sampler
from stackgan_cli.text.alphabet import coding_notes
from stackgan_cli.workflows.reporter import Reporter
from stackgan_cli.workspace import Workspace

HELD_OUT = 6
"""Number of captions to use if the user gives none."""
FIRST_CLASSES = 10
"""Number of labels to use if the user gives none."""
SHOWN = 12
"""Number of names that an error lists."""


def conditions(
    sampler: Sampler, workspace: Workspace, reporter: Reporter, captions: Sequence[str], labels: Sequence[str]
) -> tuple[list[str] | None, list[int] | None]:
    """The captions or labels to generate from; both are None for an unconditional model. Default: held-out captions, the first classes.

    `labels` are as typed (see `parse_labels`). Raises UsageError for captions or labels that the model does not take.
    """
    if captions and sampler.encoder is None:
        what = "is class-conditional: use --labels" if sampler.num_classes else "is unconditional: it takes no captions"
        raise UsageError(f"this model {what}", where=sampler.weights.path)
    for caption in captions:
        if not caption.isprintable() and any("\ud800" <= character <= "\udfff" for character in caption):
            raise UsageError(f"the caption {caption!r} is not UTF-8 text", hint="put it into a UTF-8 text file and give --file FILE")
    if sampler.num_classes is not None:
        first = range(min(FIRST_CLASSES, sampler.num_classes))
        return None, parse_labels(labels, sampler.num_classes, sampler.weights.classes) or list(first)
    if labels:
        raise UsageError("this model takes no class labels", where=sampler.weights.path, hint="leave out --labels")
    if sampler.encoder is None:
        return None, None
    texts = list(captions) or _held_out(sampler, workspace, reporter)
    _note_what_is_not_read(sampler, texts, reporter)
    return texts, None


def _held_out(sampler: Sampler, workspace: Workspace, reporter: Reporter) -> list[str]:
    """Default captions: those of the configuration, else those of the first held-out images."""
    config = sampler.weights.config
    if config.samples.captions:
        return list(config.samples.captions)
    try:
        cache = workspace.open_cache(config.data.cache)
    except UserError:
        raise UsageError(
            "no captions given, and the run's cache does not exist", hint='stackgan sample "a red bird with black wings"'
        ) from None
    rows = cache.rows("test")[:HELD_OUT]
    reporter.say("no captions given: using those of held-out images")
    return [cache.captions[cache.caption_offsets[row]] for row in rows]


def _note_what_is_not_read(sampler: Sampler, captions: Sequence[str], reporter: Reporter) -> None:
    assert sampler.encoder is not None
    config = sampler.encoder.config
    for caption in captions:
        for note in coding_notes(caption, lowercase=config.lowercase, unknown=config.unknown):
            reporter.warn(f"{caption[:40]!r}: {note}")


def kept_sides(sides: list[int], stage: str | None, scale: str, where: Path) -> list[int]:
    """Which of the model's resolutions to keep; `stage` is 1, 2, both or None, `scale` a side, all or empty. Raises UsageError."""
    if stage == "2" and len(sides) == 1:
        raise UsageError(f"these weights have only one stage ({sides[0]} px)", where=where, hint="use --stage 1, or name a Stage-II run")
    if scale and scale != "all" and scale not in map(str, sides):
        raise UsageError(
            f"these weights do not generate images of {scale} px", where=where, hint=f"--scale {'|'.join(map(str, sides))}|all"
        )
    if stage == "both" or scale == "all":
        return sides
    return sides[:1] if stage == "1" else [int(scale)] if scale else sides[-1:]


def side_of(sampler: Sampler, scale: str) -> int:
    """The resolution that `scale` names, else the largest. Raises UsageError."""
    if scale == "all":
        raise UsageError("only one resolution at a time", where="--scale", hint=f"--scale {'|'.join(map(str, sampler.sides))}")
    return kept_sides(sampler.sides, None, scale, sampler.weights.path)[0]


def identity_of(sampler: Sampler) -> dict[str, Any]:
    """What generated the images, as recorded in sidecars."""
    weights = sampler.weights
    return {
        "stackgan": __version__,
        "weights": str(lasting_path(weights)),
        "step": weights.step,
        "preset": weights.config.name,
        "text_encoder": weights.text_encoder["hash"] if weights.text_encoder else None,
    }


def lasting_path(weights: Weights) -> Path:
    """The absolute path of a weights file; for `latest`, which changes as training continues, that of the file of its step."""
    path = weights.path.absolute()
    if path.name != "latest.safetensors" or not any(path.parent.glob("step-*.safetensors")):
        return path
    return path.with_name(f"step-{weights.step:08d}.safetensors")


def recorded_command(
    verb: str, sampler: Sampler, captions: Sequence[str], options: Sequence[str], text_encoder: Path | None, *, force: bool = False
) -> str:
    """The command line that generates the same again, from any folder and after training has continued.

    Captions that begin with a dash are given with --caption, so that further options can be added at the end of the command.
    """
    dashes = any(caption.startswith("-") for caption in captions)
    words = ["stackgan", verb, *(f"--caption={caption}" if dashes else caption for caption in captions)]
    words += ["--weights", str(lasting_path(sampler.weights)), *options]
    words += [] if text_encoder is None else ["--text-encoder", str(text_encoder.expanduser().absolute())]
    words += ["--force"] if force else []
    words += [] if sampler.device == pick_device("auto") else ["--device", str(sampler.device)]
    return shlex.join(words)


# -- class labels -----------------------------------------------------------------------------------------------------------


def label_name(label: int | None, names: Sequence[str] | None) -> str:
    """The name of a label, or `class 3` if it has none; empty for no label."""
    if label is None:
        return ""
    return names[label] if names is not None and label < len(names) else f"class {label}"


def label_options(labels: Sequence[int], names: Sequence[str] | None) -> list[str]:
    """The options that ask for these labels on a command line."""
    words = [label_word(label, names) for label in labels]
    return [option for word in words for option in ([f"--labels={word}"] if word.startswith("-") else ["--labels", word])]


def label_word(label: int, names: Sequence[str] | None) -> str:
    """A label as typed on a command line: its number, or its name if the number is the name of another class."""
    return label_name(label, names) if str(label) in (names or ()) else str(label)


def parse_labels(words: Sequence[str], num_classes: int, names: Sequence[str] | None) -> list[int]:
    """The labels that words like `3`, `0-9`, `0,3,7` or `airplane,ship` stand for, in order; names take precedence over numbers.

    Raises UsageError, with a suggestion, for a class that does not exist.
    """
    known = {name: number for number, name in enumerate(names or ())}
    parts = [part for word in words for part in ([word] if word in known else word.split(","))]
    return [label for part in parts for label in _labels(part.strip(), num_classes, known)]


def _labels(text: str, num_classes: int, known: dict[str, int]) -> list[int]:
    if text in known:
        return [known[text]]
    listed = ", ".join([*list(known)[:SHOWN], *(["..."] if len(known) > SHOWN else [])])
    hint = f"0 to {num_classes - 1}" + (f", or a name: {listed}" if known else "")
    match = re.fullmatch(r"(-?\d{1,9})(?:-(\d{1,9}))?", text)
    if match is None:
        raise UsageError(f"no class is called {text!r}{did_you_mean(text, known)}", where="--labels", hint=hint)
    first, last = int(match[1]), int(match[2] or match[1])
    for number in (first, last):
        if not 0 <= number < num_classes:
            raise UsageError(f"there is no class {number}", where="--labels", hint=hint)
    if last < first:
        raise UsageError(f"{text!r} is not a range of classes", where="--labels", hint=f"put the smaller number first: {last}-{first}")
    return list(range(first, last + 1))
