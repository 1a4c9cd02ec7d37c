"""`stackgan tsne`: a map of many images, with similar ones next to each other and repeats marked."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stackgan_cli.cli.common import Device, Output, RunName, Scale, TextEncoderFile, WeightsFile, examples, model_of, session_of

EPILOG = examples(
    "stackgan tsne",
    "stackgan tsne --count 30000 --grid 50 --snap nearest",
    "stackgan tsne --run demo-stage1-demo --count 500 --extractor pixels",
)


class Snap(StrEnum):
    assign = "assign"
    nearest = "nearest"


def tsne(
    ctx: typer.Context,
    run: RunName = "",
    weights: WeightsFile = None,
    count: Annotated[
        int, typer.Option(min=1, help="Number of generated images, and of real ones if there are as many (30000 in the papers).")
    ] = 3000,
    cache: Annotated[str, typer.Option(help="Cache to take captions and real images from. Default: the run's.", show_default=False)] = "",
    split: Annotated[str, typer.Option(help="Split of the cache: train, test or all.")] = "test",
    extractor: Annotated[
        str, typer.Option(help="Feature extractor, as for evaluate, or pixels. Default: as for evaluate.", show_default=False)
    ] = "",
    weights_folder: Annotated[Path | None, typer.Option(help="Folder with published extractor weights.", show_default=False)] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Allow --extractor torchscript:FILE, which runs a program.")] = False,
    pca: Annotated[int, typer.Option(min=0, help="Number of PCA components before t-SNE; 0 skips PCA, as in the papers.")] = 50,
    perplexity: Annotated[float, typer.Option(min=1, help="Perplexity of t-SNE.")] = 30.0,
    grid: Annotated[
        int, typer.Option(min=0, max=200, help="Grid cells per side; 0 chooses up to 50, depending on the number of images.")
    ] = 0,
    snap: Annotated[
        Snap, typer.Option(help="assign gives every grid cell a different image; nearest works as in the papers.")
    ] = Snap.assign,
    seed: Annotated[int, typer.Option(min=0, help="Seed for captions, noise and the map.")] = 0,
    scale: Scale = "",
    output: Output = None,
    text_encoder: TextEncoderFile = None,
    device: Device = "auto",
) -> None:
    """Embed generated and real images with t-SNE and mark repeated images. A page shows each image with its caption."""
    from stackgan_cli.workflows.tsne import repeats_line
    from stackgan_cli.workflows.tsne import tsne as make

    session = session_of(ctx)
    facts = make(
        model=model_of(run, weights),
        count=count,
        cache=cache,
        split=split,
        extractor=extractor,
        weights_folder=weights_folder,
        trust=trust,
        pca=pca,
        perplexity=perplexity,
        grid=grid,
        snap=snap.value,
        seed=seed,
        scale=scale,
        output=output,
        text_encoder=text_encoder,
        workspace=session.workspace,
        device=device,
        reporter=session,
    )
    lines = [f"{name}: {repeats_line(facts[name])}" for name in ("generated", "real") if name in facts]
    session.result(facts, "\n".join([*lines, str(Path(facts["folder"]) / "map.html")]))
