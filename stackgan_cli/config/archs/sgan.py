"""Configuration of SGAN (Huang et al.; poster and released code): a stack of generators that inverts an encoder. Torch-free.

| | `paper` (poster) | `released` (CIFAR-10 code) | `released-mnist` |
|---|---|---|---|
| output of a discriminator | real or fake | class logits, whose log-sum-exp is the logit for real | real or fake |
| adversarial loss of generators | -log D | log(1 - D), which saturates | -log D |
| generator steps per discriminator step | 1 | 1, 3, 5 or 7, depending on the discriminator's loss | 1 |
| training (steps: see the presets) | all levels independently, then jointly | one after another, then jointly | jointly from the start |
| weight of a level's loss for the generators above it | 1 | 0.01 | 0 |
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from stackgan_cli.config.archs.base import Conditioning, ImageModelConfig
from stackgan_cli.config.archs.classifier import Classifier
from stackgan_cli.config.base import PositiveInt

Weight = Annotated[float, Field(ge=0)]

SIZES: dict[str, dict[str, Any]] = {
    "mnist": {"z_dims": (50, 50), "gf_dim": 64, "df_dim": 32, "hidden_dim": 512, "critic_dim": 256},
    "cifar10": {"z_dims": (50, 16), "gf_dim": 128, "df_dim": 96, "hidden_dim": 512, "critic_dim": 512},
}


class SGAN(ImageModelConfig):
    """Stacked generators that lead from a class label through the `levels` of an encoder to the image."""

    VARIANTS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {
            "critic": "binary",
            "adversarial": "non-saturating",
            "generator_turns": "one",
            "schedule": "parallel",
            "joint_weight": 1.0,
        },
        "released": {
            "critic": "classes",
            "adversarial": "saturating",
            "generator_turns": "adaptive",
            "schedule": "sequential",
            "joint_weight": 0.01,
        },
        "released-mnist": {
            "critic": "binary",
            "adversarial": "non-saturating",
            "generator_turns": "one",
            "schedule": "parallel",
            "joint_weight": 0.0,
        },
    }

    arch: Literal["sgan"] = "sgan"
    variant: Literal["paper", "released", "released-mnist"] = "paper"
    encoder: Classifier | None = None
    """The encoder to invert. null: the one that `requires.extractor` names; the resolved configuration of a run shows it."""
    levels: tuple[Literal["fc3", "pool2", "pool1"], ...] = ("fc3",)
    """Representations of the encoder between label and image, top to bottom; `fc3` as published. Empty: a single generator (a DCGAN)."""
    networks: Literal["mnist", "cifar10"] = "mnist"
    """Which published layers to use: those for 28-px gray images, or for 32-px color images. The sizes below follow from it."""
    z_dims: tuple[PositiveInt, ...] = (50, 50)
    """Noise dimensions of each generator, top to bottom; the noise is uniform in [0, 1)."""
    gf_dim: PositiveInt = 64
    """Channels of the last hidden map of the image generator; the first has twice as many."""
    df_dim: PositiveInt = 32
    """Channels of the first layer of the convolutional discriminators."""
    hidden_dim: PositiveInt = 512
    """Width of the generator of vectors (fc3)."""
    critic_dim: PositiveInt = 256
    """Width of the discriminator of vectors (fc3)."""
    initial: Literal["normal", "glorot"] = "normal"
    """Initial weights: N(0, 0.02) as in most of the released code, or Glorot uniform (as in one of its discriminators), with which the
    discriminators learn much sooner."""
    critic: Literal["binary", "classes"] = "binary"
    """Output of a discriminator: one logit for real, or one logit per class."""
    adversarial: Literal["non-saturating", "saturating"] = "non-saturating"
    """Adversarial loss of the generators: -log D, or log(1 - D)."""
    adversarial_weight: Weight = 1.0
    conditional_weight: Weight = 1.0
    entropy_weight: Weight = 10.0
    label_weight: Weight = 1.0
    """critic `classes`: weight of the classification loss on real images."""
    generator_turns: Literal["one", "adaptive"] = "one"
    """Generator steps per discriminator step: one, or 1 to 7 depending on the discriminator's loss."""
    schedule: Literal["parallel", "sequential"] = "parallel"
    """Order of independent training: all levels at the same time, or one after another (the image first), each for `independent_steps`."""
    independent_steps: Annotated[int, Field(ge=0)] | None = 0
    """Steps of training each level independently on the encoder's features, before all are trained jointly. null: never jointly."""
    joint_weight: Weight = 1.0
    """Weight of a level's loss for the generators above it in joint training; 1 is end to end."""

    @model_validator(mode="before")
    @classmethod
    def _fill_sizes(cls, values: Any) -> Any:
        """Sizes that are left out follow from `networks` and `levels`."""
        if not isinstance(values, dict):
            return values
        row = dict(SIZES.get(str(values.get("networks", "mnist")), {}))
        levels = values.get("levels")
        if isinstance(levels, (list, tuple)) and "z_dims" in row:
            top, bottom = row["z_dims"]
            row["z_dims"] = (*([top] * len(levels)), bottom if levels else top)
        return {**row, **values}

    @property
    def inverted(self) -> Classifier:
        """The encoder; until it is known, one with the published sizes."""
        if self.encoder is not None:
            return self.encoder
        if self.networks == "mnist":
            return Classifier(backbone="sgan", resolution=28, channels=1, conv_dims=(32, 32), num_classes=10)
        return Classifier(backbone="sgan", resolution=32, channels=3, conv_dims=(64, 128), input_range="centred", num_classes=10)

    @property
    def resolution(self) -> int:
        return self.inverted.resolution

    @property
    def label(self) -> str:
        """Where the labels come from: `class`, or attributes of the cache."""
        return self.inverted.label

    @property
    def num_classes(self) -> int:
        return self.inverted.num_classes or 1

    @property
    def conditioning(self) -> Conditioning:
        return "class"

    @property
    def sides(self) -> tuple[int, ...]:
        return (self.resolution,)

    @property
    def text_dim(self) -> None:
        return None

    @property
    def judged_sides(self) -> dict[str, int]:
        return {}  # none: every discriminator belongs to a level of the stack

    @property
    def chain(self) -> tuple[str, ...]:
        """The representations from top to bottom: label, `levels`, image."""
        return ("label", *self.levels, "image")

    @model_validator(mode="after")
    def _check(self) -> SGAN:
        order = ("fc3", "pool2", "pool1")
        if list(self.levels) != sorted(set(self.levels), key=order.index):
            raise ValueError(f"levels: give each at most once, from top to bottom ({', '.join(order)})")
        if len(self.z_dims) != len(self.levels) + 1:
            raise ValueError(f"z_dims: a stack of {len(self.levels) + 1} generators needs as many values, not {len(self.z_dims)}")
        if self.encoder is not None and self.encoder.backbone != "sgan":
            raise ValueError("encoder: only an encoder with backbone 'sgan' can be inverted")
        return self
