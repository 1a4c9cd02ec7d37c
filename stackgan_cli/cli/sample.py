"""`stackgan sample`: generate images from captions or class labels."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stackgan_cli.cli.common import (
    Device,
    Labels,
    MoreCaptions,
    RunName,
    TextEncoderFile,
    WeightsFile,
    examples,
    model_of,
    read_captions,
    session_of,
)
from stackgan_cli.errors import UsageError

EPILOG = examples(
    'stackgan sample "a red bird with black wings"',
    'stackgan sample "a yellow bird" "a blue bird" --count 8 --fixed-noise',
    "stackgan sample --file examples/captions.txt --scale all --output pictures",
    "stackgan sample --labels 0-9 --count 10 --fix z1",
)


class Stage(StrEnum):
    one = "1"
    two = "2"
    both = "both"


def sample(
    ctx: typer.Context,
    captions: Annotated[
        list[str] | None, typer.Argument(help="Captions to generate images from. Default: captions of held-out images.", show_default=False)
    ] = None,
    caption: MoreCaptions = None,
    file: Annotated[Path | None, typer.Option(help="Text file with one caption per line.")] = None,
    run: RunName = "",
    weights: WeightsFile = None,
    count: Annotated[int, typer.Option(min=1, help="Number of images per caption or label.")] = 4,
    grid: Annotated[bool, typer.Option("--grid/--no-grid", help="Also write a grid of all images with their captions.")] = True,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first image; it increases by one per image.")] = 0,
    stage: Annotated[
        Stage | None, typer.Option(help="Stage whose images to write (StackGAN-v1). Default: the last.", show_default=False)
    ] = None,
    scale: Annotated[str, typer.Option(help="Resolution of the images, e.g. 64, or all. Default: the largest.", show_default=False)] = "",
    labels: Labels = None,
    fixed_noise: Annotated[bool, typer.Option("--fixed-noise", help="Use the same noise for every caption or label.")] = False,
    fix: Annotated[
        list[str] | None, typer.Option(help="Noise input to keep fixed within a row: z1 (its first seed) or z1=SEED.", show_default=False)
    ] = None,
    mean: Annotated[bool, typer.Option("--mean", help="Use the mean conditioning instead of sampling it.")] = False,
    output: Annotated[Path | None, typer.Option(help="Output folder. Default: a new folder in samples/.", show_default=False)] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the images that an earlier sample wrote to the output folder.")
    ] = False,
    text_encoder: TextEncoderFile = None,
    force: Annotated[bool, typer.Option("--force", help="Accept a text encoder other than the one used in training.")] = False,
    device: Device = "auto",
) -> None:
    """Generate images from captions or labels, with a grid and a JSON file that records how to make each again."""
    from stackgan_cli.workflows.sample import sample as make

    session = session_of(ctx)
    if stage is not None and scale:
        raise UsageError("give --stage or --scale, not both")
    facts = make(
        [*(captions or []), *(caption or []), *(read_captions(file) if file is not None else [])],
        model=model_of(run, weights),
        labels=labels or [],
        count=count,
        seed=seed,
        stage=stage and stage.value,
        scale=scale,
        fixed_noise=fixed_noise,
        fix=fix or [],
        mean=mean,
        grid=grid,
        output=output,
        overwrite=overwrite,
        text_encoder=text_encoder,
        force=force,
        workspace=session.workspace,
        device=device,
        reporter=session,
    )
    session.result(facts, "\n".join(filter(None, [facts["grid"], facts["sidecar"]])))
