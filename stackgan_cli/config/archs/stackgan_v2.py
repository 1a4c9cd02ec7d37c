"""Configuration of StackGAN-v2 (StackGAN++ section 5; released PyTorch code). Torch-free."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from stackgan_cli.config.archs.base import Conditioning
from stackgan_cli.config.archs.stacked import StackedConfig
from stackgan_cli.config.base import PositiveInt


class StackGANv2(StackedConfig):
    """StackGAN-v2 with any number of branches (StackGAN++ section 5; released PyTorch code)."""

    VARIANTS: ClassVar[dict[str, dict[str, Any]]] = {
        "released": {"gf_dim": 64, "discriminator_sees": "mean", "wrong_pairs": "image", "wrong_as_real": True, "color_norm": "released"},
        "paper": {"gf_dim": 128, "discriminator_sees": "sample", "wrong_pairs": "none", "wrong_as_real": False, "color_norm": "paper"},
    }

    arch: Literal["stackgan-v2"] = "stackgan-v2"
    variant: Literal["released", "paper"] = "released"
    condition: Literal["text", "class", "none"] = "text"
    """What images are generated from besides noise: captions, class labels, or nothing."""
    num_classes: PositiveInt | None = None
    """Number of class labels in the dataset, for condition 'class'."""
    branches: tuple[Literal[16, 32, 64, 128, 256, 512], ...] = (64, 128, 256)
    """Side in pixels of each stage of the generator, equal to the previous one or twice as large."""
    supervised: Literal["all", "last"] = "all"
    """Whether every branch outputs an image that has a discriminator, or only the last (Table 5, G3)."""
    discriminators: Annotated[int, Field(ge=1, le=8)] = 1
    """Number of identical discriminators per image (Table 5, 3G3)."""
    gf_dim: PositiveInt = 64
    """Channels of the generator at 64 px after the gated linear unit; each halving of the side doubles them."""
    df_dim: PositiveInt = 64
    """Channels of the first layer of each discriminator."""
    residual_blocks: Annotated[int, Field(ge=0, le=64)] = 2
    """Residual blocks between two stages."""

    @property
    def sides(self) -> tuple[int, ...]:
        return self.branches if self.supervised == "all" else self.branches[-1:]

    @property
    def conditioning(self) -> Conditioning:
        return self.condition

    @property
    def judges(self) -> dict[str, int]:
        named = super().judges
        if self.discriminators == 1:
            return named
        return {f"{name}_{copy}": i for name, i in named.items() for copy in range(1, self.discriminators + 1)}

    @model_validator(mode="after")
    def _check(self) -> StackGANv2:
        if not self.branches:
            raise ValueError("branches: give at least one side length")
        for before, after in pairwise(self.branches):
            if after not in (before, 2 * before):
                raise ValueError(f"branches: {after} cannot follow {before}; each must equal the previous one or be twice as large")
        shrunk = self.branches[-1] // 64 or 1
        if self.gf_dim % shrunk:
            raise ValueError(f"gf_dim: must be a multiple of {shrunk} for a {self.branches[-1]}-px generator, not {self.gf_dim}")
        if self.color_weight and len(self.sides) < 2:
            raise ValueError("color_weight: a model with one scale has no other scale to agree with; set it to 0")
        if self.discriminator_sees == "text":
            raise ValueError("discriminator_sees: must be 'mean' or 'sample' for StackGAN-v2")
        if (self.condition == "class") != (self.num_classes is not None):
            raise ValueError("num_classes: must be given with condition 'class', and only then")
        self._check_game()
        return self
