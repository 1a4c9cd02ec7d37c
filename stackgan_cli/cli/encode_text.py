"""`stackgan encode-text`: embeddings of a cache's captions, or of the user's own captions."""

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
    cache: Annotated[str, typer.Argument(help="Prepared cache. Default: the newest.", show_default=False)] = "",
    encoder: Annotated[
        str,
        typer.Option(
            help="Text encoder: a file (.safetensors, .t7, .pth), a run, or a preset (trained first if necessary).", show_default=False
        ),
    ] = "",
    caption: Annotated[
        list[str] | None, typer.Option(help="Caption to encode instead of a cache's captions; may be repeated.", show_default=False)
    ] = None,
    file: Annotated[Path | None, typer.Option(help="Text file with captions to encode instead, one per line.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="File (.npy) to write the embeddings of --caption or --file to, instead of printing them.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Compute and store the embeddings of a cache's captions, or encode your own captions."""
    from stackgan_cli.workflows import encode_text as workflow

    session = session_of(ctx)
    captions = [*(caption or []), *(read_captions(file) if file is not None else [])]
    if not captions:
        if output is not None:
            raise UsageError("--output goes with --caption or --file; embeddings of a cache are stored next to it")
        made = workflow.encode_text(cache, encoder=encoder, workspace=session.workspace, device=device, reporter=session)
        facts = {key: str(value) if isinstance(value, Path) else value for key, value in asdict(made).items()}
        counts = f"{made.captions:,} captions, {made.dimensions} dimensions each"
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
