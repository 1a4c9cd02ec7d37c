"""Configuration of HDGAN (draft, section 3; released code). Torch-free."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from stackgan_cli.config.archs.base import Conditioning
from stackgan_cli.config.archs.stacked import StackedConfig
from stackgan_cli.config.base import PositiveInt


class HDGAN(StackedConfig):
    """HDGAN: one deep generator with side outputs, and a pair loss and a local image loss per scale (draft, section 3; released code).

    `stage: 2` extends a frozen generator with the same keys to twice its resolution (the draft's 512 px after 256, section 3.5), with a
    reconstruction loss.
    """

    VARIANTS: ClassVar[dict[str, dict[str, Any]]] = {
        "released": {
            "wrong_pairs": "image",
            "wrong_as_real": True,
            "negative_weight": 0.5,
            "real_image_weight": 0.5,
            "patches": (1, 1, 5, 5),
            "discriminator_padding": "zeros",
            "stage2_residual_blocks": 2,
        },
        "paper": {
            "wrong_pairs": "text",
            "wrong_as_real": False,
            "negative_weight": 1.0,
            "real_image_weight": 1.0,
            "patches": (1, 3, 5, 5),
            "discriminator_padding": "reflect",
            "stage2_residual_blocks": 3,
        },
    }

    SHARED_WITH_STAGE1: ClassVar[tuple[str, ...]] = (
        *("variant", "text_dim", "condition_dim", "z_dim", "width", "discriminator_width", "resolution", "scales", "residual_blocks"),
    )

    arch: Literal["hdgan"] = "hdgan"
    variant: Literal["released", "paper"] = "released"
    adversarial: Literal["bce", "least-squares"] = "least-squares"
    discriminator_sees: Literal["mean", "sample", "text"] = "text"
    kl_weight: Annotated[float, Field(ge=0)] = 4.0
    captions_per_embedding: PositiveInt = 4
    stage: Literal[1, 2] = 1
    """1 trains the generator up to `resolution`; 2 freezes it and adds one doubling."""
    resolution: Literal[64, 128, 256] = 256
    """Finest resolution of Stage-I; Stage-II generates images with twice that."""
    scales: tuple[Literal[64, 128, 256], ...] = (64, 128, 256)
    """Scales of Stage-I that output an image and have a discriminator; the last is `resolution`."""
    width: PositiveInt = 128
    """Channels of the generator at 128 px (`hid_dim` of the released code), and 8 times as many at 4x4. The image codes of the
    discriminators have 4 times as many."""
    discriminator_width: PositiveInt = 128
    """Channels of the first layer of the 64-px discriminator; each doubling of the resolution halves them."""
    residual_blocks: Annotated[int, Field(ge=1, le=16)] = 1
    """Residual blocks at each resolution (K in the draft, section 3.4)."""
    patches: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (1, 1, 5, 5)
    """Side R of the R x R map of local image logits at 64, 128, 256 and 512 px (draft, section 3.5: 1, 3, 5, 5)."""
    discriminator_padding: Literal["zeros", "reflect"] = "zeros"
    """Padding of the 3x3 convolutions of the discriminators; the generator always reflects."""
    stage2_residual_blocks: Annotated[int, Field(ge=0, le=16)] = 2
    """Residual blocks that Stage-II adds before its doubling (draft, section 3.5: 3)."""

    @property
    def conditioning(self) -> Conditioning:
        return "text"

    @property
    def num_classes(self) -> None:
        return None

    @property
    def sides(self) -> tuple[int, ...]:
        return self.scales if self.stage == 1 else (2 * self.resolution,)

    @model_validator(mode="after")
    def _check(self) -> HDGAN:
        if not self.scales or list(self.scales) != sorted(set(self.scales)) or self.scales[-1] != self.resolution:
            raise ValueError(f"scales: must be ascending and end with the resolution ({self.resolution})")
        for key in ("width", "discriminator_width"):
            if getattr(self, key) % 8:
                raise ValueError(f"{key}: must be a multiple of 8, not {getattr(self, key)}")
        if self.condition_detached or self.discriminator_sees != "text":
            raise ValueError("discriminator_sees: must be 'text' for HDGAN, and condition_detached must be false")
        if self.color_weight and len(self.sides) < 2:
            raise ValueError("color_weight: a model with one scale has no other scale to agree with; set it to 0")
        self._check_game()
        return self
