"""Configuration of StackGAN-v1 (StackGAN++ sections 4.1 and 4.2; released TensorFlow and PyTorch codes). Torch-free."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from stackgan_cli.config.archs.base import Conditioning, ImageModelConfig
from stackgan_cli.config.base import PositiveInt


class StackGANv1(ImageModelConfig):
    """StackGAN-v1, Stage-I or Stage-II (StackGAN++ sections 3 and 5; released TensorFlow and PyTorch codes)."""

    VARIANTS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {"wrong_pairs": "text", "wrong_weight": 0.5, "kl_weight": 1.0, "captions_per_embedding": 1, "fresh_noise": False},
        "pytorch": {"wrong_pairs": "shift", "wrong_weight": 0.5, "kl_weight": 2.0, "captions_per_embedding": 1, "fresh_noise": False},
        "tensorflow": {"wrong_pairs": "image", "wrong_weight": 0.5, "kl_weight": 2.0, "captions_per_embedding": 4, "fresh_noise": True},
    }

    SHARED_WITH_STAGE1: ClassVar[tuple[str, ...]] = (
        *("variant", "conditional", "text_dim", "condition_dim", "z_dim", "gf_dim", "df_dim", "conditioning_augmentation"),
    )

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
    stage1_gf_dim: PositiveInt | None = None
    """`gf_dim` of the Stage-I in a Stage-II; null: the same, as published."""
    df_dim: PositiveInt = 64
    residual_blocks: Annotated[int, Field(ge=0, le=64)] = 4
    conditioning_augmentation: bool = True
    text_twice: bool = True
    wrong_pairs: Literal["text", "shift", "image", "none"] = "text"
    wrong_candidates: Annotated[int, Field(ge=1, le=256)] = 1
    """Items of other classes that are drawn for a mismatched pair, of which the one whose captions are nearest is taken. 1 is the published
    sampling; with more the discriminator has to look at what few captions differ in."""
    wrong_weight: Annotated[float, Field(ge=0)] = 0.5
    instance_noise: Annotated[float, Field(ge=0, le=2)] = 0.0
    """Standard deviation of the Gaussian noise on every image, real or drawn, that the discriminator is shown in training (Sonderby et
    al., arXiv 1610.04490; 0 as published). Through it drawn images cannot be told by their fine grain, and the text goes on counting."""
    kl_weight: Annotated[float, Field(ge=0)] = 1.0
    kl_reduction: Literal["mean", "sum"] = "mean"
    captions_per_embedding: PositiveInt = 1
    fresh_noise: bool = False

    @property
    def conditioning(self) -> Conditioning:
        return "text" if self.conditional else "none"

    @property
    def sides(self) -> tuple[int, ...]:
        return (self.resolution,)

    @property
    def num_classes(self) -> None:
        return None

    @model_validator(mode="after")
    def _check(self) -> StackGANv1:
        if self.stage == 2 and self.resolution <= self.stage1_resolution:
            raise ValueError(f"resolution: Stage-II must enlarge the {self.stage1_resolution}-px Stage-I image, not {self.resolution}")
        halved = self.resolution // (32 if self.stage == 1 else self.stage1_resolution)
        if self.gf_dim % halved:
            raise ValueError(f"gf_dim: must be a multiple of {halved} for a {self.resolution}-px generator, not {self.gf_dim}")
        if self.stage1_gf_dim is not None and self.stage == 1:
            raise ValueError("stage1_gf_dim: belongs to a Stage-II model; leave it at null and set gf_dim")
        if self.stage1_gf_dim is not None and self.stage1_gf_dim % (self.stage1_resolution // 32):
            raise ValueError(f"stage1_gf_dim: must be a multiple of {self.stage1_resolution // 32}, not {self.stage1_gf_dim}")
        if not self.conditional and self.wrong_pairs != "none":
            raise ValueError("wrong_pairs: an unconditional model has no captions to mismatch; set it to 'none'")
        if self.wrong_candidates > 1 and self.wrong_pairs not in ("text", "image"):
            raise ValueError(f"wrong_candidates: nothing is drawn for wrong_pairs={self.wrong_pairs!r}; leave it at 1")
        return self

    def of_stage1(self) -> dict[str, Any]:
        return super().of_stage1() | {"gf_dim": self.stage1_gf_dim or self.gf_dim}
