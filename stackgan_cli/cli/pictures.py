"""What `stackgan sample` writes: a PNG a picture, a captioned grid, and a sidecar from which any single picture can be made again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stackgan_cli import __version__
from stackgan_cli.errors import UsageError, UserError

if TYPE_CHECKING:
    from stackgan_cli.cli.ui import Session
    from stackgan_cli.sampling import Sampler

HELD_OUT = 6
"""Captions that are drawn when the user gives none."""


def slug(text: str) -> str:
    """The beginning of a caption as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:40].strip("-") or "picture"


def conditions(
    session: Session, sampler: Sampler, captions: Sequence[str], labels: Sequence[int]
) -> tuple[list[str] | None, list[int] | None]:
    """The captions or the labels to draw, both None for an unconditional model; without any, held-out captions or the first classes.

    Raises UsageError for captions or labels that the model does not take.
    """
    if captions and sampler.encoder is None:
        what = "is conditional on classes: give --label" if sampler.num_classes else "is unconditional: it takes no captions"
        raise UsageError(f"this model {what}", where=sampler.weights.path)
    if sampler.num_classes is not None:
        return None, _checked_labels(labels, sampler.num_classes)
    if labels:
        raise UsageError("this model takes no class labels", where=sampler.weights.path, hint="leave out --label")
    if sampler.encoder is None:
        return None, None
    texts = list(captions) or _held_out(session, sampler)
    _say_what_is_not_read(session, sampler, texts)
    return texts, None


@dataclass
class Pictures:
    """Pictures in rows of `count`, a row a caption or label: {side: uint8 (N, side, side, 3)}, by ascending side."""

    sampler: Sampler
    captions: list[str] | None
    labels: list[int] | None
    seeds: list[int]
    count: int
    images: dict[int, np.ndarray]
    mean: bool

    @classmethod
    def draw(
        cls,
        session: Session,
        sampler: Sampler,
        captions: Sequence[str],
        *,
        labels: Sequence[int],
        count: int,
        seed: int,
        stage: str | None,
        scale: str,
        fixed_noise: bool,
        mean: bool,
    ) -> Pictures:
        """Draw `count` pictures a caption. Seeds count up from `seed` (from row to row too, unless `fixed_noise`).

        Raises UsageError as `conditions` and `kept_sides` do.
        """
        texts, classes = conditions(session, sampler, captions, labels)
        rows = len(texts or classes or [None])
        seeds = [seed + number + (0 if fixed_noise else row * count) for row in range(rows) for number in range(count)]
        repeated = None if texts is None else [text for text in texts for _ in range(count)]
        repeated_labels = None if classes is None else [label for label in classes for _ in range(count)]
        images = sampler.sample(repeated, seeds, labels=repeated_labels, mean=mean)
        kept = kept_sides(sorted(images), stage, scale, sampler.weights.path)
        return cls(sampler, texts, classes, seeds, count, {side: images[side] for side in kept}, mean)

    def write(self, folder: Path, *, with_grid: bool) -> dict[str, Any]:
        """Write everything into `folder`; returns the sidecar's content with the paths."""
        from stackgan_cli.files import write_json
        from stackgan_cli.viz.images import grid, save_png

        entries: list[dict[str, Any]] = []
        for number, seed in enumerate(self.seeds):
            caption = None if self.captions is None else self.captions[number // self.count]
            label = None if self.labels is None else self.labels[number // self.count]
            for side, images in self.images.items():
                name = f"{number:04d}-{slug(caption or label_name(label) or 'picture')}-seed{seed}-{side}px.png"
                save_png(folder / name, images[number])
                again = self._again(caption, label, seed, side)
                entries.append({"file": name, "caption": caption, "label": label, "seed": seed, "side": side, "command": again})
        grids = []
        for side, images in self.images.items() if with_grid else ():
            path = folder / (f"grid-{side}px.png" if len(self.images) > 1 else "grid.png")
            names = self.captions if self.labels is None else [label_name(label) for label in self.labels]
            save_png(path, grid(images, self.count, names))
            grids.append(str(path))
        facts = {**identity_of(self.sampler), "mean": self.mean, "pictures": entries}
        write_json(folder / "samples.json", facts)
        return {**facts, "folder": str(folder), "grid": "\n".join(grids), "sidecar": str(folder / "samples.json")}

    def _again(self, caption: str | None, label: int | None, seed: int, side: int) -> str:
        """The command that makes one picture again."""
        words = ["stackgan", "sample", *([caption] if caption is not None else []), "--weights", str(self.sampler.weights.path)]
        words += ["--seed", str(seed), "--count", "1", *(["--mean"] if self.mean else [])]
        words += ["--label", str(label)] if label is not None else []
        words += ["--scale", str(side)]
        return shlex.join(words)


def label_name(label: int | None) -> str:
    return "" if label is None else f"class {label}"


def _checked_labels(labels: Sequence[int], num_classes: int) -> list[int]:
    wrong = [label for label in labels if not 0 <= label < num_classes]
    if wrong:
        raise UsageError(f"there is no class {wrong[0]}", where="--label", hint=f"0 to {num_classes - 1}")
    return list(labels) or list(range(min(HELD_OUT, num_classes)))


def kept_sides(sides: list[int], stage: str | None, scale: str, where: Path) -> list[int]:
    """Which of the model's sides to keep; `stage` is 1, 2, both or None, `scale` a side, all or empty. Raises UsageError."""
    if stage == "2" and len(sides) == 1:
        raise UsageError(f"these weights have one stage, of {sides[0]} px", where=where, hint="use --stage 1, or the run of a Stage-II")
    if scale and scale != "all" and scale not in map(str, sides):
        raise UsageError(f"these weights make no pictures of {scale} px", where=where, hint=f"--scale {'|'.join(map(str, sides))}|all")
    if stage == "both" or scale == "all":
        return sides
    return sides[:1] if stage == "1" else [int(scale)] if scale else sides[-1:]


def side_of(sampler: Sampler, scale: str) -> int:
    """The one side that is asked for, else the largest. Raises UsageError."""
    if scale == "all":
        raise UsageError("one side at a time", where="--scale", hint=f"--scale {'|'.join(map(str, sampler.sides))}")
    return kept_sides(sampler.sides, None, scale, sampler.weights.path)[0]


def identity_of(sampler: Sampler) -> dict[str, Any]:
    """What drew the pictures, as sidecars record it."""
    weights = sampler.weights
    return {
        "stackgan": __version__,
        "weights": str(weights.path),
        "step": weights.step,
        "preset": weights.config.name,
        "text_encoder": weights.text_encoder["hash"] if weights.text_encoder else None,
    }


def _held_out(session: Session, sampler: Sampler) -> list[str]:
    """Captions to draw when none is given: those of the configuration, else of the first held-out images."""
    from stackgan_cli.data.cache import Cache

    config = sampler.weights.config
    if config.samples.captions:
        return list(config.samples.captions)
    try:
        cache = Cache.open(session.workspace.cache_path(config.data.cache))
    except UserError:
        raise UsageError("say what to draw", hint='stackgan sample "a red bird with black wings"') from None
    rows = cache.rows("test")[:HELD_OUT]
    session.say("no caption given: those of held-out images")
    return [cache.captions[cache.caption_offsets[row]] for row in rows]


def _say_what_is_not_read(session: Session, sampler: Sampler, captions: Sequence[str]) -> None:
    from stackgan_cli.text.alphabet import coding_notes

    assert sampler.encoder is not None
    config = sampler.encoder.config
    for caption in captions:
        for note in coding_notes(caption, lowercase=config.lowercase, unknown=config.unknown):
            session.warn(f"{caption[:40]!r}: {note}")
