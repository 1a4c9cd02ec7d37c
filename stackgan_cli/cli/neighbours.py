"""`stackgan neighbours`: the training images nearest to generated ones, to see whether any were learned by heart."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stackgan_cli.cli.common import (
    Device,
    Labels,
    Output,
    RunName,
    Scale,
    TextEncoderFile,
    WeightsFile,
    examples,
    folder_of,
    session_of,
    source_of,
)
from stackgan_cli.errors import UsageError

EPILOG = examples(
    "stackgan neighbours",
    'stackgan neighbours "a red bird with black wings" "a yellow bird" --by pixels',
    "stackgan neighbours --real 8 --by features",
    "stackgan neighbours --labels 0-9",
)
SHEET_ROWS = 24
"""Queries that the picture shows; the JSON file has all."""


class By(StrEnum):
    discriminator = "discriminator"
    encoder = "encoder"
    features = "features"
    pixels = "pixels"


def neighbours(
    ctx: typer.Context,
    captions: Annotated[
        list[str] | None, typer.Argument(help="What to draw. Default: captions of held-out images.", show_default=False)
    ] = None,
    labels: Labels = None,
    images: Annotated[Path | None, typer.Option(help="Pictures of a folder instead of generated ones.", show_default=False)] = None,
    real: Annotated[int, typer.Option(min=0, help="So many training images instead: each should be its own nearest.")] = 0,
    count: Annotated[
        int | None, typer.Option(min=1, help="Generated images; captions or labels are taken in turn. Default: one each, at least 8.")
    ] = None,
    nearest: Annotated[int, typer.Option(min=1, max=50, help="Neighbours of each.")] = 5,
    by: Annotated[
        By | None,
        typer.Option(
            help="discriminator: its last map before the text (the papers); encoder: SGAN's; an extractor's features; or pixels. "
            "Default: the encoder where the weights have one, else the discriminator.",
            show_default=False,
        ),
    ] = None,
    extractor: Annotated[str, typer.Option(help="With --by features. Default: as for evaluate.", show_default=False)] = "",
    weights_folder: Annotated[Path | None, typer.Option(help="Where extractors' weights are.", show_default=False)] = None,
    cache: Annotated[str, typer.Option(help="Whose training images. Default: the run's.", show_default=False)] = "",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first image; the next has the next seed.")] = 0,
    run: RunName = "",
    weights: WeightsFile = None,
    scale: Scale = "",
    output: Output = None,
    text_encoder: TextEncoderFile = None,
    device: Device = "auto",
) -> None:
    """Show generated images beside the training images nearest to them."""
    from stackgan_cli.cli.extract import extract_function
    from stackgan_cli.cli.likeness import discriminator_function, encoder_function, find_queries, has_encoder, pixel_function, search
    from stackgan_cli.cli.pictures import identity_of, side_of
    from stackgan_cli.data.cache import Cache
    from stackgan_cli.files import write_json
    from stackgan_cli.metrics.image_sets import CacheSet
    from stackgan_cli.runtime import pick_device
    from stackgan_cli.sampling import Sampler
    from stackgan_cli.viz.grids import save_png
    from stackgan_cli.viz.nearest import neighbour_sheet

    session = session_of(ctx)
    if (images is not None) + bool(real) + bool(captions or labels) > 1:
        raise UsageError("give captions or labels, --images or --real, not several of them")
    source = source_of(session, run, weights)
    sampler = Sampler.load(source, pick_device(device), text_encoder=text_encoder)
    data = Cache.open(session.workspace.cache_path(cache or sampler.weights.config.data.cache))
    side = side_of(sampler, scale)
    training = CacheSet(data, "train", side, whole=sampler.weights.config.data.whole)
    by = by or (By.encoder if has_encoder(sampler) else By.discriminator)
    if by == By.encoder:
        extract, seen_by = encoder_function(sampler)
    elif by == By.discriminator:
        extract, seen_by = discriminator_function(sampler, side)
    elif by == By.pixels:
        extract, seen_by = pixel_function()
    else:
        extract, seen_by = extract_function(session, extractor, data, sampler.device, weights_folder=weights_folder)

    pictures, queries = find_queries(session, sampler, training, captions or [], labels or [], images, real, count, seed, side)
    home = folder_of(session, source, "neighbours")
    found = search(session, training, extract, seen_by, None if by == By.pixels else home)(extract(pictures), nearest)
    for query, indices, distances in zip(queries, found.indices.tolist(), found.distances.tolist(), strict=True):
        query["neighbours"] = [
            {"name": data.names[training.rows[index]], "row": int(training.rows[index]), "distance": distance}
            for index, distance in zip(indices, distances, strict=True)
        ]
    facts = {**identity_of(sampler), "by": by.value, "seen_by": seen_by, "cache": str(data.path), "training_images": len(training)}
    facts |= {"side": side, "queries": queries}
    lines = []
    if real:
        facts["own_nearest"] = sum(query["row"] == query["neighbours"][0]["row"] for query in queries)
        lines.append(f"{facts['own_nearest']} of {len(queries)} training images are their own nearest neighbours")
    folder, name = output or home, "real" if real else "neighbours" if images is None else "images"
    shown = found.indices[:SHEET_ROWS]
    drawn = training.read(shown.ravel()).reshape(*shown.shape, side, side, 3)
    save_png(folder / f"{name}.png", neighbour_sheet(pictures[:SHEET_ROWS], drawn))
    write_json(folder / f"{name}.json", facts)
    session.result({**facts, "folder": str(folder)}, "\n".join([*lines, str(folder / f"{name}.png")]))
