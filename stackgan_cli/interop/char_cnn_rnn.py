"""The published char-CNN-RNN text encoders: Torch7 networks, and state dicts of the PyTorch port."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from stackgan_cli.config.archs import CharCNNRNN as CharCNNRNNConfig
from stackgan_cli.errors import DataError, MismatchError
from stackgan_cli.interop.pickles import read_state_dict
from stackgan_cli.interop.torch7 import Table, TorchObject, TorchTensor, read_t7
from stackgan_cli.models.char_cnn_rnn import KERNEL, VARIANTS, CharCNNRNN

# Indices (from 0) of the linear maps among the modules of the published recurrences; each is wrapped in an nn.Sequential.
_RELU_PLACES = {"i2h": 1, "h2h": 5}
_GATED_PLACES = {"i2h": 1, "i2h_update": 4, "h2h_update": 5, "i2h_reset": 9, "h2h_reset": 10, "h2h": 14}
_CONV_PLACES = {"conv1": 0, "conv2": 3, "conv3": 6}
_STEPS = {"relu": 8, "gated": 18}


def read_char_cnn_rnn(path: Path) -> tuple[CharCNNRNNConfig, dict[str, Tensor]]:
    """The configuration and state dict of a published text encoder, from a `.t7` file or a PyTorch state dict.

    Raises DataError when the file is damaged, MismatchError when it is not a char-CNN-RNN.
    """
    if path.suffix == ".t7":
        state = _from_torch7(path)
    else:
        state = {_dotted(key): value.float() for key, value in read_state_dict(path).items()}
    config = infer_config(state, where=path)
    check_shapes(config, state, path)
    return config, state


def infer_config(state: Mapping[str, Tensor], *, where: object = "") -> CharCNNRNNConfig:
    """Variant and sizes from the names and shapes of a state dict. Raises MismatchError when they are not those of a char-CNN-RNN."""
    try:
        conv1, conv2, dim = (state[f"conv{place}.weight"].shape[0] for place in (1, 2, 3))
        text_dim = state["emb_proj.weight"].shape[0]
    except (KeyError, IndexError):
        raise MismatchError("these are not the weights of a char-CNN-RNN text encoder", where=where) from None
    if "rnn.i2h_update.weight" in state:
        variant = "icml-cub"
    else:
        variant = "cvpr" if dim <= VARIANTS["cvpr"].rnn_dim else "icml-flowers"
    return CharCNNRNNConfig.model_validate({"variant": variant, "text_dim": text_dim, "conv_dims": (conv1, conv2), "rnn_dim": dim})


def _dotted(key: str) -> str:
    """The first release of the port used `rnn_i2h_weight` for `rnn.i2h.weight`."""
    match = re.fullmatch(r"(rnn_)?(\w+)_(weight|bias)", key)
    return f"{'rnn.' if match[1] else ''}{match[2]}.{match[3]}" if match else key


def check_shapes(config: CharCNNRNNConfig, state: Mapping[str, Tensor], path: Path) -> None:
    """Raise MismatchError unless `state` has exactly the tensors of the network that `config` describes."""
    with torch.device("meta"):
        wanted = CharCNNRNN(config.variant, text_dim=config.text_dim, conv_dims=config.conv_dims, rnn_dim=config.rnn_dim).state_dict()
    for key in sorted(wanted.keys() | state.keys()):
        found, expected = (tuple(side[key].shape) if key in side else "absent" for side in (state, wanted))
        if found != expected:
            raise MismatchError(f"{key!r} is {found}, but {expected} in a {config.variant} char-CNN-RNN", where=path)


# -- Torch7 -----------------------------------------------------------------------------------------------------------------


def _from_torch7(path: Path) -> dict[str, Tensor]:
    """State dict of a published network: `protos.enc_doc` of a training snapshot, or a network on its own."""
    root = read_t7(path)
    if isinstance(root, Table) and isinstance(root.get("protos"), Table):
        root = root["protos"].get("enc_doc")
    try:
        return _convert(root)
    except MismatchError as error:
        raise MismatchError(error.message, where=path, hint=error.hint) from None
    except DataError as error:
        raise DataError(error.message, where=path, hint=error.hint) from None


def _convert(network: object) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    stack, recurrence, projection = (_module(network, place) for place in (1, 3, 5))
    for name, place in _CONV_PLACES.items():
        weight, bias = _parameters(_module(stack, place), "nn.TemporalConvolution")
        if weight.ndim != 2 or weight.shape[1] % KERNEL:
            raise MismatchError(f"{name} of this network is not a convolution over {KERNEL} characters")
        # (out, kernel * in), where the kernel index varies slowest, to Conv1d's (out, in, kernel)
        state[f"{name}.weight"] = weight.view(weight.shape[0], KERNEL, -1).transpose(1, 2).contiguous()
        state[f"{name}.bias"] = bias
    inner = _modules(recurrence)
    gated = any(module.class_name == "nn.Sigmoid" for module in inner)
    averaged = any(
        isinstance(scale := module.get("constant_scalar"), float) and abs(scale * _STEPS["gated" if gated else "relu"] - 1) < 1e-6
        for module in inner
    )
    if not averaged:
        raise MismatchError("this network uses the last hidden state instead of the mean over time, unlike every published variant")
    for name, place in (_GATED_PLACES if gated else _RELU_PLACES).items():
        state[f"rnn.{name}.weight"], state[f"rnn.{name}.bias"] = _parameters(_module(_module(recurrence, place), 0), "nn.Linear")
    state["emb_proj.weight"], state["emb_proj.bias"] = _parameters(projection, "nn.Linear")
    return state


def _modules(module: object) -> list[TorchObject]:
    inner = module.get("modules") if isinstance(module, TorchObject) else None
    return [found for found in inner.array() if isinstance(found, TorchObject)] if isinstance(inner, Table) else []


def _module(parent: object, place: int) -> TorchObject:
    inner = _modules(parent)
    if place >= len(inner):
        name = parent.class_name if isinstance(parent, TorchObject) else type(parent).__name__
        raise MismatchError(f"this Torch7 file is not a char-CNN-RNN text encoder: {name} has no module {place}")
    return inner[place]


def _parameters(module: TorchObject, class_name: str) -> tuple[Tensor, Tensor]:
    weight, bias = module.get("weight"), module.get("bias")
    if module.class_name != class_name or not isinstance(weight, TorchTensor) or not isinstance(bias, TorchTensor):
        raise MismatchError(f"this Torch7 file is not a char-CNN-RNN text encoder: expected {class_name}, found {module.class_name}")
    return torch.from_numpy(weight.numpy()).float(), torch.from_numpy(bias.numpy()).float()
