"""`stackgan import`: published checkpoints to our weights files."""

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
        typer.Argument(
            help="Checkpoint of a generator (StackGAN-v1 PyTorch, StackGAN-v2, HDGAN), a char-CNN-RNN (.t7, .pth) or SGAN's encoder (.npz)."
        ),
    ],
    discriminator: Annotated[
        list[Path] | None,
        typer.Option(
            help="Checkpoint of the generator's discriminator; repeat it for StackGAN-v2, which has one per scale.", show_default=False
        ),
    ] = None,
    text_encoder: Annotated[
        Path | None, typer.Option(help="Text encoder that the generator was trained with (.t7, .pth or .safetensors).")
    ] = None,
    mean: Annotated[Path | None, typer.Option(help="Mean image (meanimg.npy) of SGAN's CIFAR-10 encoder.", show_default=False)] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Output file. Default: imported/NAME.safetensors, or encoders/HASH.safetensors for a text encoder.", show_default=False
        ),
    ] = None,
) -> None:
    """Convert a published checkpoint. Its type and sizes are inferred from its tensors; nothing in it is executed."""
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
        return f"{path}: char-CNN-RNN {facts['variant']}, {facts['text_dim']} dimensions per caption, hash {facts['hash'][:8]}"
    model, cache = facts["model"], facts.pop("cache")
    color = "gray" if model["channels"] == 1 else "color"
    return (
        f"{path}: SGAN's encoder, {model['resolution']} px, {color}, {model['num_classes']} classes\n"
        f"measure it: stackgan evaluate {cache}:test --metric accuracy --extractor classifier:{path}"
    )
