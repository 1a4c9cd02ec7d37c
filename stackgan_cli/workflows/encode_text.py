"""`encode-text`: embeddings of a cache's captions, or of the user's own captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from stackgan_cli.config.presets import load_config, preset_names
from stackgan_cli.data.caption_vectors import CaptionVectors
from stackgan_cli.data.sources import dataset_of
from stackgan_cli.encoders.text_encoder import TextEncoder
from stackgan_cli.errors import DataError, UsageError
from stackgan_cli.files import replacing
from stackgan_cli.runtime import World, pick_device
from stackgan_cli.text.alphabet import coding_notes
from stackgan_cli.training.inputs import ResolvedInputs, default_run_name, vectors_of
from stackgan_cli.workflows.reporter import SILENT, Reporter
from stackgan_cli.workspace import Workspace


@dataclass(frozen=True)
class EncodedCache:
    """The embeddings stored for a cache, and their encoder."""

    path: Path
    captions: int
    dimensions: int
    encoder: Path
    encoder_hash: str


@dataclass(frozen=True)
class EncodedCaptions:
    """`vectors` (N, T) float32 of `captions`."""

    captions: list[str]
    vectors: np.ndarray
    encoder: Path
    encoder_hash: str

    def save(self, path: Path) -> None:
        """Write the vectors as a `.npy` file."""
        with replacing(path) as temporary, temporary.open("wb") as target:
            np.save(target, self.vectors)


def encode_text(
    cache: str = "",
    *,
    encoder: str = "",
    workspace: Workspace | None = None,
    device: str = "auto",
    reporter: Reporter = SILENT,
) -> EncodedCache:
    """Compute the embeddings of a cache's captions (default: the newest cache) and store them next to it, unless they exist.

    `encoder` is a file (.safetensors, .t7, .pth), a run, or a preset, which is trained first if necessary. Default: the newest
    trained encoder of the cache, else the preset of its dataset.
    """
    from stackgan_cli.workflows.train import Training  # which encodes captions itself

    workspace = workspace or Workspace.locate()
    cache = cache or workspace.newest_cache()
    workspace.cache_path(cache)
    training = Training(workspace, reporter, device)
    encoder = encoder or default_encoder(workspace, cache)
    inputs = _inputs(encoder, cache, workspace)
    if inputs.encoder_file is None and encoder in preset_names():
        reporter.say(f"the text encoder {encoder!r} has not been trained for {cache} yet; training it first")
        training.trained(encoder, (), cache, default_run_name(encoder, cache, workspace))
        inputs = _inputs(encoder, cache, workspace)
    return encode_cache(inputs, training.device, training.world, reporter)


def _inputs(encoder: str, cache: str, workspace: Workspace) -> ResolvedInputs:
    """The inputs of a text-conditional model on `cache` with this encoder."""
    return ResolvedInputs(load_config("v1-stage1", [], {"data": {"cache": cache}, "requires": {"text_encoder": encoder}}), workspace)


def default_encoder(workspace: Workspace, cache: str) -> str:
    """The newest trained encoder of this cache, else the preset that makes one."""
    opened = workspace.open_cache(cache)
    for run in workspace.all_runs():
        if run.config.model.arch == "char-cnn-rnn" and run.made_on(opened.identity) and run.status()["finished"]:
            return run.name
    return dataset_of(opened).text_encoder


def encode_cache(inputs: ResolvedInputs, device: torch.device, world: World, reporter: Reporter) -> EncodedCache:
    """Store the embeddings of the cache's captions by the inputs' text encoder, and keep the encoder in the workspace."""
    cache, path = inputs.cache, inputs.encoder_file
    if path is None or inputs.text_encoder is None:
        wanted = inputs.config.requires.text_encoder
        hint = f"stackgan train --preset {wanted}" if wanted else "name one with requires.text_encoder, or run stackgan encode-text"
        raise DataError(f"the text encoder {wanted!r} does not exist" if wanted else "no text encoder is named", hint=hint)
    encoder = inputs.text_encoder
    target = CaptionVectors.path_for(cache.path, encoder.hash)
    if world.is_main and encoder.hash not in [vectors.encoder_hash for vectors in vectors_of(cache)]:
        encoder.save(inputs.workspace.encoder_path(encoder.hash))
        with reporter.progress(f"encoding {cache.path.stem}", unit="captions") as bar:
            vectors = encoder.encode(cache.captions, device=device, progress=bar.update)
        target = CaptionVectors.write(cache, vectors, {**encoder.identity, "file": str(path)}, encoder.hash)
    world.barrier()
    return EncodedCache(target, cache.num_captions, encoder.config.text_dim, path, encoder.hash)


def encode_captions(
    captions: Sequence[str],
    *,
    encoder: str = "",
    workspace: Workspace | None = None,
    device: str = "auto",
    reporter: Reporter = SILENT,
) -> EncodedCaptions:
    """Embeddings of captions by a text encoder: a file, a run, or the newest trained one. Raises UsageError if there is none."""
    workspace = workspace or Workspace.locate()
    run = None if encoder else workspace.newest_run("char-cnn-rnn")
    if not encoder and run is None:
        raise UsageError("no text encoder has been trained yet", where="--encoder", hint="stackgan encode-text, or --encoder FILE")
    path = workspace.weights(encoder or run or "").path
    loaded = TextEncoder.load(path)
    for text in captions:
        for note in coding_notes(text, lowercase=loaded.config.lowercase, unknown=loaded.config.unknown):
            reporter.warn(f"{text[:40]!r}: {note}")
    return EncodedCaptions(list(captions), loaded.encode(captions, device=pick_device(device)), path, loaded.hash)
