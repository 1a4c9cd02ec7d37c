"""`stackgan interpolate`: images between two captions, or between two noise vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stackgan_cli.cli.common import (
    Device,
    Labels,
    MoreCaptions,
    Output,
    RunName,
    Scale,
    TextEncoderFile,
    WeightsFile,
    examples,
    model_of,
    session_of,
)

EPILOG = examples(
    'stackgan interpolate "a red bird" "a blue bird"',
    'stackgan interpolate "a red bird with black wings" --noise --count 4',
    'stackgan interpolate "a small yellow bird" --noise-grid 4x4',
)


def interpolate(
    ctx: typer.Context,
    captions: Annotated[
        list[str] | None, typer.Argument(help="Two or more captions. Default: two captions of the run.", show_default=False)
    ] = None,
    caption: MoreCaptions = None,
    labels: Labels = None,
    steps: Annotated[int, typer.Option(min=2, help="Number of images per row.")] = 8,
    noise: Annotated[bool, typer.Option("--noise", help="Interpolate between seeds, with the first caption fixed.")] = False,
    count: Annotated[int, typer.Option(min=2, help="Number of seeds, with --noise.")] = 3,
    noise_grid: Annotated[
        str,
        typer.Option(help="Grid of ROWSxCOLUMNS: conditioning noise varies by row and z by column (SGAN: z1 and z0).", show_default=False),
    ] = "",
    ca_only: Annotated[
        bool, typer.Option("--ca-only", help="Fix z and vary the conditioning noise of each caption (StackGAN++ Fig. 11).")
    ] = False,
    zero_noise: Annotated[bool, typer.Option("--zero-noise", help="Set the fixed noise to zero (StackGAN++ Fig. 13).")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the noise.")] = 0,
    frames: Annotated[int, typer.Option(min=1, help="Number of GIF frames between two captions or seeds.")] = 24,
    video: Annotated[bool, typer.Option("--video", help="Also write walk.mp4 (needs pip install 'stackgan[video]').")] = False,
    run: RunName = "",
    weights: WeightsFile = None,
    scale: Scale = "",
    output: Output = None,
    text_encoder: TextEncoderFile = None,
    device: Device = "auto",
) -> None:
    """Interpolate between captions (linearly in the embedding) or noise vectors (spherically): a strip, a grid of all pairs, a GIF."""
    from stackgan_cli.workflows.interpolate import interpolate as make

    session = session_of(ctx)
    facts = make(
        [*(captions or []), *(caption or [])],
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
