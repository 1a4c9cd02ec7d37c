"""Configuration of image classifiers. Torch-free."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from stackgan_cli.config.archs.base import ModelConfig
from stackgan_cli.config.base import PositiveInt


class Classifier(ModelConfig):
    """A classifier of images, whose features and probabilities score those of generators, and which SGAN inverts.

    The papers' inception score takes an Inception-v3 fine-tuned on the 50 test classes of CUB (metrics by StackGAN's authors); their file
    is no longer published. `cnn` is a small network trained from scratch, `sgan` the encoder of SGAN.
    """

    SIDES: ClassVar[tuple[int, ...]] = (32, 64, 128, 256)

    arch: Literal["classifier"] = "classifier"
    backbone: Literal["cnn", "inception", "sgan"] = "cnn"
    weights: str | None = None
    """inception: what to start from, a state dict of Inception-v3 or `torchvision-inception`, the published one; None: random weights."""
    resolution: Annotated[int, Field(ge=16, le=256)] = 64
    """Side of the images that it is shown: 32, 64, 128 or 256, for sgan a multiple of 4; the inception backbone enlarges them to 299 px."""
    width: PositiveInt = 32
    """cnn: channels of the first layer; the last has up to 8 times as many."""
    channels: Literal[1, 3] = 3
    """sgan: what it looks at, grey or colours."""
    conv_dims: tuple[PositiveInt, PositiveInt] = (64, 128)
    """sgan: channels of its two convolutions."""
    hidden_dim: PositiveInt = 256
    """sgan: width of fc3."""
    input_range: Literal["unit", "centred"] = "unit"
    """sgan: pixels from 0 to 1, or those minus the mean of the training images, place by place."""
    label: str = "class"
    """What is told apart: `class`, or attributes of the cache joined by `+` (`body+wing`)."""
    num_classes: PositiveInt | None = None
    """None: as many as there are labels in the split that is trained on."""

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
