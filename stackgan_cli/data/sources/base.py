"""What a dataset is to `stackgan prepare`: a row that says how its records are found or made, and which presets belong to it."""

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
    """What a user may say about where records come from."""

    workspace: Path = Path()
    source: Path | None = None
    """A folder in the layout of the dataset's authors; None looks for one and downloads."""
    count: int | None = None
    """Number of images, where they are made."""
    species: int | None = None
    image_size: int = 304
    """Side in pixels to draw for, where images are drawn."""
    seed: int = 0
    progress: Progress | None = None
    """Told of bytes downloaded."""


@dataclass(frozen=True)
class Gathered:
    """Records, and what the user should know about them."""

    records: Sequence[Record]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dataset:
    """One row of the table in `sources/__init__.py`. A file of this folder defines it, with all that is special about the dataset."""

    name: str
    summary: str
    gather: Callable[[SourceOptions], Gathered]
    image_size: int = 304
    """Side in pixels at which images are stored unless another is asked for."""
    crop: str = "box"
    """Whether images are cropped to the object (`box`) or not (`none`)."""
    preset: str = "v1-stage2"
    """What `stackgan train` trains on it when no preset is given."""
    text_encoder: str = "char-cnn-rnn"
    """The preset that makes a text encoder for its captions."""
    classifier: str | None = None
    """The preset of the extractor that it is measured with, trained when missing; None where a published network knows such images."""
    judge: str | None = None
    """The preset of the classifier that says whether generated images show their labels, trained when missing."""


def refuse_source(options: SourceOptions, reason: str) -> None:
    """Raises UsageError when a folder was given to a dataset that is not read from one."""
    if options.source is not None:
        raise UsageError(reason, where="--source", hint="leave --source out")


def find_source(name: str, workspace: Path, holds: Callable[[Path], bool]) -> Path | None:
    """The first of the usual places that holds a dataset: below `$STACKGAN_DATA`, then below the workspace."""
    bases = [workspace / "downloads", workspace / "data", workspace]
    if os.environ.get("STACKGAN_DATA"):
        bases.insert(0, Path(os.environ["STACKGAN_DATA"]))
    return next((place for base in bases for place in (base / name, base) if holds(place)), None)
