"""Configuration of the visual-semantic similarity (HDGAN draft, Eq. 5). Torch-free."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stackgan_cli.config.archs.base import ModelConfig
from stackgan_cli.config.archs.classifier import Classifier
from stackgan_cli.config.base import Frozen, PositiveInt


class ExtractorFile(Frozen):
    """An extractor that stays in a file of its own (encoders/extractor.py)."""

    arch: Literal["file"] = "file"
    spec: str
    """As `evaluate --extractor` takes it: `torchscript:PATH`, `torchvision-inception:PATH`, ..."""
    sha256: str
    num_features: PositiveInt


class VSSimilarity(ModelConfig):
    """Visual-semantic similarity (HDGAN draft, Eq. 5): a joint space for image features of a fixed extractor and text vectors."""

    arch: Literal["vs-similarity"] = "vs-similarity"
    resolution: Literal[32, 64, 128, 256] = 64
    """Side of the images that the extractor is shown in training."""
    text_dim: PositiveInt = 1024
    joint_dim: PositiveInt = 512
    margin: Annotated[float, Field(gt=0)] = 0.2
    extractor: Annotated[Classifier | ExtractorFile, Field(discriminator="arch")] | None = None
    """None: what `requires.extractor` names. A run's own configuration shows it, and its weights file contains a classifier of ours."""

    @property
    def extractor_file(self) -> ExtractorFile | None:
        """The extractor, where it stays in a file of its own."""
        return self.extractor if isinstance(self.extractor, ExtractorFile) else None

    @property
    def classifier(self) -> Classifier:
        """The classifier inside the network; while it is still open, one of default sizes."""
        return self.extractor if isinstance(self.extractor, Classifier) else Classifier()
