"""Configuration of DCGAN (Radford et al., arXiv 1511.06434; released Torch code). Torch-free."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from stackgan_cli.config.archs.base import Conditioning, ImageModelConfig
from stackgan_cli.config.base import PositiveInt


class DCGAN(ImageModelConfig):
    """DCGAN at 64 px: images from noise alone, by transposed convolutions; the ordinary game of one generator and one discriminator."""

    VARIANTS: ClassVar[dict[str, dict[str, Any]]] = {"paper": {"noise": "uniform"}, "released": {"noise": "normal"}}

    arch: Literal["dcgan"] = "dcgan"
    variant: Literal["paper", "released"] = "paper"
    noise: Literal["uniform", "normal"] = "uniform"
    """Distribution of the noise: uniform in [-1, 1), or standard normal."""
    z_dim: PositiveInt = 100
    gf_dim: PositiveInt = 64
    """Channels of the generator at 32 px; 8 times as many at 4 px."""
    df_dim: PositiveInt = 64
    """Channels of the discriminator at 32 px; 8 times as many at 4 px."""

    @property
    def conditioning(self) -> Conditioning:
        return "none"

    @property
    def sides(self) -> tuple[int, ...]:
        return (64,)

    @property
    def text_dim(self) -> None:
        return None

    @property
    def num_classes(self) -> None:
        return None
