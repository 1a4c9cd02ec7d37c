"""A text encoder as the rest of the package uses one: captions in, vectors out, with an identity that travels with its vectors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stackgan_cli.config.measures import CharCNNRNN as CharCNNRNNConfig
from stackgan_cli.config.schema import RunConfig, TrainConfig
from stackgan_cli.errors import MismatchError
from stackgan_cli.interop.encoders import encoder_hash, load_text_encoder
from stackgan_cli.models.char_cnn_rnn import CharCNNRNN
from stackgan_cli.runs import Weights, write_weights
from stackgan_cli.text.encode import encode_captions


@dataclass(frozen=True)
class TextEncoder:
    """`hash` is that of the tensors (interop/encoders.py): equal hashes give equal vectors."""

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
        """From a weights file of ours, a published `.t7` or a `.pth` state dict."""
        return cls.from_state(*load_text_encoder(path))

    @classmethod
    def inside(cls, weights: Weights) -> TextEncoder | None:
        """The encoder that a text-to-image weights file carries; None when it knows only its hash."""
        if weights.text_encoder is None or "config" not in weights.text_encoder:
            return None
        config = CharCNNRNNConfig.model_validate(weights.text_encoder["config"])
        encoder = cls.from_state(config, weights.tensors("text_encoder"))
        if encoder.hash != weights.text_encoder["hash"]:
            raise MismatchError("the text encoder in this file is not the one its vectors were made with", where=weights.path)
        return encoder

    def save(self, path: Path) -> None:
        """Write our weights file of the encoder alone."""
        config = RunConfig(name="text-encoder", model=self.config, train=TrainConfig(steps=1))
        tensors = {f"text_encoder.{key}": value for key, value in self.network.state_dict().items()}
        write_weights(path, tensors, config=config, step=0, text_encoder=None)

    @property
    def identity(self) -> dict[str, Any]:
        """What is recorded beside vectors: variant, sizes and character handling."""
        keep = ("variant", "text_dim", "conv_dims", "rnn_dim", "lowercase", "unknown")
        return {key: value for key, value in self.config.model_dump(mode="json").items() if key in keep}

    @property
    def reference(self) -> dict[str, Any]:
        """What a text-to-image weights file says about the encoder it carries."""
        return {"hash": self.hash, "identity": self.identity, "config": self.config.model_dump()}

    @property
    def tensors(self) -> dict[str, torch.Tensor]:
        """Its tensors under the names that a text-to-image weights file gives them."""
        return {f"text_encoder.{key}": value for key, value in self.network.state_dict().items()}

    def encode(
        self,
        captions: Sequence[str],
        *,
        device: torch.device | str = "cpu",
        batch_size: int = 256,
        progress: Callable[[int, int], None] | None = None,
    ) -> np.ndarray:
        """float32 (N, T); equal captions are encoded once."""
        return encode_captions(
            self.network.to(device),
            captions,
            lowercase=self.config.lowercase,
            unknown=self.config.unknown,
            batch_size=batch_size,
            device=device,
            progress=progress,
        )
