"""`stackgan encode-text`: vectors of the captions of a cache, or of the user's own words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stackgan_cli.cli.common import Device, examples, read_captions, session_of
from stackgan_cli.errors import UsageError, UserError

if TYPE_CHECKING:
    from stackgan_cli.cli.ui import Session

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
    session = session_of(ctx)
    captions = [*(caption or []), *(read_captions(file) if file is not None else [])]
    if captions or file is not None:
        _encode_own(session, captions, encoder, output, device)
        return
    if output is not None:
        raise UsageError("--output goes with --caption or --file; vectors of a cache are kept beside it")
    from stackgan_cli.cli.work import Worker
    from stackgan_cli.config.presets import load_config

    names = session.workspace.cache_names()
    if not cache and not names:
        raise UserError("no dataset has been prepared yet", where=session.workspace.caches, hint="stackgan prepare demo")
    cache = cache or names[0]
    session.workspace.cache_path(cache)
    worker = Worker(session, device)
    wanted = encoder or default_encoder(session, cache)
    config = load_config("v1-stage1", [], {"data": {"cache": cache}, "requires": {"text_encoder": wanted}})
    worker.make_encoder(wanted, config)
    facts = worker.encode_cache(wanted, config)
    counts = f"{facts['captions']:,} captions, {facts['dimensions']} numbers each"
    session.result(facts, f"{facts['path']}: {counts}, encoder {facts['encoder_hash'][:8]}")


def default_encoder(session: Session, cache: str) -> str:
    """The newest trained encoder of this cache, else the preset that makes one."""
    from stackgan_cli.data.cache import Cache
    from stackgan_cli.data.sources import dataset_of

    for name in session.workspace.run_names():
        run = session.workspace.find_run(name)
        if run.config.model.arch == "char-cnn-rnn" and run.config.data.cache == cache and run.status()["finished"]:
            return name
    return dataset_of(Cache.open(session.workspace.cache_path(cache))).text_encoder


def _encode_own(session: Session, captions: list[str], encoder: str, output: Path | None, device: str) -> None:
    import numpy as np

    from stackgan_cli.encoders.text_encoder import TextEncoder
    from stackgan_cli.files import replacing
    from stackgan_cli.runtime import pick_device
    from stackgan_cli.text.alphabet import coding_notes

    path = Path(encoder).expanduser()
    if not encoder or not path.is_file():
        run = session.workspace.find_run(encoder) if encoder else session.workspace.newest_run("char-cnn-rnn")
        weights = run.latest_weights() if run is not None else None
        if weights is None:
            raise UsageError("no text encoder has been trained yet", where="--encoder", hint="stackgan encode-text, or --encoder FILE")
        path = weights
    loaded = TextEncoder.load(path)
    for text in captions:
        for note in coding_notes(text, lowercase=loaded.config.lowercase, unknown=loaded.config.unknown):
            session.warn(f"{text[:40]!r}: {note}")
    vectors = loaded.encode(captions, device=pick_device(device))
    data = {"encoder": str(path), "encoder_hash": loaded.hash, "captions": captions}
    if output is None:
        lines = [
            json.dumps({"caption": text, "vector": vector.tolist()}, ensure_ascii=False)
            for text, vector in zip(captions, vectors, strict=True)
        ]
        session.result({**data, "vectors": vectors.tolist()}, "\n".join(lines))
    else:
        with replacing(output) as temporary, temporary.open("wb") as target:
            np.save(target, vectors)
        session.result({**data, "path": str(output)}, f"{output}: float32 {vectors.shape[0]} x {vectors.shape[1]}")
