"""`import`: published checkpoints into weights files of ours. Nothing in them is executed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from stackgan_cli import registry
from stackgan_cli.config.presets import load_config
from stackgan_cli.encoders.text_encoder import TextEncoder
from stackgan_cli.errors import DataError, MismatchError, UsageError
from stackgan_cli.interop.file_kinds import refuse_other_files
from stackgan_cli.interop.published import assign, kind_of, model_of, preset_of, read_checkpoint, read_with_step
from stackgan_cli.interop.sgan_encoder import kind_of_encoder, load_npz_encoder
from stackgan_cli.runs import write_weights
from stackgan_cli.workflows.reporter import SILENT, Reporter
from stackgan_cli.workspace import Workspace


def import_weights(
    file: Path,
    *,
    discriminators: Sequence[Path] = (),
    text_encoder: Path | None = None,
    mean: Path | None = None,
    output: Path | None = None,
    workspace: Workspace | None = None,
    reporter: Reporter = SILENT,
) -> dict[str, Any]:
    """Convert a generator (StackGAN-v1 PyTorch, StackGAN-v2, HDGAN), a char-CNN-RNN or SGAN's encoder; returns the new file and facts.

    What it is and its sizes are read off its tensors. `text_encoder` is the encoder of the captions that a generator was trained on, `mean`
    the mean image of SGAN's CIFAR-10 encoder. Raises MismatchError for anything else.
    """
    workspace = workspace or Workspace.locate()
    file = Path(file).expanduser()
    try:
        refuse_other_files(file)
    except DataError as error:
        raise MismatchError(error.message, where=file, hint=error.hint) from None
    if file.suffix == ".npz":
        return _import_sgan_encoder(file, mean and mean.expanduser(), output, workspace, reporter)
    if mean is not None:
        raise UsageError("only SGAN's encoders (.npz) have a mean image", where="--mean", hint="leave it out")
    if file.suffix in (".t7", ".safetensors"):
        return _import_encoder(file, output, workspace)
    state, step = read_with_step(file)
    kind = kind_of(state)
    if kind.endswith("-d"):
        raise MismatchError(
            "this is a discriminator, which makes no images by itself", where=file, hint="give it with its generator: --discriminator"
        )
    if not kind:
        return _import_encoder(file, output, workspace)
    others = [path.expanduser() for path in discriminators]
    return _import_generator(file, state, step, others, text_encoder, output, workspace, reporter)


def _import_encoder(file: Path, output: Path | None, workspace: Workspace) -> dict[str, Any]:
    try:
        encoder = TextEncoder.load(file)
    except DataError as error:
        raise MismatchError(error.message, where=file, hint=error.hint) from None
    target = output or workspace.encoder_path(encoder.hash)
    encoder.save(target)
    return {"path": str(target), "hash": encoder.hash, **encoder.identity}


def _import_sgan_encoder(file: Path, mean: Path | None, output: Path | None, workspace: Workspace, reporter: Reporter) -> dict[str, Any]:
    model, state = load_npz_encoder(file, mean)
    preset, classes = kind_of_encoder(model)
    if model.channels == 3 and mean is None:
        reporter.warn("no mean image given: if this encoder was trained on centred images (CIFAR-10's), name its file with --mean")
    config = load_config(preset).model_copy(update={"model": model, "name": file.stem, "summary": f"imported from {file.name}"})
    target = output or workspace.root / "imported" / f"{file.stem}.safetensors"
    write_weights(
        target, {f"classifier.{key}": value for key, value in state.items()}, config=config, step=0, text_encoder=None, classes=classes
    )
    return {"path": str(target), "arch": model.arch, "classes": classes, "model": model.model_dump(mode="json"), "cache": config.data.cache}


def _import_generator(
    file: Path,
    state: dict[str, Any],
    step: int,
    discriminators: Sequence[Path],
    text_encoder: Path | None,
    output: Path | None,
    workspace: Workspace,
    reporter: Reporter,
) -> dict[str, Any]:
    others = [read_checkpoint(path) for path in discriminators]
    model = model_of(state, others, where=file)
    with torch.device("meta"):
        networks = registry.find(model.arch).build(model)
    tensors = assign(networks, state, others, file)
    identity: dict[str, Any] | None = None
    if model.conditioning == "text":
        identity = {"hash": "unknown"}
        if text_encoder is not None:
            encoder = TextEncoder.load(text_encoder.expanduser())
            if encoder.config.text_dim != model.text_dim:
                raise MismatchError(
                    f"gives {encoder.config.text_dim} numbers per caption, and the generator takes {model.text_dim}", where=text_encoder
                )
            identity = encoder.reference
            tensors |= encoder.tensors
    elif text_encoder is not None:
        raise UsageError("this generator is unconditional: it has no text encoder", where=file, hint="leave out --text-encoder")
    config = load_config(preset_of(model)).model_copy(update={"model": model, "name": file.stem, "summary": f"imported from {file.name}"})
    target = output or workspace.root / "imported" / f"{file.stem}.safetensors"
    write_weights(target, tensors, config=config, step=step, text_encoder=identity)
    if identity is not None and "config" not in identity:
        reporter.warn("no text encoder given: `sample` will need --text-encoder with the file this generator was trained with")
    return {"path": str(target), "arch": model.arch, "sides": list(model.sides), "model": model.model_dump(mode="json")}
