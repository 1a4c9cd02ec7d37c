"""`stackgan neighbours`: the training images nearest to generated ones."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stackgan_cli.cli.common import Device, Labels, Output, RunName, Scale, TextEncoderFile, WeightsFile, examples, model_of, session_of

EPILOG = examples(
    "stackgan neighbours",
    'stackgan neighbours "a red bird with black wings" "a yellow bird" --by pixels',
    "stackgan neighbours --real 8 --by features",
    "stackgan neighbours --labels 0-9",
)


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
    from stackgan_cli.workflows.neighbours import neighbours as find

    session = session_of(ctx)
    facts = find(
        captions or [],
        model=model_of(run, weights),
        labels=labels or [],
        images=images,
        real=real,
        count=count,
        nearest=nearest,
        by=by.value if by else "",
        extractor=extractor,
        weights_folder=weights_folder,
        cache=cache,
        seed=seed,
        scale=scale,
        output=output,
        text_encoder=text_encoder,
        workspace=session.workspace,
        device=device,
        reporter=session,
    )
    sheet, lines = facts.pop("sheet"), []
    if real:
        lines.append(f"{facts['own_nearest']} of {len(facts['queries'])} training images are their own nearest neighbours")
    session.result(facts, "\n".join([*lines, sheet]))
