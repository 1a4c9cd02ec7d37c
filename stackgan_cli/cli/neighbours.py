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
        list[str] | None, typer.Argument(help="Captions to generate images from. Default: captions of held-out images.", show_default=False)
    ] = None,
    labels: Labels = None,
    images: Annotated[Path | None, typer.Option(help="Folder of images to use instead of generated ones.", show_default=False)] = None,
    real: Annotated[
        int, typer.Option(min=0, help="Number of training images to use instead, as a check: each should be its own nearest neighbor.")
    ] = 0,
    count: Annotated[
        int | None,
        typer.Option(min=1, help="Number of images to generate, cycling through captions or labels. Default: one for each, at least 8."),
    ] = None,
    nearest: Annotated[int, typer.Option(min=1, max=50, help="Number of neighbors per image.")] = 5,
    by: Annotated[
        By | None,
        typer.Option(
            help="Space to compare in: discriminator (its last feature map before the text, as in the papers), encoder (SGAN's), "
            "features (of an extractor) or pixels. "
            "Default: the encoder if the weights have one, else the discriminator.",
            show_default=False,
        ),
    ] = None,
    extractor: Annotated[
        str, typer.Option(help="Feature extractor, with --by features. Default: as for evaluate.", show_default=False)
    ] = "",
    weights_folder: Annotated[Path | None, typer.Option(help="Folder with published extractor weights.", show_default=False)] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Allow --extractor torchscript:FILE, which runs a program.")] = False,
    cache: Annotated[str, typer.Option(help="Cache to take the training images from. Default: the run's.", show_default=False)] = "",
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first image; it increases by one per image.")] = 0,
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
        trust=trust,
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
