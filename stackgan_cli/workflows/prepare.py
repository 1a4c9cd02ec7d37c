"""`prepare`: a dataset into a cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stackgan_cli.data.prepare import prepare as make_cache
from stackgan_cli.data.sources import SourceOptions, find_dataset, gather
from stackgan_cli.errors import UserError
from stackgan_cli.workflows.reporter import SILENT, Reporter
from stackgan_cli.workspace import Workspace


def prepare(
    dataset: str = "demo",
    *,
    source: Path | None = None,
    image_size: int | None = None,
    fit: str = "squash",
    count: int | None = None,
    species: int | None = None,
    seed: int = 0,
    name: str = "",
    workers: int | None = None,
    strict: bool = False,
    force: bool = False,
    workspace: Workspace | None = None,
    reporter: Reporter = SILENT,
) -> dict[str, Any]:
    """Make a cache of a dataset, called `name` (default: as the dataset), and return what it holds. An interrupted one is continued.

    `source` is a folder of the dataset as published; by default it is looked for, else downloaded. `count`, `species` and `seed` apply to
    the drawn birds only. See `data.prepare.prepare` for `fit`, `workers`, `strict` and `force`, and for what is raised.
    """
    workspace = workspace or Workspace.locate()
    kind = find_dataset(dataset)
    side = kind.image_size if image_size is None else image_size
    destination = workspace.cache_path_for(name or dataset)
    with reporter.progress(f"fetching {dataset}", unit="bytes") as bar:
        options = SourceOptions(workspace.root, source and source.expanduser(), count, species, side, seed, bar.update)
        try:
            gathered = gather(dataset, options)
        except UserError:
            if source is not None or force or not destination.is_file():
                raise
            # The dataset itself has gone, but what was made of it exists.
            return {**workspace.open_cache(str(destination)).summary(), "existed": True}
    with reporter.progress(f"preparing {destination.stem}", unit="images") as bar:
        made = make_cache(
            gathered.records,
            destination,
            dataset=dataset,
            image_size=side,
            fit=fit,
            crop=kind.crop,
            workers=workers,
            strict=strict,
            force=force,
            progress=bar.update,
            notes=gathered.notes,
        )
    for note in made.notes:
        reporter.warn(note)
    if made.skipped:
        first = ", ".join(f"{image} ({reason})" for image, reason in made.skipped[:3])
        reporter.warn(f"{len(made.skipped)} images were left out: {first}{' ...' if len(made.skipped) > 3 else ''}")
    return {
        "path": str(made.path),
        "images": made.num_images,
        "train": made.num_train,
        "test": made.num_test,
        "captions": made.num_captions,
        "classes": made.num_classes,
        "skipped": [{"name": image, "reason": reason} for image, reason in made.skipped],
        "resumed": made.resumed,
        "existed": made.existed,
        "seconds": round(made.seconds, 3),
    }
