"""Configuration of the char-CNN-RNN text encoder (Reed et al., CVPR 2016). Torch-free."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stackgan_cli.config.archs.base import ModelConfig
from stackgan_cli.config.base import PositiveInt


class CharCNNRNN(ModelConfig):
    """The char-CNN-RNN text encoder (Reed et al., CVPR 2016) with the image side it is trained against."""

    arch: Literal["char-cnn-rnn"] = "char-cnn-rnn"
    variant: Literal["cvpr", "icml-flowers", "icml-cub"] = "icml-cub"
    text_dim: PositiveInt = 1024
    conv_dims: tuple[PositiveInt, PositiveInt] = (384, 512)
    rnn_dim: PositiveInt | None = None
    """Width of the third convolution and of the recurrence; None takes the published width of the variant (256, 512, 512)."""
    lowercase: bool = True
    unknown: Literal["zero", "space"] = "zero"
    image_encoder: Literal["cnn", "googlenet", "features"] = "cnn"
    image_weights: str | None = None
    """googlenet: a torchvision state dict (.pth or .safetensors); features: an HDF5 or .npy file of N x views x D."""
    image_resolution: Literal[32, 64, 128, 224] = 64
    image_width: PositiveInt = 32
    """Channels of the small CNN's first layer."""
    image_scale: Annotated[float, Field(gt=0)] = 1.0
    """What the small CNN's vectors are multiplied by. Only products of vectors are trained: smaller images make larger captions."""
    symmetric: bool = True
    margin: Annotated[float, Field(gt=0)] = 1.0
