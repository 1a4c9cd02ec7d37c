"""`stackgan encode-text`: vectors of the captions of a cache, or of the user's own words."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from stackgan_cli.cli.common import Device, examples, read_captions, session_of
from stackgan_cli.errors import UsageError

EPILOG = examples(
    "stackgan encode-text",
    "stackgan encode-text cub --encoder char-cnn-rnn",
    'stackgan encode-text --caption "a red bird with black wings" --output red.npy',
)


def encode_text(
    ctx: typer.Context,
    cache: Annotated[str, typer.Argument(help="A prepared cache. Default: the newest.", show_default=False)] = "",
    encoder: Annotated[
        str,
        typer.Option(
            help="A file (.safetensors, .t7, .pth), a run, or a preset, which is trained when it has not been.", show_default=False
        ),
    ] = "",
    caption: Annotated[list[str] | None, typer.Option(help="Encode this instead; may be repeated.", show_default=False)] = None,
    file: Annotated[Path | None, typer.Option(help="Encode the lines of a text file instead.")] = None,
    output: Annotated[Path | None, typer.Option(help="For --caption and --file: write a .npy file instead of printing.")] = None,
    device: Device = "auto",
) -> None:
    """Store the vectors of all captions of a cache, or encode captions of your own."""
    from stackgan_cli.workflows import encode_text as workflow

    session = session_of(ctx)
    captions = [*(caption or []), *(read_captions(file) if file is not None else [])]
    if not captions:
        if output is not None:
            raise UsageError("--output goes with --caption or --file; vectors of a cache are kept beside it")
        made = workflow.encode_text(cache, encoder=encoder, workspace=session.workspace, device=device, reporter=session)
        facts = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(made).items()}
        counts = f"{made.captions:,} captions, {made.dimensions} numbers each"
        session.result(facts, f"{made.path}: {counts}, encoder {made.encoder_hash[:8]}")
        return
    own = workflow.encode_captions(captions, encoder=encoder, workspace=session.workspace, device=device, reporter=session)
    data = {"encoder": str(own.encoder), "encoder_hash": own.encoder_hash, "captions": captions}
    if output is None:
        vectors = own.vectors.tolist()
        lines = [json.dumps({"caption": c, "vector": v}, ensure_ascii=False) for c, v in zip(captions, vectors, strict=True)]
        session.result({**data, "vectors": vectors}, "\n".join(lines))
    else:
        own.save(output)
        session.result({**data, "path": str(output)}, f"{output}: float32 {own.vectors.shape[0]} x {own.vectors.shape[1]}")
