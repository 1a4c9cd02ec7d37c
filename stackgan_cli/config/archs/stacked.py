"""Configuration shared by StackGAN-v2 and HDGAN: one discriminator per scale, each with a pair head and an image head. Torch-free."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stackgan_cli.config.archs.base import ImageModelConfig
from stackgan_cli.config.base import PositiveInt


class StackedConfig(ImageModelConfig):
    """What StackGAN-v2 and HDGAN share: one discriminator per scale, each with a pair head and an image head.

    With pair logits p, image logits i and adversarial terms R (label real) and F (label fake), the loss of a discriminator is
    R(p_real) + `negative_weight` (F(p_wrong) + F(p_fake)) + `image_weight` (F(i_fake) + `real_image_weight` (R(i_real) + R(i_wrong))),
    without i_wrong unless `wrong_as_real`. The loss of the generator is the sum over scales of R(p_fake) + `image_weight` R(i_fake), plus
    the terms weighted by `kl_weight`, `color_weight` and `reconstruction_weight`.
    """

    adversarial: Literal["bce", "least-squares"] = "bce"
    """Adversarial terms: binary cross-entropy (StackGAN++ Eq. 9 to 12) or least squares (HDGAN draft, Eq. 4)."""
    discriminator_sees: Literal["mean", "sample", "text"] = "mean"
    """Condition of the pair heads: the mean or a sample of the conditioning Gaussian, or the text embedding (through a layer of the
    discriminator)."""
    condition_detached: bool = False
    """Whether the generator's step sends no gradient to the conditioning through the condition of the pair heads (a discriminator's step
    never does)."""
    wrong_pairs: Literal["image", "batch", "text", "none"] = "image"
    """Mismatched pairs: an image of another class from the whole dataset (`image`) or from the same batch (`batch`, which saves a pass
    through the discriminator), or the caption of another class (`text`)."""
    wrong_candidates: Annotated[int, Field(ge=1, le=256)] = 1
    """Number of candidates from other classes per mismatched pair, of which the one with the most similar captions is used. 1 is the
    published sampling; with more, the discriminator has to learn small differences between captions."""
    wrong_as_real: bool = True
    """Whether mismatched images count as real to the image head."""
    negative_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the mismatched and the generated pairs in the loss of the pair head."""
    image_weight: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the image head; 0 leaves it out, which gives an ordinary conditional discriminator."""
    real_image_weight: Annotated[float, Field(gt=0)] = 1.0
    """Weight of the real images in the loss of the image head."""
    kl_weight: Annotated[float, Field(ge=0)] = 2.0
    """Weight of the KL term of conditioning augmentation."""
    kl_reduction: Literal["mean", "sum"] = "mean"
    """The KL divergence over the dimensions of the Gaussian: `mean`, the default of every variant, `paper` included, as in all released
    codes; or `sum`, the divergence of the equations (StackGAN++ Eq. 2), which is `condition_dim` times as large."""
    color_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of color consistency between neighboring scales (alpha in StackGAN++ section 5.3, for Eq. 13); 50 in the unconditional models
    of the paper."""
    color_norm: Literal["released", "paper"] = "released"
    """released: means over elements, and the lower scale is a fixed target; paper: squared norms, and both scales receive gradients."""
    reconstruction_weight: Annotated[float, Field(ge=0)] = 1.0
    """Stage-II of HDGAN: weight of the L1 distance to the image of the frozen generator, doubled in size."""
    captions_per_embedding: PositiveInt = 1
    """Number of captions whose embeddings are averaged for each image."""
    text_dim: PositiveInt = 1024
    """Size of the text embedding."""
    condition_dim: PositiveInt = 128
    """Size of the conditioning vector."""
    z_dim: PositiveInt = 100
    """Size of the noise vector z."""

    @property
    def judges(self) -> dict[str, int]:
        """The discriminators: name (`64`, or `256_2` if a side has several) to the index in `sides` of the images that it judges."""
        names = [
            (f"{side}_{1 + self.sides[:i].count(side)}" if self.sides.count(side) > 1 else str(side)) for i, side in enumerate(self.sides)
        ]
        return {name: i for i, name in enumerate(names)}

    @property
    def judged_sides(self) -> dict[str, int]:
        return {f"discriminator{name}": self.sides[index] for name, index in self.judges.items()}

    def _check_game(self) -> None:
        if self.conditioning == "none" and self.wrong_pairs != "none":
            raise ValueError("wrong_pairs: an unconditional model has no conditions to mismatch; set it to 'none'")
        if self.conditioning == "class" and (self.wrong_pairs == "text" or self.discriminator_sees == "text"):
            raise ValueError(
                "wrong_pairs: a class-conditional model has no captions; use 'image' or 'batch', and discriminator_sees 'mean'"
            )
        if self.wrong_as_real and self.wrong_pairs in ("text", "none") and self.conditioning != "none":
            raise ValueError(f"wrong_as_real: with wrong_pairs={self.wrong_pairs!r} there are no mismatched images; set it to false")
        if self.wrong_candidates > 1 and (self.wrong_pairs not in ("text", "image") or self.conditioning != "text"):
            raise ValueError("wrong_candidates: applies only to captions with wrong_pairs 'text' or 'image'; leave it at 1")
        if self.conditioning == "none" and not self.image_weight:
            raise ValueError("image_weight: an unconditional model has image heads only; it must be greater than 0")
