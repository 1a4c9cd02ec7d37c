"""A space in which images and captions can be compared, for VS similarity (HDGAN draft, section 4) and R-precision (AttnGAN's protocol).

It is either a trained `vs-similarity`, or a text encoder with the image encoder it was trained with. Neither was trained on generated
images, but the generator was trained with the text encoder's embeddings, so a `vs-similarity` is the fairer choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stackgan_cli.config.archs import CharCNNRNN as CharCNNRNNConfig
from stackgan_cli.data.pixels import from_uint8
from stackgan_cli.encoders import char_cnn_rnn
from stackgan_cli.encoders.extractor_weights import file_sha256
from stackgan_cli.encoders.similarity import load_similarity
from stackgan_cli.encoders.text_encoder import TextEncoder
from stackgan_cli.errors import MismatchError
from stackgan_cli.models.image_encoders import SmallCNN
from stackgan_cli.runs import Weights


@dataclass
class JointSpace:
    """`encode` maps captions to the embeddings of the text encoder; `text` maps those, and `image` maps images, into the joint space."""

    identity: dict[str, Any]
    device: torch.device
    encode: Callable[[Sequence[str]], np.ndarray]
    text: Callable[[Tensor], Tensor]
    image: Callable[[Tensor], Tensor]

    @classmethod
    def open(cls, path: Path, device: torch.device | str) -> JointSpace:
        """Load the weights of a `vs-similarity` or a `char-cnn-rnn`. Raises MismatchError for other weights."""
        device = torch.device(device)
        model = Weights.open(path).config.model.as_a(CharCNNRNNConfig)
        if model is not None:
            return cls._of_encoder(path, model, device)
        weights, network = load_similarity(path)
        encoder = TextEncoder.inside(weights)
        if encoder is None:
            raise MismatchError("this weights file does not include its text encoder", where=path)
        network.to(device)
        return cls(_identity(path, "vs-similarity"), device, _encode(encoder, device), network.text_vectors, network.image_vectors)

    @classmethod
    def _of_encoder(cls, path: Path, model: CharCNNRNNConfig, device: torch.device) -> JointSpace:
        tensors = Weights.open(path).tensors("image_encoder")
        if model.image_encoder != "cnn" or not tensors:
            raise MismatchError(
                "this text encoder was trained with stored features, so it has no image encoder",
                where=path,
                hint="train one with `stackgan train --preset vs-similarity` and give it with --joint",
            )
        network = char_cnn_rnn.build_networks(model)["image_encoder"]
        assert isinstance(network, SmallCNN)
        network.load_state_dict(tensors)
        network.to(device).eval().requires_grad_(False)
        side = model.image_resolution

        def image(images: Tensor) -> Tensor:
            if images.shape[-1] != side:
                images = F.interpolate(images, size=(side, side), mode="bilinear", align_corners=False, antialias=True)
            return F.normalize(network(images).float(), dim=1)

        encoder = TextEncoder.load(path)
        return cls(_identity(path, "char-cnn-rnn"), device, _encode(encoder, device), lambda text: F.normalize(text, dim=1), image)

    @torch.inference_mode()
    def image_vectors(self, images: np.ndarray) -> np.ndarray:
        """Vectors float32 (N, J) of unit length for images uint8 (N, S, S, 3)."""
        return self.image(from_uint8(images, self.device)).cpu().numpy()

    @torch.inference_mode()
    def text_vectors(self, captions: Sequence[str]) -> np.ndarray:
        """Vectors float32 (N, J) of unit length for N captions; equal captions are encoded only once."""
        return self.text(torch.from_numpy(self.encode(captions)).to(self.device)).cpu().numpy()


def similarity(images: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """Cosines (N,) between the vectors of images and of their captions, both (N, J) and of unit length."""
    return np.asarray((images.astype(np.float64) * texts).sum(1))


def _encode(encoder: TextEncoder, device: torch.device) -> Callable[[Sequence[str]], np.ndarray]:
    return lambda captions: encoder.encode(captions, device=device)


def _identity(path: Path, kind: str) -> dict[str, Any]:
    return {"kind": kind, "file": str(path), "sha256": file_sha256(path)}
