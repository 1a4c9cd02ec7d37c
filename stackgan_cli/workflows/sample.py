"""`sample`: images from captions or labels, a grid, and a sidecar from which any single image can be generated again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from stackgan_cli.data.image_files import SUFFIXES
from stackgan_cli.errors import UsageError, did_you_mean
from stackgan_cli.files import write_json
from stackgan_cli.metrics.image_folders import SIDECAR, own_files
from stackgan_cli.sampling import Sampler, noise_of
from stackgan_cli.viz.grids import grid, save_png
from stackgan_cli.workflows.conditions import conditions, identity_of, kept_sides, label_name, label_options, recorded_command
from stackgan_cli.workflows.generators import open_generator
from stackgan_cli.workflows.reporter import SILENT, Reporter
from stackgan_cli.workspace import Name, WeightsFile, Workspace


def sample(
    captions: Sequence[str] = (),
    *,
    model: Name = "",
    labels: Sequence[str] = (),
    count: int = 4,
    seed: int = 0,
    stage: str | None = None,
    scale: str = "",
    fixed_noise: bool = False,
    fix: Sequence[str] = (),
    mean: bool = False,
    grid: bool = True,
    output: Path | None = None,
    overwrite: bool = False,
    text_encoder: Path | None = None,
    force: bool = False,
    workspace: Workspace | None = None,
    device: str = "auto",
    reporter: Reporter = SILENT,
) -> dict[str, Any]:
    """Write `count` images per caption, or per class label, into `output` (default: a new folder in samples/); returns the sidecar.

    `model` is a run or a weights file; by default the newest run that makes images. Without captions or labels, captions of held-out images
    or the first classes are taken. Seeds count up from `seed`, one per image. See `Samples.generate` for the other arguments.
    A folder that already contains images is refused with a UsageError; with `overwrite`, those of an earlier `sample` are replaced.
    """
    workspace = workspace or Workspace.locate()
    if output is not None and not overwrite:
        _refuse_images(output)
    source, sampler = open_generator(model, workspace, reporter, device=device, text_encoder=text_encoder, force=force)
    samples = Samples.generate(
        sampler,
        workspace,
        reporter,
        captions,
        labels=labels,
        count=count,
        seed=seed,
        stage=stage,
        scale=scale,
        fixed_noise=fixed_noise,
        fix=fix,
        mean=mean,
    )
    samples.opened_with = {"text_encoder": text_encoder, "force": force}
    return samples.write(output or workspace.new_folder("samples", f"{_name_of(source)}-"), with_grid=grid)


def _refuse_images(folder: Path) -> None:
    """Raise UsageError if a folder contains images, which would later be taken for those of this run."""
    if not folder.is_dir():
        return
    found = next((path.name for path in sorted(folder.iterdir()) if path.name == SIDECAR or path.suffix.lower() in SUFFIXES), None)
    if found is not None:
        hint = "give another folder, or replace the images of an earlier sample with --overwrite"
        raise UsageError(f"this folder already contains images or a list of them ({found})", where=folder, hint=hint)


def _name_of(source: WeightsFile) -> str:
    return source.path.parent.parent.name if source.path.parent.name == "weights" else source.path.stem


def slug(text: str) -> str:
    """The beginning of a caption, as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower())[:40].strip("-") or "picture"


@dataclass
class Samples:
    """Images in rows of `count`, a row per caption or label: {side: uint8 (N, side, side, 3)}, by ascending side.

    `fixed` are the seeds (N,) of the noise inputs that do not come from an image's own.
    """

    sampler: Sampler
    captions: list[str] | None
    labels: list[int] | None
    seeds: list[int]
    fixed: dict[str, list[int]]
    count: int
    images: dict[int, np.ndarray]
    mean: bool
    opened_with: dict[str, Any] = field(default_factory=lambda: {"text_encoder": None})
    """The arguments `text_encoder` and `force` of `recorded_command`."""

    @classmethod
    def generate(
        cls,
        sampler: Sampler,
        workspace: Workspace,
        reporter: Reporter,
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
    ) -> Samples:
        """Generate `count` images per caption. Seeds count up from `seed` (from row to row too, unless `fixed_noise`).

        `fix` names noise inputs that stay the same in a row: those of its first image, or with NAME=SEED of a seed.
        Raises UsageError as `conditions`, `kept_sides` and `fixed_seeds` do.
        """
        texts, classes = conditions(sampler, workspace, reporter, captions, labels)
        rows = len(texts or classes or [None])
        seeds = [seed + number + (0 if fixed_noise else row * count) for row in range(rows) for number in range(count)]
        names = list(sampler.generator.noise_shapes(1))
        if mean and "z" not in names:
            raise UsageError(
                "this model has no conditioning noise", where="--mean", hint=f"its noise inputs are {' and '.join(names)}; see --fix"
            )
        fixed = fixed_seeds(fix, names, [seed for first in seeds[::count] for seed in [first] * count])
        repeated = None if texts is None else [text for text in texts for _ in range(count)]
        repeated_labels = None if classes is None else [label for label in classes for _ in range(count)]
        images = sampler.sample(repeated, seeds, labels=repeated_labels, mean=mean, noise=_noise(sampler, fixed))
        kept = kept_sides(sorted(images), stage, scale, sampler.weights.path)
        return cls(sampler, texts, classes, seeds, fixed, count, {side: images[side] for side in kept}, mean)

    def write(self, folder: Path, *, with_grid: bool) -> dict[str, Any]:
        """Write everything to `folder`; returns the sidecar's content and the paths.

        The images and grids that an earlier sidecar in the folder lists are removed first. Raises UsageError when a file that is not among
        them would be replaced.
        """
        entries: list[dict[str, Any]] = []
        files: dict[str, np.ndarray] = {}
        names = self.sampler.weights.classes
        for number, seed in enumerate(self.seeds):
            caption = None if self.captions is None else self.captions[number // self.count]
            label = None if self.labels is None else self.labels[number // self.count]
            fixed = {name: each[number] for name, each in self.fixed.items()}
            what: dict[str, Any] = {"caption": caption, "label": label}
            what |= {} if label is None else {"class": label_name(label, names)}
            for side, images in self.images.items():
                name = f"{number:04d}-{slug(caption or label_name(label, names) or 'picture')}-seed{seed}-{side}px.png"
                files[name] = images[number]
                again = self._again(caption, label, seed, fixed, side)
                entries.append({"file": name, **what, "seed": seed, "fixed": fixed, "side": side, "command": again})
        grids = {f"grid-{side}px.png" if len(self.images) > 1 else "grid.png": side for side in (self.images if with_grid else ())}
        facts = {**identity_of(self.sampler), "mean": self.mean, "pictures": entries}
        _make_room(folder, [*files, *grids])
        # The list comes first, so that the images of an interrupted run can be told from others.
        write_json(folder / SIDECAR, facts)
        for name, image in files.items():
            save_png(folder / name, image)
        titles = self.captions if self.labels is None else [label_name(label, names) for label in self.labels]
        for name, side in grids.items():
            save_png(folder / name, grid(self.images[side], self.count, titles))
        paths = "\n".join(str(folder / name) for name in grids)
        return {**facts, "folder": str(folder), "grid": paths, "sidecar": str(folder / SIDECAR)}

    def _again(self, caption: str | None, label: int | None, seed: int, fixed: dict[str, int], side: int) -> str:
        """The command that generates one image again."""
        words = ["--seed", str(seed), "--count", "1", *(["--mean"] if self.mean else [])]
        words += label_options([] if label is None else [label], self.sampler.weights.classes)
        words += [word for name, other in fixed.items() for word in ("--fix", f"{name}={other}")]
        words += ["--scale", str(side)]
        return recorded_command("sample", self.sampler, [] if caption is None else [caption], words, **self.opened_with)


def _make_room(folder: Path, names: Sequence[str]) -> None:
    """Remove the images and grids that the sidecar in `folder` lists. Raises UsageError if another file has one of the new `names`."""
    if not folder.is_dir():
        return
    own = own_files(folder)
    earlier = {SIDECAR, *own} if own is not None else set()
    foreign = next((name for name in (SIDECAR, *names) if name not in earlier and (folder / name).exists()), None)
    if foreign is not None:
        raise UsageError(
            "this file would be replaced, and no list of samples names it", where=folder / foreign, hint="give another --output"
        )
    for name in earlier:
        (folder / name).unlink(missing_ok=True)


def fixed_seeds(words: Sequence[str], names: Sequence[str], firsts: list[int]) -> dict[str, list[int]]:
    """Noise input to the seed (N,) that each image takes it from: `firsts`, those of the first images of their rows, or the seed of
    NAME=SEED. Raises UsageError for a noise that the model does not have, and for what is not a seed."""
    found = {}
    for word in words:
        name, given, seed = word.partition("=")
        if name not in names:
            raise UsageError(
                f"this model has no noise input {name!r}{did_you_mean(name, names)}", where="--fix", hint=f"choose from {', '.join(names)}"
            )
        if given and not (seed.isascii() and seed.isdecimal() and len(seed) < 19):
            raise UsageError(f"{seed!r} is not a seed", where="--fix", hint=f"for example {name} or {name}=7")
        found[name] = [int(seed)] * len(firsts) if given else firsts
    return found


def _noise(sampler: Sampler, fixed: dict[str, list[int]]) -> dict[str, Tensor]:
    return {name: noise_of(sampler.generator, seeds, sampler.device)[name] for name, seeds in fixed.items()}
