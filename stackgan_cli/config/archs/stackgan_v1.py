"""Configuration of StackGAN-v1 (StackGAN++ section 4; released TensorFlow and PyTorch codes). Torch-free."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from stackgan_cli.config.archs.base import Conditioning, ImageModelConfig
from stackgan_cli.config.base import PositiveInt


class StackGANv1(ImageModelConfig):
    """StackGAN-v1, Stage-I or Stage-II (StackGAN++ section 4; released TensorFlow and PyTorch codes)."""

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
    """Side in pixels of the images that this stage generates."""
    stage1_resolution: Literal[32, 64] = 64
    """Stage-II: side in pixels of the Stage-I images."""
    conditional: bool = True
    """Whether images are generated from captions; if false, from noise alone."""
    text_dim: PositiveInt = 1024
    """Size of the text embedding."""
    condition_dim: PositiveInt = 128
    """Size of the conditioning vector (Ng), and of the compressed text in the discriminator (Nd)."""
    z_dim: PositiveInt = 100
    """Size of the noise vector z (Nz)."""
    gf_dim: PositiveInt = 128
    """Width of the generator in channels."""
    stage1_gf_dim: PositiveInt | None = None
    """Stage-II: `gf_dim` of its Stage-I; null: the same, as published."""
    df_dim: PositiveInt = 64
    """Channels of the first layer of the discriminator."""
    residual_blocks: Annotated[int, Field(ge=0, le=64)] = 4
    """Stage-II: residual blocks of the generator; 4 at 256 px and 2 at 128 px in the paper (section 4.4)."""
    conditioning_augmentation: bool = True
    """Whether the conditioning vector is sampled (section 4.1); if false, it is the output of the layer."""
    text_twice: bool = True
    """Whether the generator of Stage-II also takes the text (Table 4)."""
    wrong_pairs: Literal["text", "shift", "image", "none"] = "text"
    """Mismatched pairs: the caption of another class, the caption of the next item in the batch, or the image of another class."""
    wrong_candidates: Annotated[int, Field(ge=1, le=256)] = 1
    """Number of candidates from other classes per mismatched pair, of which the one with the most similar captions is used. 1 is the
    published sampling; with more, the discriminator has to learn small differences between captions."""
    wrong_weight: Annotated[float, Field(ge=0)] = 0.5
    """Weight of the mismatched and the generated pairs in the loss of the discriminator."""
    instance_noise: Annotated[float, Field(ge=0, le=2)] = 0.0
    """Standard deviation of Gaussian noise added to every image, real or generated, that the discriminator sees in training (Sonderby et
    al., arXiv 1610.04490; 0 as published). It hides the fine texture that gives generated images away, so the text keeps its influence."""
    kl_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the KL term of conditioning augmentation (lambda in Eq. 4 and 6)."""
    kl_reduction: Literal["mean", "sum"] = "mean"
    """The KL divergence over the dimensions of the Gaussian: `mean`, the default of every variant, `paper` included, as in all released
    codes; or `sum`, the divergence of the equations (StackGAN++ Eq. 2), which is `condition_dim` times as large."""
    captions_per_embedding: PositiveInt = 1
    """Number of captions whose embeddings are averaged for each image."""
    fresh_noise: bool = False
    """Whether the generator's step samples new noise instead of reusing that of the discriminator's step."""

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
            raise ValueError(f"wrong_candidates: has no effect with wrong_pairs={self.wrong_pairs!r}; leave it at 1")
        return self

    def of_stage1(self) -> dict[str, Any]:
        return super().of_stage1() | {"gf_dim": self.stage1_gf_dim or self.gf_dim}
