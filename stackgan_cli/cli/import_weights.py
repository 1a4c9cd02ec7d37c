"""`stackgan import` and `stackgan export`: published checkpoints into our weights files, and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stackgan_cli.cli.common import examples, session_of
from stackgan_cli.errors import MismatchError, UsageError

if TYPE_CHECKING:
    from stackgan_cli.cli.ui import Session

IMPORT_EPILOG = examples(
    "stackgan import birds_3stages.zip --text-encoder lm_sje_nc4_cub_hybrid.t7",
    "stackgan import netG_epoch_90.pth --discriminator netD_epoch_last.pth",
    "stackgan import lm_sje_nc4_cub_hybrid.t7",
    "stackgan import mnist_encoder.npz",
)
EXPORT_EPILOG = examples("stackgan export", "stackgan export --run v2-cub --output published")


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
    from stackgan_cli.interop.published import kind_of, read_checkpoint

    session, file = session_of(ctx), file.expanduser()
    if file.suffix == ".npz":
        return _import_sgan_encoder(session, file, mean and mean.expanduser(), output)
    if mean is not None:
        raise UsageError("only SGAN's encoders (.npz) have a mean image", where="--mean", hint="leave it out")
    if file.suffix in (".t7", ".safetensors"):
        return _import_encoder(session, file, output)
    state = read_checkpoint(file)
    kind = kind_of(state)
    if kind.endswith("-d"):
        raise MismatchError(
            "this is a discriminator, which draws nothing by itself", where=file, hint="give it with its generator: --discriminator"
        )
    if kind:
        return _import_generator(session, file, state, [path.expanduser() for path in discriminator or []], text_encoder, output)
    return _import_encoder(session, file, output)


def _import_encoder(session: Session, file: Path, output: Path | None) -> None:
    from stackgan_cli.encoders.text_encoder import TextEncoder
    from stackgan_cli.errors import DataError

    try:
        encoder = TextEncoder.load(file)
    except DataError as error:
        raise MismatchError(error.message, where=file, hint=error.hint) from None
    target = output or session.workspace.encoder_path(encoder.hash)
    encoder.save(target)
    facts = {"path": str(target), "hash": encoder.hash, **encoder.identity}
    session.result(
        facts, f"{target}: char-CNN-RNN {encoder.config.variant}, {encoder.config.text_dim} numbers a caption, hash {encoder.hash[:8]}"
    )


def _import_sgan_encoder(session: Session, file: Path, mean: Path | None, output: Path | None) -> None:
    from stackgan_cli.config.presets import load_config
    from stackgan_cli.interop.sgan_encoder import kind_of_encoder, load_npz_encoder
    from stackgan_cli.runs import write_weights

    model, state = load_npz_encoder(file, mean)
    preset, classes = kind_of_encoder(model)
    if model.channels == 3 and mean is None:
        session.warn("no mean image given: if this encoder was trained on centred images (CIFAR-10's), name its file with --mean")
    config = load_config(preset).model_copy(update={"model": model, "name": file.stem, "summary": f"imported from {file.name}"})
    target = output or session.workspace.root / "imported" / f"{file.stem}.safetensors"
    write_weights(
        target, {f"classifier.{key}": value for key, value in state.items()}, config=config, step=0, text_encoder=None, classes=classes
    )
    facts = {"path": str(target), "arch": model.arch, "classes": classes, "model": model.model_dump(mode="json")}
    session.result(
        facts,
        f"{target}: SGAN's encoder, {model.resolution} px, {'grey' if model.channels == 1 else 'colour'}, {model.num_classes} classes\n"
        f"measure it: stackgan evaluate {config.data.cache}:test --metric accuracy --extractor classifier:{target}",
    )


def _import_generator(
    session: Session, file: Path, state: dict[str, Any], discriminators: list[Path], text_encoder: Path | None, output: Path | None
) -> None:
    import re

    import torch

    from stackgan_cli import registry
    from stackgan_cli.config.presets import load_config
    from stackgan_cli.encoders.text_encoder import TextEncoder
    from stackgan_cli.interop.published import PRESETS, assign, model_of, read_checkpoint
    from stackgan_cli.runs import write_weights

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
                    f"gives {encoder.config.text_dim} numbers a caption, and the generator takes {model.text_dim}", where=text_encoder
                )
            identity = encoder.reference
            tensors |= encoder.tensors
    elif text_encoder is not None:
        raise UsageError("this generator is unconditional: it has no text encoder", where=file, hint="leave out --text-encoder")
    config = load_config(PRESETS[model.arch].format(stage=getattr(model, "stage", ""))).model_copy(
        update={"model": model, "name": file.stem, "summary": f"imported from {file.name}"}
    )
    numbers = re.findall(r"\d+", file.stem)
    target = output or session.workspace.root / "imported" / f"{file.stem}.safetensors"
    write_weights(target, tensors, config=config, step=int(numbers[-1]) if numbers else 0, text_encoder=identity)
    sides = list(getattr(model, "sides", (getattr(model, "resolution", 0),)))
    facts = {"path": str(target), "arch": model.arch, "sides": sides, "model": model.model_dump(mode="json")}
    lines = [f"{target}: {model.arch}, pictures of {', '.join(map(str, sides))} px"]
    if identity is not None and "config" not in identity:
        session.warn("no text encoder given: `sample` will need --text-encoder with the file this generator was trained with")
    session.result(facts, "\n".join(lines))


def export(
    ctx: typer.Context,
    run: Annotated[str, typer.Option(help="A run. Default: the newest that draws.", show_default=False)] = "",
    weights: Annotated[Path | None, typer.Option(help="A weights file instead of a run.")] = None,
    layout: Annotated[str, typer.Option("--format", help="official: as the authors' code reads it.")] = "official",
    output: Annotated[Path | None, typer.Option(help="Folder. Default: exported/ in the workspace.", show_default=False)] = None,
) -> None:
    """Write the networks of a run as the published code reads them."""
    import torch

    from stackgan_cli import registry
    from stackgan_cli.cli.common import weights_of
    from stackgan_cli.files import replacing
    from stackgan_cli.interop.published import exported
    from stackgan_cli.runs import Weights

    session = session_of(ctx)
    if layout != "official":
        raise UsageError(f"unknown format {layout!r}", where="--format", hint="official")
    found = Weights.open(weights or weights_of(session, run))
    model = found.config.model
    with torch.device("meta"):
        names = list(registry.find(model.arch).build(model))
    if "generator" not in names:
        raise UsageError(f"these weights are a {model.arch}, which has no published generator layout", where=found.path)
    states = {name: state for name in names if (state := found.tensors(name))}
    folder = output or session.workspace.root / "exported"
    files = exported(model, states, found.step)  # type: ignore[arg-type]
    for name, state in files.items():
        with replacing(folder / name) as temporary:
            torch.save(state, temporary)
    paths = [str(folder / name) for name in files]
    session.result({"files": paths}, "\n".join(paths))
