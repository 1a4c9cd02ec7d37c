"""Configuration of the visual-semantic similarity (HDGAN draft, Eq. 5). Torch-free."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stackgan_cli.config.archs.base import ModelConfig
from stackgan_cli.config.archs.classifier import Classifier
from stackgan_cli.config.base import Frozen, PositiveInt


class ExtractorFile(Frozen):
    """An extractor that stays in its own file (encoders/extractor.py)."""

    arch: Literal["file"] = "file"
    spec: str
    """As given to `evaluate --extractor`: `torchscript:PATH`, `torchvision-inception:PATH`, ..."""
    sha256: str
    num_features: PositiveInt


class VSSimilarity(ModelConfig):
    """Visual-semantic similarity (HDGAN draft, Eq. 5): a joint space for image features of a fixed extractor and text vectors."""

    arch: Literal["vs-similarity"] = "vs-similarity"
    resolution: Literal[32, 64, 128, 256] = 64
    """Side in pixels of the images that the extractor sees in training."""
    text_dim: PositiveInt = 1024
    joint_dim: PositiveInt = 512
    """Size of the joint space."""
    margin: Annotated[float, Field(gt=0)] = 0.2
    """Margin of the ranking loss (delta in Eq. 5)."""
    extractor: Annotated[Classifier | ExtractorFile, Field(discriminator="arch")] | None = None
    """null: what `requires.extractor` names. The resolved configuration of a run shows it; if it is a classifier trained here, the weights
    file of the run contains it."""

    @property
    def extractor_file(self) -> ExtractorFile | None:
        """The extractor, where it stays in a file of its own."""
        return self.extractor if isinstance(self.extractor, ExtractorFile) else None

    @property
    def classifier(self) -> Classifier:
        """The classifier inside the network; while it is still open, one of default sizes."""
        return self.extractor if isinstance(self.extractor, Classifier) else Classifier()
