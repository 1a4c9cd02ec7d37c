"""`stackgan sample`: captions, or class labels, into images."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stackgan_cli.cli.common import Device, Labels, RunName, TextEncoderFile, WeightsFile, examples, model_of, read_captions, session_of
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
        list[str] | None, typer.Argument(help="What to draw. Default: captions of held-out images.", show_default=False)
    ] = None,
    file: Annotated[Path | None, typer.Option(help="A text file, one caption a line.")] = None,
    run: RunName = "",
    weights: WeightsFile = None,
    count: Annotated[int, typer.Option(min=1, help="Pictures a caption or label.")] = 4,
    grid: Annotated[bool, typer.Option("--grid/--no-grid", help="Also one picture with all of them and the captions.")] = True,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first picture; the next has the next seed.")] = 0,
    stage: Annotated[Stage | None, typer.Option(help="StackGAN-v1: which stage's pictures. Default: the last.", show_default=False)] = None,
    scale: Annotated[str, typer.Option(help="Which side's pictures, e.g. 64, or all. Default: the largest.", show_default=False)] = "",
    labels: Labels = None,
    fixed_noise: Annotated[bool, typer.Option("--fixed-noise", help="The same noise for every caption or label.")] = False,
    fix: Annotated[
        list[str] | None, typer.Option(help="A noise that stays in a row, e.g. z1 (of its first seed) or z1=SEED.", show_default=False)
    ] = None,
    mean: Annotated[bool, typer.Option("--mean", help="No noise in the conditioning.")] = False,
    output: Annotated[Path | None, typer.Option(help="Folder. Default: a new one in samples/.", show_default=False)] = None,
    text_encoder: TextEncoderFile = None,
    force: Annotated[bool, typer.Option("--force", help="Sample with another text encoder all the same.")] = False,
    device: Device = "auto",
) -> None:
    """Draw pictures of captions or labels, with a grid and a JSON file from which each can be made again."""
    from stackgan_cli.workflows.sample import sample as make

    session = session_of(ctx)
    if stage is not None and scale:
        raise UsageError("give --stage or --scale, not both")
    facts = make(
        [*(captions or []), *(read_captions(file) if file is not None else [])],
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
        text_encoder=text_encoder,
        force=force,
        workspace=session.workspace,
        device=device,
        reporter=session,
    )
    session.result(facts, "\n".join(filter(None, [facts["grid"], facts["sidecar"]])))
