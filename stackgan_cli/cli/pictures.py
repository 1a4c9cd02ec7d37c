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


@dataclass
class Pictures:
    """Pictures in rows of `count`, a row a caption: {side: uint8 (N, side, side, 3)}, by ascending side."""

    sampler: Sampler
    captions: list[str] | None
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
        count: int,
        seed: int,
        stage: str | None,
        fixed_noise: bool,
        mean: bool,
    ) -> Pictures:
        """Draw `count` pictures a caption. Seeds count up from `seed` (from row to row too, unless `fixed_noise`).

        Raises UsageError for captions without a text encoder and for a stage that the model does not have.
        """
        texts: list[str] | None = None
        if sampler.encoder is None:
            if captions:
                raise UsageError("this model is unconditional: it takes no captions", where=sampler.weights.path)
        else:
            texts = list(captions) or _held_out(session, sampler)
            _say_what_is_not_read(session, sampler, texts)
        rows = len(texts) if texts is not None else 1
        seeds = [seed + number + (0 if fixed_noise else row * count) for row in range(rows) for number in range(count)]
        repeated = None if texts is None else [text for text in texts for _ in range(count)]
        images = sampler.sample(repeated, seeds, mean=mean)
        sides = sorted(images)
        if stage == "2" and len(sides) == 1:
            raise UsageError(
                f"these weights have one stage, of {sides[0]} px",
                where=sampler.weights.path,
                hint="use --stage 1, or the run of a Stage-II",
            )
        kept = {"1": sides[:1], "both": sides}.get(stage or "", sides[-1:])
        return cls(sampler, texts, seeds, count, {side: images[side] for side in kept}, mean)

    def write(self, folder: Path, *, with_grid: bool) -> dict[str, Any]:
        """Write everything into `folder`; returns the sidecar's content with the paths."""
        from stackgan_cli.files import write_json
        from stackgan_cli.viz.images import grid, save_png

        weights = self.sampler.weights
        entries: list[dict[str, Any]] = []
        for number, seed in enumerate(self.seeds):
            caption = None if self.captions is None else self.captions[number // self.count]
            for side, images in self.images.items():
                name = f"{number:04d}-{slug(caption or 'picture')}-seed{seed}-{side}px.png"
                save_png(folder / name, images[number])
                entries.append({"file": name, "caption": caption, "seed": seed, "side": side, "command": self._again(caption, seed, side)})
        grids = []
        for side, images in self.images.items() if with_grid else ():
            path = folder / (f"grid-{side}px.png" if len(self.images) > 1 else "grid.png")
            save_png(path, grid(images, self.count, self.captions))
            grids.append(str(path))
        facts = {
            "stackgan": __version__,
            "weights": str(weights.path),
            "step": weights.step,
            "preset": weights.config.name,
            "text_encoder": weights.text_encoder["hash"] if weights.text_encoder else None,
            "mean": self.mean,
            "pictures": entries,
        }
        write_json(folder / "samples.json", facts)
        return {**facts, "folder": str(folder), "grid": "\n".join(grids), "sidecar": str(folder / "samples.json")}

    def _again(self, caption: str | None, seed: int, side: int) -> str:
        """The command that makes one picture again."""
        words = ["stackgan", "sample", *([caption] if caption is not None else []), "--weights", str(self.sampler.weights.path)]
        words += ["--seed", str(seed), "--count", "1", *(["--mean"] if self.mean else [])]
        if len(self.images) > 1 and side == min(self.images):
            words += ["--stage", "1"]
        return shlex.join(words)


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
    session.say(f"no caption given: those of {len(rows)} held-out images")
    return [cache.captions[cache.caption_offsets[row]] for row in rows]


def _say_what_is_not_read(session: Session, sampler: Sampler, captions: Sequence[str]) -> None:
    from stackgan_cli.text.alphabet import coding_notes

    assert sampler.encoder is not None
    config = sampler.encoder.config
    for caption in captions:
        for note in coding_notes(caption, lowercase=config.lowercase, unknown=config.unknown):
            session.warn(f"{caption[:40]!r}: {note}")
