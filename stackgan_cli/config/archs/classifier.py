"""Configuration of image classifiers. Torch-free."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from stackgan_cli.config.archs.base import ModelConfig
from stackgan_cli.config.base import PositiveInt


class Classifier(ModelConfig):
    """An image classifier: its features and probabilities score generated images, and SGAN inverts it.

    The papers compute the inception score with an Inception-v3 that StackGAN's authors fine-tuned on the 50 test classes of CUB; that
    file is no longer published. `cnn` is a small network trained from scratch, `sgan` the encoder of SGAN.
    """

    SIDES: ClassVar[tuple[int, ...]] = (32, 64, 128, 256)

    arch: Literal["classifier"] = "classifier"
    backbone: Literal["cnn", "inception", "sgan"] = "cnn"
    weights: str | None = None
    """inception: initial weights, `torchvision-inception` (the published ones) or a state dict of Inception-v3; null: random weights."""
    resolution: Annotated[int, Field(ge=16, le=256)] = 64
    """Side in pixels of the input: 32, 64, 128 or 256; for sgan a multiple of 4. The inception backbone enlarges images to 299 px."""
    width: PositiveInt = 32
    """cnn: channels of the first layer; the last has up to 8 times as many."""
    channels: Literal[1, 3] = 3
    """sgan: input channels, 1 for gray images or 3 for color."""
    conv_dims: tuple[PositiveInt, PositiveInt] = (64, 128)
    """sgan: channels of the two convolutions."""
    hidden_dim: PositiveInt = 256
    """sgan: width of fc3."""
    input_range: Literal["unit", "centred"] = "unit"
    """sgan: pixels from 0 to 1 (`unit`), or the same minus the mean image of the training set (`centred`)."""
    label: str = "class"
    """The labels to predict: `class`, or attributes of the cache joined by `+` (`body+wing`)."""
    num_classes: PositiveInt | None = None
    """Number of classes; null: the number of distinct labels in the training split."""

    @property
    def scores_images(self) -> bool:
        return self.backbone != "sgan"

    @model_validator(mode="after")
    def _check(self) -> Classifier:
        if not all(part.strip() for part in self.label.split("+")):
            raise ValueError("label: give 'class', or attributes joined by '+', like 'body+wing'")
        if self.weights is not None and self.backbone != "inception":
            raise ValueError("weights: only the inception backbone starts from a file; set it to null, or use backbone 'inception'")
        if self.backbone == "sgan" and self.resolution % 4:
            raise ValueError(f"resolution: must be a multiple of 4 for backbone 'sgan', which halves images twice, not {self.resolution}")
        if self.backbone != "sgan" and self.resolution not in self.SIDES:
            sides = ", ".join(map(str, self.SIDES))
            raise ValueError(f"resolution: must be one of {sides} for backbone {self.backbone!r}, not {self.resolution}")
        return self
