"""`interpolate`: images between captions or between noise vectors, and grids over the two kinds of noise."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from stackgan_cli.errors import UsageError
from stackgan_cli.files import write_json
from stackgan_cli.models.interface import ConditionalGenerator
from stackgan_cli.sampling import Sampler, Stop, noise_of, render, walk
from stackgan_cli.viz.animations import require_video, save_gif, save_mp4
from stackgan_cli.viz.grids import grid, save_png
from stackgan_cli.workflows.conditions import conditions, identity_of, label_name, label_options, recorded_command, side_of
from stackgan_cli.workflows.generators import folder_of, open_generator
from stackgan_cli.workflows.reporter import SILENT, Reporter
from stackgan_cli.workspace import Name, Workspace


def interpolate(
    captions: Sequence[str] = (),
    *,
    model: Name = "",
    labels: Sequence[str] = (),
    steps: int = 8,
    noise: bool = False,
    count: int = 3,
    noise_grid: str = "",
    ca_only: bool = False,
    zero_noise: bool = False,
    seed: int = 0,
    frames: int = 24,
    video: bool = False,
    scale: str = "",
    output: Path | None = None,
    text_encoder: Path | None = None,
    workspace: Workspace | None = None,
    device: str = "auto",
    reporter: Reporter = SILENT,
) -> dict[str, Any]:
    """Interpolate between captions or classes, or with `noise` between `count` seeds; returns the sidecar and the folder of the images.

    `noise_grid` ("RxC") and `ca_only` make one grid of noises instead. `steps` images per leg of the strip, `frames` per leg of the GIF.
    """
    workspace = workspace or Workspace.locate()
    if noise + bool(noise_grid) + ca_only > 1:
        raise UsageError("give one of --noise, --noise-grid and --ca-only")
    if zero_noise and (noise or noise_grid):
        raise UsageError("--zero-noise leaves no noise to vary", hint="leave it out")
    shape = _grid_shape(noise_grid)
    if video:
        require_video()
    source, sampler = open_generator(model, workspace, reporter, device=device, text_encoder=text_encoder)
    scene = Scene.of(sampler, workspace, reporter, captions, labels, scale=scale, seed=seed, zero=zero_noise)
    folder = output or folder_of(source, workspace, "interpolate")
    if shape is not None:
        files, mode, options = [folder / "noise-grid.png"], "noise-grid", ["--noise-grid", noise_grid]
        scene.write_noise_grid(*shape, files[0])
    elif ca_only:
        files, mode, options = [folder / "conditioning.png"], "ca-only", ["--ca-only", "--steps", str(steps)]
        scene.write_conditioning(steps, files[0])
    else:
        noise = noise or scene.text is None
        mode, options = ("noise", ["--noise", "--count", str(count)]) if noise else ("captions", [])
        if not noise and not captions and not labels:
            scene.keep(2)
        stops = scene.between_seeds(count) if noise else scene.between_conditions()
        names = [f"seed {seed + number}" for number in range(count)] if noise else scene.names
        files = scene.write_walk(stops, names, folder, steps=steps, frames=frames, video=video)
        options += ["--steps", str(steps), "--frames", str(frames), *(["--video"] if video else [])]
    facts = scene.facts(mode, options, files, text_encoder)
    write_json(folder / f"{files[0].stem}.json", facts)
    return {**facts, "folder": str(folder)}


def _grid_shape(text: str) -> tuple[int, int] | None:
    """(rows, columns) of `4x4`; None for an empty string. Raises UsageError."""
    if not text:
        return None
    match = re.fullmatch(r"(\d{1,2})x(\d{1,2})", text.strip().lower())
    if match is None or "0" in match.groups():
        raise UsageError(f"{text!r} is not a shape", where="--noise-grid", hint="rows x columns, for example 4x4")
    return int(match[1]), int(match[2])


@dataclass
class Scene:
    """What to interpolate between. `text` is (N, T), a row per name, or None for an unconditional model."""

    sampler: Sampler
    names: list[str]
    captions: list[str] | None
    labels: list[int] | None
    text: Tensor | None
    side: int
    seed: int
    zero: bool

    @classmethod
    def of(
        cls,
        sampler: Sampler,
        workspace: Workspace,
        reporter: Reporter,
        captions: Sequence[str],
        labels: Sequence[str],
        *,
        scale: str,
        seed: int,
        zero: bool,
    ) -> Scene:
        """The conditions to generate from. Raises UsageError for captions or labels that the model does not take."""
        side = side_of(sampler, scale)
        texts, classes = conditions(sampler, workspace, reporter, captions, labels)
        text = None
        if texts is not None:
            text = sampler.vectors(texts)
        elif classes is not None:
            assert isinstance(sampler.generator, ConditionalGenerator)
            text = sampler.generator.condition(torch.tensor(classes, device=sampler.device))
        names = texts or [label_name(label, sampler.weights.classes) for label in classes or []]
        return cls(sampler, names, texts, classes, text, side, seed, zero)

    def keep(self, count: int) -> None:
        """Drop all conditions but the first `count`."""
        self.names = self.names[:count]
        self.captions = None if self.captions is None else self.captions[:count]
        self.labels = None if self.labels is None else self.labels[:count]
        self.text = None if self.text is None else self.text[:count]

    def noise(self, seed: int) -> dict[str, Tensor]:
        """The noise inputs of one image: name to (D,)."""
        drawn = noise_of(self.sampler.generator, [seed], self.sampler.device)
        return {name: value[0] * 0 if self.zero else value[0] for name, value in drawn.items()}

    def generate(self, text: Tensor | None, noise: dict[str, Tensor]) -> np.ndarray:
        """Images uint8 (N, side, side, 3) of N rows of text and noise."""
        count = len(next(iter(noise.values())))
        return render(self.sampler.generator, text, range(count), device=self.sampler.device, noise=noise)[self.side]

    def between_conditions(self) -> list[Stop]:
        """A stop per caption or class, all with the noise of one seed."""
        assert self.text is not None
        if len(self.names) < 2:
            two = '"a red bird" "a blue bird"' if self.labels is None else "--labels 0,1"
            raise UsageError("interpolation needs at least two captions or classes", hint=f"{two}, or --noise")
        return [Stop(row, self.noise(self.seed)) for row in self.text]

    def between_seeds(self, count: int) -> list[Stop]:
        """A stop per seed, all with the first caption or class."""
        self.keep(1)
        return [Stop(None if self.text is None else self.text[0], self.noise(self.seed + number)) for number in range(count)]

    # -- pictures -------------------------------------------------------------------------------------------------------------

    def write_walk(self, stops: list[Stop], names: list[str], folder: Path, *, steps: int, frames: int, video: bool) -> list[Path]:
        """Write strip.png (from each stop to the next), grid.png (all pairs, if there are more than two stops), walk.gif and walk.mp4."""
        pairs = list(combinations(range(len(stops)), 2))
        drawn = {pair: self.generate(*walk([stops[index] for index in pair], steps)) for pair in pairs}
        sheets = {"strip.png": [pair for pair in pairs if pair[1] == pair[0] + 1]} | ({"grid.png": pairs} if len(stops) > 2 else {})
        for name, rows in sheets.items():
            titles = [f"{names[first]}  …  {names[last]}" for first, last in rows]
            save_png(folder / name, grid(np.concatenate([drawn[pair] for pair in rows]), steps, titles))
        moving = self.generate(*walk(stops, frames + 1, closed=True))
        save_gif(folder / "walk.gif", moving)
        if video:
            save_mp4(folder / "walk.mp4", moving)
        return [folder / name for name in (*sheets, "walk.gif", *(["walk.mp4"] if video else []))]

    def write_noise_grid(self, rows: int, columns: int, path: Path) -> None:
        """Write a grid for the first caption: conditioning noise varies by row, z by column (HDGAN section 4.1.2); for SGAN z1 and z0."""
        self.keep(1)
        self._write_grid([self.seed + row for row in range(rows)], [self.seed + column for column in range(columns)], path)

    def write_conditioning(self, count: int, path: Path) -> None:
        """Write a row per caption: `count` samples of the conditioning noise with one z (StackGAN++ Fig. 11, rows 2 and 3)."""
        self._write_grid([self.seed + number for number in range(count)], None, path)

    def _write_grid(self, conditioning: list[int], z: list[int] | None, path: Path) -> None:
        """With seeds of `z`: a row per conditioning seed, a column per z. Without: a row per caption, a column per conditioning seed."""
        generator, device = self.sampler.generator, self.sampler.device
        names = list(generator.noise_shapes(1))
        if len(names) == 1:
            raise UsageError(f"this model has no conditioning noise, only {names[0]}", where=self.sampler.weights.path, hint="use --noise")
        column = "z" if "z" in names else names[-1]
        columns = len(z or conditioning)
        if z is not None:
            seeds, z_seeds = [seed for seed in conditioning for _ in z], z * len(conditioning)
            captions = [*self.names, *[""] * (len(conditioning) - 1)]
        else:
            seeds, z_seeds, captions = conditioning * len(self.names), [self.seed], self.names
        noise = noise_of(generator, seeds, device)
        noise[column] = noise_of(generator, z_seeds, device)[column].expand(len(seeds), -1) * (0 if self.zero else 1)
        assert self.text is not None
        text = torch.repeat_interleave(self.text, len(seeds) // len(self.names), 0)
        save_png(path, grid(self.generate(text, noise), columns, captions))

    def facts(self, mode: str, options: list[str], files: list[Path], text_encoder: Path | None) -> dict[str, Any]:
        """The sidecar: what was generated, and the command that generates it again."""
        words = ["--seed", str(self.seed), *label_options(self.labels or [], self.sampler.weights.classes)]
        words += ["--scale", str(self.side), *options, *(["--zero-noise"] if self.zero else [])]
        return {
            **identity_of(self.sampler),
            "mode": mode,
            "captions": self.captions,
            "labels": self.labels,
            "seed": self.seed,
            "zero_noise": self.zero,
            "side": self.side,
            "files": [path.name for path in files],
            "command": recorded_command("interpolate", self.sampler, self.captions or [], words, text_encoder),
        }
