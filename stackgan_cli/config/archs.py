"""One small configuration model per architecture, told apart by `arch`. Torch-free.

Each named variant is a row of a table: what the paper says (`paper`), or what a released code does. A key that the user
leaves out takes its value from the row of the chosen variant, so that a resolved configuration always shows every number.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

PositiveInt = Annotated[int, Field(ge=1, le=2**31 - 1)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class Frozen(BaseModel):
    """Base of every configuration model: unknown keys are errors, values cannot change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class VariantConfig(Frozen):
    """A model whose defaults come from `VARIANTS[variant]`; explicit keys win."""

    VARIANTS: ClassVar[dict[str, dict[str, Any]]] = {}

    @model_validator(mode="before")
    @classmethod
    def _fill_from_variant(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        variant = values.get("variant", cls.model_fields["variant"].default)
        row = cls.VARIANTS.get(variant, {}) if isinstance(variant, str) else {}
        return {**row, **values}


class StackGANv1(VariantConfig):
    """StackGAN-v1, Stage-I or Stage-II (StackGAN++ sections 3 and 5; released TensorFlow and PyTorch codes)."""

    VARIANTS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {"wrong_pairs": "text", "wrong_weight": 0.5, "kl_weight": 1.0, "captions_per_embedding": 1, "fresh_noise": False},
        "pytorch": {"wrong_pairs": "shift", "wrong_weight": 0.5, "kl_weight": 2.0, "captions_per_embedding": 1, "fresh_noise": False},
        "tensorflow": {"wrong_pairs": "image", "wrong_weight": 0.5, "kl_weight": 2.0, "captions_per_embedding": 4, "fresh_noise": True},
    }

    arch: Literal["stackgan-v1"] = "stackgan-v1"
    variant: Literal["paper", "pytorch", "tensorflow"] = "paper"
    stage: Literal[1, 2] = 1
    resolution: Literal[32, 64, 128, 256] = 64
    stage1_resolution: Literal[32, 64] = 64
    conditional: bool = True
    text_dim: PositiveInt = 1024
    condition_dim: PositiveInt = 128
    z_dim: PositiveInt = 100
    gf_dim: PositiveInt = 128
    df_dim: PositiveInt = 64
    residual_blocks: Annotated[int, Field(ge=0, le=64)] = 4
    conditioning_augmentation: bool = True
    text_twice: bool = True
    wrong_pairs: Literal["text", "shift", "image", "none"] = "text"
    wrong_weight: Annotated[float, Field(ge=0)] = 0.5
    kl_weight: Annotated[float, Field(ge=0)] = 1.0
    kl_reduction: Literal["mean", "sum"] = "mean"
    captions_per_embedding: PositiveInt = 1
    fresh_noise: bool = False

    @model_validator(mode="after")
    def _check(self) -> StackGANv1:
        if self.stage == 2 and self.resolution <= self.stage1_resolution:
            raise ValueError(f"resolution: Stage-II must enlarge the {self.stage1_resolution}-px Stage-I image, not {self.resolution}")
        halved = self.resolution // (32 if self.stage == 1 else self.stage1_resolution)
        if self.gf_dim % halved:
            raise ValueError(f"gf_dim: must be a multiple of {halved} for a {self.resolution}-px generator, not {self.gf_dim}")
        if not self.conditional and self.wrong_pairs != "none":
            raise ValueError("wrong_pairs: an unconditional model has no captions to mismatch; set it to 'none'")
        return self


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
    symmetric: bool = True
    margin: Annotated[float, Field(gt=0)] = 1.0


ArchConfig = Annotated[StackGANv1 | CharCNNRNN, Field(discriminator="arch")]
