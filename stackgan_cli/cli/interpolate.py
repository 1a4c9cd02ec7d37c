"""`stackgan interpolate`: pictures on the way from one caption, or one noise, to another."""

from __future__ import annotations

import re
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
    from stackgan_cli.cli.walks import Scene
    from stackgan_cli.files import write_json
    from stackgan_cli.runtime import pick_device
    from stackgan_cli.sampling import Sampler
    from stackgan_cli.viz.animations import require_video

    session = session_of(ctx)
    if noise + bool(noise_grid) + ca_only > 1:
        raise UsageError("give one of --noise, --noise-grid and --ca-only")
    if zero_noise and (noise or noise_grid):
        raise UsageError("--zero-noise leaves no noise to vary", hint="leave it out")
    shape = _grid_shape(noise_grid)
    if video:
        require_video()
    source = source_of(session, run, weights)
    sampler = Sampler.load(source, pick_device(device), text_encoder=text_encoder)
    scene = Scene.of(session, sampler, captions or [], labels or [], scale=scale, seed=seed, zero=zero_noise)
    folder = output or folder_of(session, source, "interpolate")
    if shape is not None:
        files, mode, options = [folder / "noise-grid.png"], "noise-grid", ["--noise-grid", noise_grid]
        scene.write_noise_grid(*shape, files[0])
    elif ca_only:
        files, mode, options = [folder / "conditioning.png"], "ca-only", ["--ca-only", "--steps", str(steps)]
        scene.write_conditioning(steps, files[0])
    else:
        noise = noise or scene.text is None
        mode, options = ("noise", ["--noise", "--count", str(count)]) if noise else ("captions", [])
        if not noise and not captions and not labels:
            scene.keep(2)
        stops = scene.between_seeds(count) if noise else scene.between_conditions()
        names = [f"seed {seed + number}" for number in range(count)] if noise else scene.names
        files = scene.write_walk(stops, names, folder, steps=steps, frames=frames, video=video)
        options += ["--steps", str(steps), "--frames", str(frames), *(["--video"] if video else [])]
    facts = scene.facts(mode, options, files)
    write_json(folder / f"{files[0].stem}.json", facts)
    session.result({**facts, "folder": str(folder)}, "\n".join(map(str, files)))


def _grid_shape(text: str) -> tuple[int, int] | None:
    """(rows, columns) of `4x4`; None for nothing. Raises UsageError."""
    if not text:
        return None
    match = re.fullmatch(r"(\d{1,2})x(\d{1,2})", text.strip().lower())
    if match is None or "0" in match.groups():
        raise UsageError(f"{text!r} is no shape", where="--noise-grid", hint="rows x columns, for example 4x4")
    return int(match[1]), int(match[2])
