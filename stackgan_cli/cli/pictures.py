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
from stackgan_cli.cli.labels import label_name, label_word, parse_labels
from stackgan_cli.errors import UsageError, UserError, did_you_mean

if TYPE_CHECKING:
    from torch import Tensor

    from stackgan_cli.cli.ui import Session
    from stackgan_cli.sampling import Sampler

HELD_OUT = 6
"""Captions that are drawn when the user gives none."""
FIRST_CLASSES = 10
"""Labels that are drawn when the user gives none."""


def slug(text: str) -> str:
    """The beginning of a caption as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:40].strip("-") or "picture"


def conditions(
    session: Session, sampler: Sampler, captions: Sequence[str], labels: Sequence[str]
) -> tuple[list[str] | None, list[int] | None]:
    """The captions or the labels to draw, both None for an unconditional model; without any, held-out captions or the first classes.

    `labels` are as they were typed (labels.py). Raises UsageError for captions or labels that the model does not take.
    """
    if captions and sampler.encoder is None:
        what = "is conditional on classes: give --labels" if sampler.num_classes else "is unconditional: it takes no captions"
        raise UsageError(f"this model {what}", where=sampler.weights.path)
    if sampler.num_classes is not None:
        first = range(min(FIRST_CLASSES, sampler.num_classes))
        return None, parse_labels(labels, sampler.num_classes, sampler.weights.classes) or list(first)
    if labels:
        raise UsageError("this model takes no class labels", where=sampler.weights.path, hint="leave out --labels")
    if sampler.encoder is None:
        return None, None
    texts = list(captions) or _held_out(session, sampler)
    _say_what_is_not_read(session, sampler, texts)
    return texts, None


@dataclass
class Pictures:
    """Pictures in rows of `count`, a row a caption or label: {side: uint8 (N, side, side, 3)}, by ascending side.

    `fixed` are the seeds (N,) of the noise inputs that do not come from a picture's own.
    """

    sampler: Sampler
    captions: list[str] | None
    labels: list[int] | None
    seeds: list[int]
    fixed: dict[str, list[int]]
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
        labels: Sequence[str],
        count: int,
        seed: int,
        stage: str | None,
        scale: str,
        fixed_noise: bool,
        fix: Sequence[str],
        mean: bool,
    ) -> Pictures:
        """Draw `count` pictures a caption. Seeds count up from `seed` (from row to row too, unless `fixed_noise`).

        `fix` names noise inputs that stay the same in a row: those of its first picture, or with NAME=SEED of a seed.
        Raises UsageError as `conditions`, `kept_sides` and `fixed_seeds` do.
        """
        texts, classes = conditions(session, sampler, captions, labels)
        rows = len(texts or classes or [None])
        seeds = [seed + number + (0 if fixed_noise else row * count) for row in range(rows) for number in range(count)]
        names = list(sampler.generator.noise_shapes(1))
        if mean and "z" not in names:
            raise UsageError("this model has no noise in the conditioning", where="--mean", hint=f"it has {' and '.join(names)}: see --fix")
        fixed = fixed_seeds(fix, names, [seed for first in seeds[::count] for seed in [first] * count])
        repeated = None if texts is None else [text for text in texts for _ in range(count)]
        repeated_labels = None if classes is None else [label for label in classes for _ in range(count)]
        images = sampler.sample(repeated, seeds, labels=repeated_labels, mean=mean, noise=_noise(sampler, fixed))
        kept = kept_sides(sorted(images), stage, scale, sampler.weights.path)
        return cls(sampler, texts, classes, seeds, fixed, count, {side: images[side] for side in kept}, mean)

    def write(self, folder: Path, *, with_grid: bool) -> dict[str, Any]:
        """Write everything into `folder`; returns the sidecar's content with the paths."""
        from stackgan_cli.files import write_json
        from stackgan_cli.viz.grids import grid, save_png

        entries: list[dict[str, Any]] = []
        names = self.sampler.weights.classes
        for number, seed in enumerate(self.seeds):
            caption = None if self.captions is None else self.captions[number // self.count]
            label = None if self.labels is None else self.labels[number // self.count]
            fixed = {name: each[number] for name, each in self.fixed.items()}
            what: dict[str, Any] = {"caption": caption, "label": label}
            what |= {} if label is None else {"class": label_name(label, names)}
            for side, images in self.images.items():
                name = f"{number:04d}-{slug(caption or label_name(label, names) or 'picture')}-seed{seed}-{side}px.png"
                save_png(folder / name, images[number])
                again = self._again(caption, label, seed, fixed, side)
                entries.append({"file": name, **what, "seed": seed, "fixed": fixed, "side": side, "command": again})
        grids = []
        for side, images in self.images.items() if with_grid else ():
            path = folder / (f"grid-{side}px.png" if len(self.images) > 1 else "grid.png")
            titles = self.captions if self.labels is None else [label_name(label, names) for label in self.labels]
            save_png(path, grid(images, self.count, titles))
            grids.append(str(path))
        facts = {**identity_of(self.sampler), "mean": self.mean, "pictures": entries}
        write_json(folder / "samples.json", facts)
        return {**facts, "folder": str(folder), "grid": "\n".join(grids), "sidecar": str(folder / "samples.json")}

    def _again(self, caption: str | None, label: int | None, seed: int, fixed: dict[str, int], side: int) -> str:
        """The command that makes one picture again."""
        words = ["stackgan", "sample", *([caption] if caption is not None else []), "--weights", str(self.sampler.weights.path)]
        words += ["--seed", str(seed), "--count", "1", *(["--mean"] if self.mean else [])]
        words += ["--labels", label_word(label, self.sampler.weights.classes)] if label is not None else []
        words += [word for name, other in fixed.items() for word in ("--fix", f"{name}={other}")]
        words += ["--scale", str(side)]
        return shlex.join(words)


def fixed_seeds(words: Sequence[str], names: Sequence[str], firsts: list[int]) -> dict[str, list[int]]:
    """Noise input to the seed (N,) that each picture takes it from: `firsts`, those of the first pictures of their rows, or the seed of
    NAME=SEED. Raises UsageError for a noise that the model does not have, and for what is no seed."""
    found = {}
    for word in words:
        name, given, seed = word.partition("=")
        if name not in names:
            raise UsageError(
                f"this model has no noise {name!r}{did_you_mean(name, names)}", where="--fix", hint=f"it has {', '.join(names)}"
            )
        if given and not (seed.isascii() and seed.isdecimal() and len(seed) < 19):
            raise UsageError(f"{seed!r} is no seed", where="--fix", hint=f"{name}, or {name}= and a number from 0")
        found[name] = [int(seed)] * len(firsts) if given else firsts
    return found


def _noise(sampler: Sampler, fixed: dict[str, list[int]]) -> dict[str, Tensor]:
    from stackgan_cli.sampling import noise_of

    return {name: noise_of(sampler.generator, seeds, sampler.device)[name] for name, seeds in fixed.items()}


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
