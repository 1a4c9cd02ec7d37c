"""Configuration of the char-CNN-RNN text encoder (Reed et al., CVPR 2016). Torch-free."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stackgan_cli.config.archs.base import ModelConfig
from stackgan_cli.config.base import PositiveInt


class CharCNNRNN(ModelConfig):
    """The char-CNN-RNN text encoder (Reed et al., CVPR 2016) and the image encoder that it is trained with."""

    arch: Literal["char-cnn-rnn"] = "char-cnn-rnn"
    variant: Literal["cvpr", "icml-flowers", "icml-cub"] = "icml-cub"
    text_dim: PositiveInt = 1024
    """Size of the text embedding."""
    conv_dims: tuple[PositiveInt, PositiveInt] = (384, 512)
    """Channels of the first two convolutions."""
    rnn_dim: PositiveInt | None = None
    """Width of the third convolution and of the recurrence; null: the published width of the variant (256, 512, 512)."""
    lowercase: bool = True
    """Whether captions are converted to lower case."""
    unknown: Literal["zero", "space"] = "zero"
    """What a character outside the alphabet becomes: an all-zero column, or a space."""
    image_encoder: Literal["cnn", "googlenet", "features"] = "cnn"
    """A small CNN trained together with the text encoder, torchvision's GoogLeNet (frozen), or stored features."""
    image_weights: str | None = None
    """googlenet: a torchvision state dict (.pth or .safetensors); features: an HDF5 or .npy file with an array (images, views, D)."""
    image_resolution: Literal[32, 64, 128, 224] = 64
    """Side in pixels of the images that the image encoder sees."""
    image_width: PositiveInt = 32
    """cnn: channels of the first layer."""
    image_scale: Annotated[float, Field(gt=0)] = 1.0
    """cnn: factor of the image vectors. The loss depends on products only, so smaller image vectors give larger text embeddings."""
    symmetric: bool = True
    """Rank captions by images and images by captions (DS-SJE); if false, captions by images only (DA-SJE)."""
    margin: Annotated[float, Field(gt=0)] = 1.0
    """Margin of the hinge loss."""
