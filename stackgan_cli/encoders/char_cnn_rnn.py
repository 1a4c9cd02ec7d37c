"""The networks of char-CNN-RNN training: the text encoder itself, and the image encoder whose embeddings it learns to match."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from stackgan_cli.config.archs import CharCNNRNN as CharCNNRNNConfig
from stackgan_cli.data.stored_features import read_features
from stackgan_cli.errors import ConfigError, DataError, MismatchError
from stackgan_cli.interop.pickles import read_state_dict
from stackgan_cli.models.char_cnn_rnn import CharCNNRNN
from stackgan_cli.models.image_encoders import FrozenGoogLeNet, SmallCNN, StoredFeatures


def build_networks(config: CharCNNRNNConfig) -> dict[str, nn.Module]:
    """`text_encoder` and the `image_encoder` it is trained with. Raises an error when the file of the image encoder does not fit."""
    text = CharCNNRNN(config.variant, text_dim=config.text_dim, conv_dims=config.conv_dims, rnn_dim=config.rnn_dim)
    return {"text_encoder": text, "image_encoder": _image_encoder(config)}


def _image_encoder(config: CharCNNRNNConfig) -> nn.Module:
    if config.image_encoder == "cnn":
        return SmallCNN(config.image_resolution, config.image_width, config.text_dim, config.image_scale)
    if config.image_weights is None:
        raise ConfigError(
            f"image_encoder {config.image_encoder!r} needs a file", where="model.image_weights", hint="or use model.image_encoder=cnn"
        )
    path = Path(config.image_weights).expanduser()
    encoder: nn.Module
    if config.image_encoder == "features":
        encoder = StoredFeatures(read_features(path))
        dim = encoder.features.shape[-1]
    else:
        encoder, dim = FrozenGoogLeNet(), FrozenGoogLeNet.DIM
        _load_googlenet(encoder, path)
    if dim != config.text_dim:
        raise ConfigError(
            f"image features have {dim} dimensions, text embeddings {config.text_dim}", where="model.text_dim", hint=f"use {dim}"
        )
    return encoder


def _load_googlenet(encoder: FrozenGoogLeNet, path: Path) -> None:
    if path.suffix == ".safetensors":
        try:
            state = load_file(path)
        except (SafetensorError, OSError) as error:
            raise DataError(f"not a readable safetensors file ({error})", where=path) from None
    else:
        state = read_state_dict(path)
    wanted = encoder.network.state_dict()
    wrong = [key for key, value in wanted.items() if key not in state or state[key].shape != value.shape]
    if wrong:
        raise MismatchError(f"not the weights of torchvision's googlenet: {wrong[0]!r} is missing or has another shape", where=path)
    if not next(encoder.parameters()).is_meta:
        encoder.network.load_state_dict({key: state[key] for key in wanted})
