"""One configuration model per architecture, distinguished by `arch`. Torch-free. A new one is a file here and an entry in `CONFIGS`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from stackgan_cli.config.archs.base import Conditioning, ImageModelConfig, ModelConfig
from stackgan_cli.config.archs.char_cnn_rnn import CharCNNRNN
from stackgan_cli.config.archs.classifier import Classifier
from stackgan_cli.config.archs.dcgan import DCGAN
from stackgan_cli.config.archs.hdgan import HDGAN
from stackgan_cli.config.archs.sgan import SGAN
from stackgan_cli.config.archs.similarity import ExtractorFile, VSSimilarity
from stackgan_cli.config.archs.stacked import StackedConfig
from stackgan_cli.config.archs.stackgan_v1 import StackGANv1
from stackgan_cli.config.archs.stackgan_v2 import StackGANv2

CONFIGS: tuple[type[ModelConfig], ...] = (StackGANv1, StackGANv2, HDGAN, SGAN, DCGAN, CharCNNRNN, Classifier, VSSimilarity)
"""The configuration models in the order of `registry.ARCHS`."""

if TYPE_CHECKING:
    ArchConfig = ModelConfig
else:
    ArchConfig = Annotated[Union[CONFIGS], Field(discriminator="arch")]  # noqa: UP007 - a union over a table

__all__ = [
    "CONFIGS",
    "DCGAN",
    "HDGAN",
    "SGAN",
    "ArchConfig",
    "CharCNNRNN",
    "Classifier",
    "Conditioning",
    "ExtractorFile",
    "ImageModelConfig",
    "ModelConfig",
    "StackGANv1",
    "StackGANv2",
    "StackedConfig",
    "VSSimilarity",
]
