"""`stackgan prepare`: convert a dataset to a cache."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stackgan_cli.cli.common import examples, session_of

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
        str,
        typer.Argument(help="Dataset: demo (drawn birds) or cub (CUB-200-2011) with captions; mnist, svhn, cifar10 or digits with labels."),
    ] = "demo",
    source: Annotated[Path | None, typer.Option(help="Folder of the dataset as published. Default: look for it, else download it.")] = None,
    image_size: Annotated[
        int | None,
        typer.Option(
            help="Side of the stored images in pixels. Default: 304, or the dataset's own for datasets with labels.", show_default=False
        ),
    ] = None,
    fit: Annotated[
        Fit, typer.Option(help="How images are resized: squash makes them square (StackGAN-v1), keep scales the shorter side (v2).")
    ] = Fit.squash,
    count: Annotated[int | None, typer.Option(help="Number of images to draw (demo only). Default: 3000.", show_default=False)] = None,
    species: Annotated[
        int | None, typer.Option(help="Number of species, of which a fifth is held out (demo only). Default: 1000.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the drawing (demo only).")] = 0,
    name: Annotated[str, typer.Option(help="Name of the cache. Default: the dataset's name.", show_default=False)] = "",
    workers: Annotated[int | None, typer.Option(min=1, help="Number of processes. Default: one per core.", show_default=False)] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first unreadable image instead of skipping it.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing cache of that name.")] = False,
) -> None:
    """Convert a dataset to a cache. If interrupted, the same command continues."""
    from stackgan_cli.workflows.prepare import prepare as make

    session = session_of(ctx)
    data = make(
        dataset,
        source=source,
        image_size=image_size,
        fit=fit.value,
        count=count,
        species=species,
        seed=seed,
        name=name,
        workers=workers,
        strict=strict,
        force=force,
        workspace=session.workspace,
        reporter=session,
    )
    if "seconds" not in data:
        session.result(data, f"{data['path']}: exists already")
        return
    state = "exists already" if data["existed"] else f"made in {data['seconds']:.0f} s"
    what = f"{data['captions']:,} captions" if data["captions"] else f"{data['classes']} classes"
    session.result(data, f"{data['path']}: {data['train']:,} training and {data['test']:,} test images, {what}; {state}")
