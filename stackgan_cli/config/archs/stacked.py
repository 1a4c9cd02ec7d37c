"""The game that StackGAN-v2 and HDGAN share: a discriminator per scale, each with a pair head and an image head. Torch-free."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stackgan_cli.config.archs.base import ImageModelConfig
from stackgan_cli.config.base import PositiveInt


class StackedConfig(ImageModelConfig):
    """What StackGAN-v2 and HDGAN share: a discriminator a scale, each with a pair head and an image head, in one game.

    With pair logits p, image logits i and adversarial terms R (taken as real) and F (as fake), a discriminator's loss is
    R(p_real) + `negative_weight` (F(p_wrong) + F(p_fake)) + `image_weight` (F(i_fake) + `real_image_weight` (R(i_real) + R(i_wrong))),
    without i_wrong unless `wrong_as_real`; the generator's is the sum over scales of R(p_fake) + `image_weight` R(i_fake), and the terms
    with a weight of their own below.
    """

    adversarial: Literal["bce", "least-squares"] = "bce"
    discriminator_sees: Literal["mean", "sample", "text"] = "mean"
    """What pair heads are shown: mean or sample of the conditioning Gaussian, or the text embedding (through a layer of D's own)."""
    condition_detached: bool = False
    """Whether the generator's step leaves the conditioning untouched by what pair heads say about it (D's step always does)."""
    wrong_pairs: Literal["image", "batch", "text", "none"] = "image"
    """Mismatched pairs: an image of another class, from the whole set or from the batch (which saves a pass through D); another caption."""
    wrong_candidates: Annotated[int, Field(ge=1, le=256)] = 1
    """Items of other classes that are drawn for a mismatched pair, of which the one whose captions are nearest is taken. 1 is the published
    sampling; with more the discriminator has to look at what few captions differ in."""
    wrong_as_real: bool = True
    """Whether mismatched images count as real to the image head."""
    negative_weight: Annotated[float, Field(ge=0)] = 1.0
    image_weight: Annotated[float, Field(ge=0)] = 1.0
    """0 leaves the image head out: an ordinary conditional discriminator."""
    real_image_weight: Annotated[float, Field(gt=0)] = 1.0
    kl_weight: Annotated[float, Field(ge=0)] = 2.0
    kl_reduction: Literal["mean", "sum"] = "mean"
    color_weight: Annotated[float, Field(ge=0)] = 0.0
    """Colour consistency between neighbouring scales (StackGAN++ Eq. 13); 50 in the unconditional models of the paper."""
    color_norm: Literal["released", "paper"] = "released"
    """released: element means, the lower scale is a fixed target; paper: squared norms, both sides move."""
    reconstruction_weight: Annotated[float, Field(ge=0)] = 1.0
    """Where a frozen generator is continued: weight of the distance (L1) to its image, doubled in size."""
    captions_per_embedding: PositiveInt = 1
    text_dim: PositiveInt = 1024
    condition_dim: PositiveInt = 128
    z_dim: PositiveInt = 100

    @property
    def judges(self) -> dict[str, int]:
        """The discriminators: name (`64`, or `256_2` where a side has several) to the index into `sides` of what each judges."""
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
            raise ValueError("wrong_candidates: only pairs of captions with wrong_pairs 'text' or 'image' are drawn; leave it at 1")
        if self.conditioning == "none" and not self.image_weight:
            raise ValueError("image_weight: an unconditional model has nothing but its image heads; it must be above 0")
