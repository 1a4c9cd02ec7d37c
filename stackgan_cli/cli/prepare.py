"""`stackgan prepare`: a dataset into a cache."""

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
