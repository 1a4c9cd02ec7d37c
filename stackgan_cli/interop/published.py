"""Published checkpoints: the kind of a file is inferred from the names of its tensors, and its sizes from their shapes.

| file | names |
|---|---|
| StackGAN-v1, PyTorch code: netG_epoch_E.pth, netD_epoch_last.pth | same as ours |
| StackGAN-v2: netG_STEP.pth, netD0.pth, netD1.pth, ... | same as ours, each with the prefix `module.` |
| HDGAN: G_epoch_E.pth, D_epoch_E.pth | same as ours; the single D file has the names of all scales |

Nothing in a file is executed. The published StackGAN-v2 bird model is a ZIP with the checkpoint inside, which is unpacked first.
"""

from __future__ import annotations

import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from stackgan_cli.config.archs import HDGAN, StackGANv1, StackGANv2
from stackgan_cli.data.zips import BadArchive, check_zip
from stackgan_cli.errors import DataError, MismatchError, UsageError
from stackgan_cli.interop.pickles import read_network
from stackgan_cli.interop.state_dicts import check_fit, count, infer_config

Model = StackGANv1 | StackGANv2 | HDGAN
State = Mapping[str, Tensor]

_WHAT = {
    "v1-g": "ca_net.fc.weight|fc.0.weight|STAGE1_G.fc.0.weight",
    "v2-g": "h_net1.fc.0.weight",
    "hdgan-g": "(generator_\\d+\\.)?vec_to_tensor.out.0.weight",
    "v1-d": "encode_img.0.weight",
    "v2-d": "img_code_s16.0.weight",
    "hdgan-d": "img_encoder_\\d+.node.0.0.weight",
}


def kind_of(state: State) -> str:
    """`v1-g`, `v2-g`, `hdgan-g`, the same with `-d`, or an empty string for anything else (perhaps a text encoder)."""
    found = [kind for kind, pattern in _WHAT.items() if any(re.fullmatch(pattern, key) for key in state)]
    # StackGAN-v2's generator has a ca_net as well.
    return "v2-g" if "v2-g" in found else found[0] if found else ""


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """The checkpoint itself: `path`, or the single `.pth` inside it if it is a ZIP archive. Raises MismatchError."""
    if not path.exists():
        raise UsageError("no such file", where=path)
    if path.is_dir():
        raise MismatchError("is a folder, not a checkpoint", where=path, hint="give the file inside it")
    if not zipfile.is_zipfile(path):
        yield path
        return
    try:
        with zipfile.ZipFile(path) as archive:
            check_zip(archive)
            names = archive.namelist()
            if any(name.endswith(("/data.pkl", "/version")) or name == "data.pkl" for name in names):
                yield path  # PyTorch's own container
                return
            if any(PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts for name in names):
                raise MismatchError("this ZIP has a path that leads out of its folder; it was rejected", where=path)
            inside = [name for name in names if name.endswith((".pth", ".pt", ".t7"))]
            if len(inside) != 1:
                raise MismatchError(
                    f"this ZIP contains {len(inside)} checkpoints, not one", where=path, hint="unpack it and give the file of the generator"
                )
            with tempfile.TemporaryDirectory() as folder:
                target = Path(folder) / PurePosixPath(inside[0]).name
                with archive.open(inside[0]) as source, target.open("wb") as sink:
                    while block := source.read(1 << 20):
                        sink.write(block)
                yield target
    except BadArchive as error:
        raise MismatchError(f"this ZIP was rejected: {error}", where=path, hint="do not use this file") from None
    except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, NotImplementedError) as error:
        raise MismatchError(f"this ZIP cannot be read ({error})", where=path, hint="download it again") from None


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """The state dict of a published file. Raises UsageError when the file does not exist, MismatchError when it is anything else."""
    return read_with_step(path)[0]


def read_with_step(path: Path) -> tuple[dict[str, Tensor], int]:
    """The state dict of a published file and its step: the recorded one, else that of its name, else 0."""
    with unpacked(path) as file:
        try:
            state, step = read_network(file)
        except DataError as error:
            raise MismatchError(str(error.message), where=path, hint=error.hint) from None
        return state, step_of_name(path.name) or step_of_name(file.name) if step is None else step


def step_of_name(name: str) -> int:
    """The step or epoch in the name of a file that is called as the released code calls it; 0 for any other name.

    Browsers and people add ` (1)`, ` copy`, `-v2` and the like, which are ignored.
    """
    stem = re.sub(r"(\.(pth|pt|tar|zip|bin|ckpt))+$", "", name, flags=re.IGNORECASE)
    stem = re.sub(r"(\s*\(\d+\)|\s+copy|\s*- copy|[-_. ]v\d+)+$", "", stem, flags=re.IGNORECASE)
    found = re.fullmatch(r"(?:netG|G)_(?:epoch_)?(\d{1,12})(?:_\d+px)?", stem)
    return int(found[1]) if found else 0


def model_of(generator: State, discriminators: Sequence[State] = (), *, where: object = "") -> Model:
    """The configuration of published weights, inferred from their shapes.

    `discriminators`: one for StackGAN-v1 and HDGAN, one per scale for StackGAN-v2; if missing, the published sizes are assumed.
    Raises MismatchError when the shapes match no configuration.
    """
    try:
        match kind_of(generator):
            case "v1-g":
                return infer_config(generator, discriminators[0] if discriminators else None, where=where)
            case "v2-g":
                return _v2(generator, discriminators)
            case "hdgan-g":
                return _hdgan(generator, discriminators)
    except (KeyError, ValueError, IndexError, ZeroDivisionError) as error:
        reason = f"no tensor {error.args[0]!r}" if isinstance(error, KeyError) else _first_line(error)
        raise MismatchError(f"the tensors of this generator match no configuration ({reason})", where=where) from None
    raise MismatchError("not a known generator", where=where, hint="StackGAN-v1 (PyTorch), StackGAN-v2 and HDGAN are supported")


def preset_of(model: Model) -> str:
    """The preset whose training settings an imported generator gets."""
    match model:
        case StackGANv1():
            return f"v1-stage{model.stage}-pytorch"
        case StackGANv2():
            return "v2-cub"
        case HDGAN():
            return "hdgan-cub"


def _first_line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return str(error.errors()[0]["msg"])
    return str(error)


def _v2(generator: State, discriminators: Sequence[State]) -> StackGANv2:
    values: dict[str, Any] = {}
    fc_units, inputs = generator["h_net1.fc.0.weight"].shape
    if "ca_net.fc.weight" in generator:
        units, values["text_dim"] = generator["ca_net.fc.weight"].shape
        values["condition_dim"] = units // 4
        values["z_dim"] = inputs - units // 4
    else:
        values |= {"condition": "none", "wrong_pairs": "none", "wrong_as_real": False, "color_weight": 50.0, "z_dim": inputs}
    doublings = count(generator, r"h_net1\.upsample\d+\.1\.weight")
    branches = [4 * 2**doublings]
    stages = 1 + count(generator, r"h_net\d+\.jointConv\.0\.weight")
    for i in range(2, stages + 1):
        branches.append(branches[-1] * (2 if f"h_net{i}.upsample.1.weight" in generator else 1))
    images = count(generator, r"img_net\d+\.img\.0\.weight")
    values |= {
        "branches": tuple(branches),
        "supervised": "all" if images == stages else "last",
        "gf_dim": fc_units // 32 * branches[0] // 2**doublings // 64,
    }
    if stages > 1:
        values["residual_blocks"] = count(generator, r"h_net2\.residual\.\d+\.block\.0\.weight")
    if discriminators:
        values["df_dim"] = discriminators[0]["img_code_s16.0.weight"].shape[0]
        if "condition" not in values and "uncond_logits.0.weight" not in discriminators[0]:
            values |= {"image_weight": 0.0}
    return StackGANv2.model_validate(values)


def _hdgan(generator: State, discriminators: Sequence[State]) -> HDGAN:
    values: dict[str, Any] = {}
    prefixes = {found.group() for key in generator if (found := re.match(r"generator_\d+\.", key))}
    prefix = prefixes.pop() if prefixes else ""
    base = {key.removeprefix(prefix): value for key, value in generator.items() if key.startswith(prefix)}
    units, values["text_dim"] = base["condEmbedding.linear.weight"].shape
    values["condition_dim"] = units // 2
    fc_units, inputs = base["vec_to_tensor.out.0.weight"].shape
    values |= {"z_dim": inputs - units // 2, "width": fc_units // 128}
    sides = sorted({int(found[1]) for key in base if (found := re.match(r"scale_(\d+)\.", key))})
    scales = sorted({int(found[1]) for key in base if (found := re.match(r"tensor_to_img_(\d+)\.", key))})
    resolution = max(side for side in sides if side <= 256)
    values |= {"resolution": resolution, "scales": tuple(scales)}
    values["residual_blocks"] = count(base, r"scale_4\.\d+\.res_block\.0\.1\.weight")
    if prefix:
        values |= {"stage": 2, "stage2_residual_blocks": count(generator, rf"scale_{2 * resolution}\.\d+\.res_block\.0\.1\.weight")}
    if discriminators:
        values |= _hdgan_discriminator(discriminators[0])
    return HDGAN.model_validate(values)


def _hdgan_discriminator(state: State) -> dict[str, Any]:
    patches = list(HDGAN.VARIANTS["released"]["patches"])
    width = 0
    for key, value in state.items():
        if found := re.fullmatch(r"img_encoder_(\d+)\.node\.0\.0\.weight", key):
            width = value.shape[0] * int(found[1]) // 64
        if found := re.fullmatch(r"local_img_disc_(\d+)\.weight", key):
            side = int(found[1])
            patches[(side // 64).bit_length() - 1] = (4 if side <= 128 else 8) - value.shape[-1] + 1
    has_local = any(key.startswith("local_img_disc_") for key in state)
    game = {} if has_local else {"image_weight": 0.0, "wrong_as_real": False}
    return {"discriminator_width": width, "patches": tuple(patches), **game}


def assign(networks: Mapping[str, nn.Module], generator: State, discriminators: Sequence[State], where: object) -> dict[str, Tensor]:
    """All tensors under our names (`generator.KEY`, ...), complete for each network; `networks` may be on the meta device.

    Raises MismatchError that lists missing, unexpected and misshapen tensors, or says which discriminator is missing.
    """
    tensors = _complete("generator", networks["generator"], generator, where)
    if not discriminators:
        return tensors
    names = [name for name in networks if name != "generator"]
    if len(names) > 1 and len(discriminators) == 1:  # HDGAN: one file for all scales
        whole = dict(discriminators[0])
        mine = [[key for key in whole if key in networks[name].state_dict()] for name in names]
        unknown = set(whole).difference(*mine)
        if unknown:
            raise MismatchError(f"{len(unknown)} unexpected tensors: {', '.join(sorted(unknown)[:5])}", where=where)
        discriminators = [{key: whole[key] for key in keys} for keys in mine]
    if len(discriminators) != len(names):
        raise MismatchError(f"{len(discriminators)} discriminators given, but the generator has {len(names)} scales", where=where)
    for name, state in zip(names, sorted(discriminators, key=len), strict=True):
        tensors |= _complete(name, networks[name], state, where)
    return tensors


def _complete(name: str, network: nn.Module, state: State, where: object) -> dict[str, Tensor]:
    check_fit(network, state, where=where)
    absent = {key: torch.zeros((), dtype=torch.int64) for key in network.state_dict() if key not in state}  # num_batches_tracked
    return {f"{name}.{key}": value for key, value in {**absent, **state}.items()}


def export_stackgan_v1(model: StackGANv1, networks: Mapping[str, State], step: int) -> dict[str, dict[str, Tensor]]:
    """Files as the released PyTorch code writes them. Raises MismatchError for another variant."""
    if model.variant != "pytorch":
        raise MismatchError(f"the {model.variant!r} variant of StackGAN-v1 has no published PyTorch layout", where="model.variant")
    generator, others = _split(networks)
    return {f"netG_epoch_{step}.pth": generator} | ({"netD_epoch_last.pth": others[0]} if others else {})


def export_stackgan_v2(model: StackGANv2, networks: Mapping[str, State], step: int) -> dict[str, dict[str, Tensor]]:
    """Files as the released code writes them, one discriminator per scale. Raises MismatchError for unpublished configurations."""
    if model.condition == "class" or model.discriminators > 1:
        raise MismatchError("this configuration of StackGAN-v2 was never published, so it has no published layout", where="model")
    generator, others = _split(networks)
    files = {f"netG_{step}.pth": generator} | {f"netD{i}.pth": state for i, state in enumerate(others)}
    return {file: {f"module.{key}": value for key, value in state.items()} for file, state in files.items()}


def export_hdgan(model: HDGAN, networks: Mapping[str, State], step: int) -> dict[str, dict[str, Tensor]]:
    """Files as the released code writes them: one discriminator file has the names of all scales."""
    generator, others = _split(networks)
    together = {key: value for state in others for key, value in state.items()}
    return {f"G_epoch_{step}.pth": generator} | ({f"D_epoch_{step}.pth": together} if others else {})


def _split(networks: Mapping[str, State]) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
    """The generator, and the discriminators in order."""
    return dict(networks["generator"]), [dict(state) for name, state in networks.items() if name != "generator"]
