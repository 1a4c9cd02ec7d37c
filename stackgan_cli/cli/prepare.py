"""`stackgan prepare`: a dataset into a cache."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stackgan_cli.cli.common import examples, session_of
from stackgan_cli.errors import UserError

EPILOG = examples(
    "stackgan prepare demo",
    "stackgan prepare cub --source ~/data",
    "stackgan prepare digits",
    "stackgan prepare demo --count 500 --image-size 76 --name small",
)


class Fit(StrEnum):
    squash = "squash"
    keep = "keep"


def prepare(
    ctx: typer.Context,
    dataset: Annotated[
        str, typer.Argument(help="demo (drawn birds), cub (CUB-200-2011 with captions); with labels mnist, svhn, cifar10, digits.")
    ] = "demo",
    source: Annotated[Path | None, typer.Option(help="Folder of the dataset as published. Default: look for it, else download.")] = None,
    image_size: Annotated[
        int | None,
        typer.Option(help="Side of the stored images in pixels. Default: 304, with labels the dataset's.", show_default=False),
    ] = None,
    fit: Annotated[Fit, typer.Option(help="squash: to a square (StackGAN-v1). keep: shorter side to the size (v2).")] = Fit.squash,
    count: Annotated[int | None, typer.Option(help="demo: images to draw. Default: 3000.", show_default=False)] = None,
    species: Annotated[int | None, typer.Option(help="demo: species, a fifth held out. Default: 1000.", show_default=False)] = None,
    seed: Annotated[int, typer.Option(help="demo: another seed draws other birds.")] = 0,
    name: Annotated[str, typer.Option(help="Name of the cache. Default: the dataset's.", show_default=False)] = "",
    workers: Annotated[int | None, typer.Option(min=1, help="Processes. Default: one a core.", show_default=False)] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first bad image instead of leaving it out.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a cache of that name.")] = False,
) -> None:
    """Make a cache of a dataset. The same command continues it after an interruption."""
    from stackgan_cli.data.cache import Cache
    from stackgan_cli.data.prepare import prepare as make
    from stackgan_cli.data.sources import SourceOptions, find_dataset, gather

    session = session_of(ctx)
    root, kind = session.workspace.root, find_dataset(dataset)
    side = kind.image_size if image_size is None else image_size
    destination = session.workspace.cache_path_for(name or dataset)
    with session.progress(f"fetching {dataset}", unit="bytes") as bar:
        options = SourceOptions(root, source and source.expanduser(), count, species, side, seed, bar.update)
        try:
            gathered = gather(dataset, options)
        except UserError:
            if source is not None or force or not destination.is_file():
                raise
            summary = Cache.open(destination).summary()  # the dataset itself has gone, but what was made of it is there
            session.result({**summary, "existed": True}, f"{destination}: is there already")
            return
    with session.progress(f"preparing {destination.stem}", unit="images") as bar:
        report = make(
            gathered.records,
            destination,
            dataset=dataset,
            image_size=side,
            fit=fit.value,
            crop=kind.crop,
            workers=workers,
            strict=strict,
            force=force,
            progress=bar.update,
            notes=gathered.notes,
        )
    for note in report.notes:
        session.warn(note)
    if report.skipped:
        first = ", ".join(f"{image} ({reason})" for image, reason in report.skipped[:3])
        session.warn(f"{len(report.skipped)} images were left out: {first}{' ...' if len(report.skipped) > 3 else ''}")
    data = {
        "path": str(report.path),
        "images": report.num_images,
        "train": report.num_train,
        "test": report.num_test,
        "captions": report.num_captions,
        "classes": report.num_classes,
        "skipped": [{"name": image, "reason": reason} for image, reason in report.skipped],
        "resumed": report.resumed,
        "existed": report.existed,
        "seconds": round(report.seconds, 3),
    }
    state = "is there already" if report.existed else f"made in {report.seconds:.0f} s"
    what = f"{report.num_captions:,} captions" if report.num_captions else f"{report.num_classes} classes"
    counts = f"{report.num_train:,} training and {report.num_test:,} test images, {what}"
    session.result(data, f"{report.path}: {counts}; {state}")
