"""`stackgan import`: published checkpoints into weights files of ours."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from stackgan_cli.cli.common import examples, session_of

EPILOG = examples(
    "stackgan import birds_3stages.zip --text-encoder lm_sje_nc4_cub_hybrid.t7",
    "stackgan import netG_epoch_90.pth --discriminator netD_epoch_last.pth",
    "stackgan import lm_sje_nc4_cub_hybrid.t7",
    "stackgan import mnist_encoder.npz",
)


def import_weights(
    ctx: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(help="A generator (StackGAN-v1 PyTorch, StackGAN-v2, HDGAN), a char-CNN-RNN (.t7, .pth) or SGAN's encoder (.npz)."),
    ],
    discriminator: Annotated[
        list[Path] | None, typer.Option(help="Its discriminators; StackGAN-v2 has one a scale.", show_default=False)
    ] = None,
    text_encoder: Annotated[Path | None, typer.Option(help="The encoder of the captions it was trained on: .t7, .pth or ours.")] = None,
    mean: Annotated[Path | None, typer.Option(help="SGAN's encoder of CIFAR-10: its meanimg.npy.", show_default=False)] = None,
    output: Annotated[
        Path | None, typer.Option(help="Default: imported/NAME.safetensors, encoders/HASH.safetensors.", show_default=False)
    ] = None,
) -> None:
    """Convert a published checkpoint; what it is and its sizes are read off its tensors, and nothing in it is executed."""
    from stackgan_cli.workflows.import_weights import import_weights as convert

    session = session_of(ctx)
    facts = convert(
        file,
        discriminators=discriminator or [],
        text_encoder=text_encoder,
        mean=mean,
        output=output,
        workspace=session.workspace,
        reporter=session,
    )
    session.result(facts, _text(facts))


def _text(facts: dict[str, Any]) -> str:
    path = facts["path"]
    if "sides" in facts:
        return f"{path}: {facts['arch']}, images of {', '.join(map(str, facts['sides']))} px"
    if "hash" in facts:
        return f"{path}: char-CNN-RNN {facts['variant']}, {facts['text_dim']} numbers per caption, hash {facts['hash'][:8]}"
    model, cache = facts["model"], facts.pop("cache")
    color = "gray" if model["channels"] == 1 else "color"
    return (
        f"{path}: SGAN's encoder, {model['resolution']} px, {color}, {model['num_classes']} classes\n"
        f"measure it: stackgan evaluate {cache}:test --metric accuracy --extractor classifier:{path}"
    )
