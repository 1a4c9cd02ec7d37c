"""`stackgan interpolate`: images on the way from one caption, or one noise, to another."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stackgan_cli.cli.common import Device, Labels, Output, RunName, Scale, TextEncoderFile, WeightsFile, examples, model_of, session_of

EPILOG = examples(
    'stackgan interpolate "a red bird" "a blue bird"',
    'stackgan interpolate "a red bird with black wings" --noise --count 4',
    'stackgan interpolate "a small yellow bird" --noise-grid 4x4',
)


def interpolate(
    ctx: typer.Context,
    captions: Annotated[list[str] | None, typer.Argument(help="Two or more. Default: two of the run's own.", show_default=False)] = None,
    labels: Labels = None,
    steps: Annotated[int, typer.Option(min=2, help="Pictures a row.")] = 8,
    noise: Annotated[bool, typer.Option("--noise", help="Walk between seeds; the first caption stays.")] = False,
    count: Annotated[int, typer.Option(min=2, help="With --noise: how many seeds.")] = 3,
    noise_grid: Annotated[
        str, typer.Option(help="RxC: conditioning noise a row, z a column (HDGAN); SGAN: z1 and z0.", show_default=False)
    ] = "",
    ca_only: Annotated[bool, typer.Option("--ca-only", help="One z, several conditioning noises a caption (StackGAN++ Fig. 11).")] = False,
    zero_noise: Annotated[bool, typer.Option("--zero-noise", help="Noise that is kept is zero (StackGAN++ Fig. 13).")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise.")] = 0,
    frames: Annotated[int, typer.Option(min=1, help="Frames of the GIF from one stop to the next.")] = 24,
    video: Annotated[bool, typer.Option("--video", help="Also walk.mp4 (pip install 'stackgan[video]').")] = False,
    run: RunName = "",
    weights: WeightsFile = None,
    scale: Scale = "",
    output: Output = None,
    text_encoder: TextEncoderFile = None,
    device: Device = "auto",
) -> None:
    """Walk between captions (linear in the embedding) or between noises (on an arc): a strip, a grid of all pairs, a GIF."""
    from stackgan_cli.workflows.interpolate import interpolate as make

    session = session_of(ctx)
    facts = make(
        captions or [],
        model=model_of(run, weights),
        labels=labels or [],
        steps=steps,
        noise=noise,
        count=count,
        noise_grid=noise_grid,
        ca_only=ca_only,
        zero_noise=zero_noise,
        seed=seed,
        frames=frames,
        video=video,
        scale=scale,
        output=output,
        text_encoder=text_encoder,
        workspace=session.workspace,
        device=device,
        reporter=session,
    )
    session.result(facts, "\n".join(str(Path(facts["folder"]) / name) for name in facts["files"]))
