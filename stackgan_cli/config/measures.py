"""Configurations of the networks that read captions or judge images: text encoder, classifier, visual-semantic similarity. Torch-free."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from stackgan_cli.config.base import Frozen, PositiveInt


class CharCNNRNN(Frozen):
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


class Classifier(Frozen):
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


class ExtractorFile(Frozen):
    """An extractor that stays in a file of its own (interop/extractors.py)."""

    arch: Literal["file"] = "file"
    spec: str
    """As `evaluate --extractor` takes it: `torchscript:PATH`, `torchvision-inception:PATH`, ..."""
    sha256: str
    num_features: PositiveInt


class VSSimilarity(Frozen):
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
    def conditional(self) -> bool:
        """It takes captions."""
        return True
