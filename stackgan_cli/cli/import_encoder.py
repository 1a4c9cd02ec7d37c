"""`stackgan import`: a published text encoder into our format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stackgan_cli.cli.common import examples, session_of

EPILOG = examples("stackgan import lm_sje_nc4_cub_hybrid.t7", "stackgan import encoder.pth --output encoder.safetensors")


def import_encoder(
    ctx: typer.Context,
    file: Annotated[Path, typer.Argument(help="A published char-CNN-RNN: .t7 or .pth.")],
    output: Annotated[Path | None, typer.Option(help="Default: encoders/HASH.safetensors in the workspace.", show_default=False)] = None,
) -> None:
    """Convert a published text encoder; nothing in the file is executed."""
    from stackgan_cli.interop.text_encoder import TextEncoder

    session = session_of(ctx)
    encoder = TextEncoder.load(file.expanduser())
    target = output or session.workspace.encoder_path(encoder.hash)
    encoder.save(target)
    facts = {"path": str(target), "hash": encoder.hash, **encoder.identity}
    session.result(
        facts, f"{target}: char-CNN-RNN {encoder.config.variant}, {encoder.config.text_dim} numbers a caption, hash {encoder.hash[:8]}"
    )
