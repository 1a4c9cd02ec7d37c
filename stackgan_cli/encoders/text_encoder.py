"""A text encoder as the rest of the package uses it: captions in, embeddings out, with an identity that is stored with its embeddings."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stackgan_cli.config.archs import CharCNNRNN as CharCNNRNNConfig
from stackgan_cli.config.schema import RunConfig, TrainConfig
from stackgan_cli.errors import MismatchError, UsageError
from stackgan_cli.interop.char_cnn_rnn import check_shapes, read_char_cnn_rnn
from stackgan_cli.models.char_cnn_rnn import CharCNNRNN
from stackgan_cli.runs import Weights, write_weights
from stackgan_cli.text.encoding import encode_captions


@dataclass(frozen=True)
class TextEncoder:
    """`hash` is the hash of the tensors (`encoder_hash`): equal hashes give equal embeddings."""

    config: CharCNNRNNConfig
    network: CharCNNRNN
    hash: str

    @classmethod
    def from_state(cls, config: CharCNNRNNConfig, state: dict[str, torch.Tensor]) -> TextEncoder:
        network = CharCNNRNN(config.variant, text_dim=config.text_dim, conv_dims=config.conv_dims, rnn_dim=config.rnn_dim)
        network.load_state_dict(state)
        return cls(config, network.eval().requires_grad_(False), encoder_hash(state))

    @classmethod
    def load(cls, path: Path) -> TextEncoder:
        """From one of our weights files, a published `.t7` or a `.pth` state dict."""
        return cls.from_state(*load_text_encoder(path))

    @classmethod
    def inside(cls, weights: Weights) -> TextEncoder | None:
        """The encoder inside a text-to-image weights file; None when the file has only its hash."""
        if weights.text_encoder is None or "config" not in weights.text_encoder:
            return None
        config = CharCNNRNNConfig.model_validate(weights.text_encoder["config"])
        encoder = cls.from_state(config, weights.tensors("text_encoder"))
        if encoder.hash != weights.text_encoder["hash"]:
            raise MismatchError("the text encoder in this file is not the one that made its embeddings", where=weights.path)
        return encoder

    def save(self, path: Path) -> None:
        """Write a weights file that contains only the encoder."""
        config = RunConfig(name="text-encoder", model=self.config, train=TrainConfig(steps=1))
        tensors = {f"text_encoder.{key}": value for key, value in self.network.state_dict().items()}
        write_weights(path, tensors, config=config, step=0, text_encoder=None)

    @property
    def identity(self) -> dict[str, Any]:
        """What is recorded with embeddings: variant, sizes and character handling."""
        keep = ("variant", "text_dim", "conv_dims", "rnn_dim", "lowercase", "unknown")
        return {key: value for key, value in self.config.model_dump(mode="json").items() if key in keep}

    @property
    def reference(self) -> dict[str, Any]:
        """The entry of a text-to-image weights file about the encoder inside it."""
        return {"hash": self.hash, "identity": self.identity, "config": self.config.model_dump()}

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """Its tensors under their names in a text-to-image weights file."""
        return {f"text_encoder.{key}": value for key, value in self.network.state_dict().items()}

    def encode(
        self,
        captions: Sequence[str],
        *,
        device: torch.device | str = "cpu",
        batch_size: int = 256,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """Embeddings float32 (N, T); equal captions are encoded once."""
        return encode_captions(
            self.network.to(device),
            captions,
            lowercase=self.config.lowercase,
            unknown=self.config.unknown,
            batch_size=batch_size,
            device=device,
            progress=progress,
        )


def load_text_encoder(path: Path) -> tuple[CharCNNRNNConfig, dict[str, torch.Tensor]]:
    """The configuration and state dict of a text encoder from one of our `.safetensors` files, a `.t7` or a `.pth` file.

    Raises UsageError when there is no such file, DataError when it is damaged, MismatchError when it is not a char-CNN-RNN.
    """
    if not path.is_file():
        raise UsageError("no such file", where=path)
    if path.suffix != ".safetensors":
        return read_char_cnn_rnn(path)
    config, state = _from_weights(path)
    check_shapes(config, state, path)
    return config, state


def _from_weights(path: Path) -> tuple[CharCNNRNNConfig, dict[str, torch.Tensor]]:
    """From one of our files: a trained encoder, or a text-to-image model that contains one."""
    weights = Weights.open(path)
    config = weights.config.model.as_a(CharCNNRNNConfig)
    if config is None:
        if weights.text_encoder is None or "config" not in weights.text_encoder:
            raise MismatchError(
                "this weights file contains no text encoder", where=path, hint="give the file of the encoder it was trained with"
            )
        config = CharCNNRNNConfig.model_validate(weights.text_encoder["config"])
    return config, weights.tensors("text_encoder")


def encoder_hash(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 (hex) of names, shapes and float32 values, sorted by name: equal weights have equal hashes, however they are stored."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().to("cpu", torch.float32).contiguous()
        digest.update(f"{name}:{tuple(tensor.shape)};".encode())
        digest.update(tensor.numpy().astype("<f4", copy=False).tobytes())
    return digest.hexdigest()
