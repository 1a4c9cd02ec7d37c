"""A dataset as `stackgan prepare` sees it: a row that says how its records are found or made, and which presets belong to it."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stackgan_cli.data.download import Progress
from stackgan_cli.data.records import Record
from stackgan_cli.errors import UsageError


@dataclass(frozen=True)
class SourceOptions:
    """User options about the source of the records."""

    workspace: Path = Path()
    source: Path | None = None
    """A folder in the layout of the dataset's authors; None searches the usual places and then downloads."""
    count: int | None = None
    """Number of images, for a dataset that is drawn."""
    species: int | None = None
    image_size: int = 304
    """Side of the images in pixels, for a dataset that is drawn."""
    seed: int = 0
    progress: Progress | None = None
    """Called with the bytes downloaded and the total."""


@dataclass(frozen=True)
class Gathered:
    """Records, and notes for the user about them."""

    records: Sequence[Record]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """One row of the table in `sources/__init__.py`. A file in this folder defines it, with everything specific to the dataset."""

    name: str
    summary: str
    gather: Callable[[SourceOptions], Gathered]
    image_size: int = 304
    """Default side of the stored images in pixels."""
    crop: str = "box"
    """Whether images are cropped to the object (`box`) or not (`none`)."""
    preset: str = "v1-stage2"
    """The preset that `stackgan train` uses when none is given."""
    text_encoder: str = "char-cnn-rnn"
    """The preset that trains a text encoder for its captions."""
    classifier: str | None = None
    """The preset of the feature extractor for its metrics, trained when missing; None if a published network suits its images."""
    judge: str | None = None
    """The preset of the classifier that checks whether generated images show their labels, trained when missing."""


def refuse_source(options: SourceOptions, reason: str) -> None:
    """Raise UsageError when --source was given for a dataset that is not read from a folder."""
    if options.source is not None:
        raise UsageError(reason, where="--source", hint="leave --source out")


def find_source(name: str, workspace: Path, holds: Callable[[Path], bool]) -> Path | None:
    """The first of the usual places that contains the dataset: in `$STACKGAN_DATA`, then in the workspace."""
    bases = [workspace / "downloads", workspace / "data", workspace]
    if os.environ.get("STACKGAN_DATA"):
        bases.insert(0, Path(os.environ["STACKGAN_DATA"]))
    return next((place for base in bases for place in (base / name, base) if holds(place)), None)
