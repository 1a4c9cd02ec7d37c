"""Visual-semantic similarities: built from a configuration, and read from our weights files."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from stackgan_cli.config.archs import ExtractorFile
from stackgan_cli.config.archs import VSSimilarity as VSSimilarityConfig
from stackgan_cli.data.pixels import to_uint8
from stackgan_cli.encoders.classifier import not_a
from stackgan_cli.encoders.extractor import open_extractor
from stackgan_cli.errors import MismatchError
from stackgan_cli.models.classifier import build_classifier
from stackgan_cli.models.interface import ImageExtractor
from stackgan_cli.models.similarity import VSSimilarity
from stackgan_cli.runs import Weights


def load_similarity(path: Path) -> tuple[Weights, VSSimilarity]:
    """The header of a weights file, which names the text encoder, and its visual-semantic similarity, frozen and in evaluation mode.

    Raises as `load_classifier` does. An extractor with a separate file is opened when it is first used.
    """
    weights = Weights.open(path)
    config = weights.config.model.as_a(VSSimilarityConfig)
    if config is None:
        raise not_a(weights, "vs-similarity")
    network = build_similarity(config)
    network.load_state_dict(weights.tensors("similarity"))
    network.requires_grad_(False).eval()
    return weights, network


def build_networks(config: VSSimilarityConfig) -> dict[str, nn.Module]:
    """The network `similarity`."""
    return {"similarity": build_similarity(config)}


def build_similarity(config: VSSimilarityConfig) -> VSSimilarity:
    """The network of a configuration, with random weights. An unset extractor becomes a classifier with default sizes."""
    extractor: ImageExtractor
    if config.extractor_file is not None:
        extractor = GivenExtractor(config.extractor_file)
    else:
        extractor = build_classifier(config.classifier)
    return VSSimilarity(extractor, config.text_dim, config.joint_dim)


class GivenExtractor(ImageExtractor):
    """An extractor that stays in its own file: its tensors are not part of this module's state. It is opened when it is first used.

    Opening raises as `open_extractor` does, and MismatchError when the file is not the one that the configuration names.
    """

    def __init__(self, config: ExtractorFile) -> None:
        super().__init__()
        self.config = config
        self._opened: list[nn.Module] = []
        """In a list, so that torch does not register it as a submodule."""

    @property
    def num_features(self) -> int:
        return self.config.num_features

    def features(self, images: Tensor) -> Tensor:
        if images.is_meta:
            return images.new_empty(len(images), self.num_features)
        if not self._opened:
            self._opened.append(self._open(images.device))
        features: Tensor = self._opened[0](to_uint8(images)).features
        return features

    def _open(self, device: torch.device) -> nn.Module:
        extractor = open_extractor(self.config.spec, device=device)
        if extractor.sha256 != self.config.sha256:
            raise MismatchError(
                f"this is not the extractor that the similarity was trained with (SHA-256 {self.config.sha256[:8]}...)",
                where=self.config.spec,
            )
        return extractor
