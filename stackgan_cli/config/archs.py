"""One small configuration model per architecture, told apart by `arch`: here those that draw, in `measures.py` the others. Torch-free.

Each named variant is a row of a table: what the paper says (`paper`), or what a released code does. A key that the user
leaves out takes its value from the row of the chosen variant, so that a resolved configuration always shows every number.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from stackgan_cli.config.base import PositiveInt, VariantConfig
from stackgan_cli.config.measures import CharCNNRNN, Classifier, VSSimilarity
from stackgan_cli.config.sgan import SGAN


class StackGANv1(VariantConfig):
    """StackGAN-v1, Stage-I or Stage-II (StackGAN++ sections 3 and 5; released TensorFlow and PyTorch codes)."""

    VARIANTS: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {"wrong_pairs": "text", "wrong_weight": 0.5, "kl_weight": 1.0, "captions_per_embedding": 1, "fresh_noise": False},
        "pytorch": {"wrong_pairs": "shift", "wrong_weight": 0.5, "kl_weight": 2.0, "captions_per_embedding": 1, "fresh_noise": False},
        "tensorflow": {"wrong_pairs": "image", "wrong_weight": 0.5, "kl_weight": 2.0, "captions_per_embedding": 4, "fresh_noise": True},
    }

    DRAWS: ClassVar[bool] = True
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


class StackedConfig(VariantConfig):
    """What StackGAN-v2 and HDGAN share: a discriminator a scale, each with a pair head and an image head, in one game.

    With pair logits p, image logits i and adversarial terms R (taken as real) and F (as fake), a discriminator's loss is
    R(p_real) + `negative_weight` (F(p_wrong) + F(p_fake)) + `image_weight` (F(i_fake) + `real_image_weight` (R(i_real) + R(i_wrong))),
    without i_wrong unless `wrong_as_real`; the generator's is the sum over scales of R(p_fake) + `image_weight` R(i_fake), and the terms
    with a weight of their own below.
    """

    DRAWS: ClassVar[bool] = True
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
    def sides(self) -> tuple[int, ...]:
        """Side lengths of the images that are judged, coarse to fine; the last of a generator's images."""
        raise NotImplementedError

    @property
    def conditioning(self) -> str:
        """`text`, `class` or `none`."""
        return "text"

    @property
    def conditional(self) -> bool:
        """Whether the model takes captions."""
        return self.conditioning == "text"

    @property
    def judges(self) -> dict[str, int]:
        """The discriminators: name (`64`, or `256_2` where a side has several) to the index into `sides` of what each judges."""
        names = [
            (f"{side}_{1 + self.sides[:i].count(side)}" if self.sides.count(side) > 1 else str(side)) for i, side in enumerate(self.sides)
        ]
        return {name: i for i, name in enumerate(names)}

    def _check_game(self) -> None:
        if self.conditioning == "none" and self.wrong_pairs != "none":
            raise ValueError("wrong_pairs: an unconditional model has no conditions to mismatch; set it to 'none'")
        if self.conditioning == "class" and (self.wrong_pairs == "text" or self.discriminator_sees == "text"):
            raise ValueError(
                "wrong_pairs: a class-conditional model has no captions; use 'image' or 'batch', and discriminator_sees 'mean'"
            )
        if self.wrong_as_real and self.wrong_pairs in ("text", "none") and self.conditioning != "none":
            raise ValueError(f"wrong_as_real: with wrong_pairs={self.wrong_pairs!r} there are no mismatched images; set it to false")
        if self.wrong_candidates > 1 and (self.wrong_pairs not in ("text", "image") or not self.conditional):
            raise ValueError("wrong_candidates: only pairs of captions with wrong_pairs 'text' or 'image' are drawn; leave it at 1")
        if self.conditioning == "none" and not self.image_weight:
            raise ValueError("image_weight: an unconditional model has nothing but its image heads; it must be above 0")


class StackGANv2(StackedConfig):
    """StackGAN-v2, any number of branches (StackGAN++ section 4; released PyTorch code)."""

    VARIANTS: ClassVar[dict[str, dict[str, Any]]] = {
        "released": {"gf_dim": 64, "discriminator_sees": "mean", "wrong_pairs": "image", "wrong_as_real": True, "color_norm": "released"},
        "paper": {"gf_dim": 128, "discriminator_sees": "sample", "wrong_pairs": "none", "wrong_as_real": False, "color_norm": "paper"},
    }

    arch: Literal["stackgan-v2"] = "stackgan-v2"
    variant: Literal["released", "paper"] = "released"
    condition: Literal["text", "class", "none"] = "text"
    num_classes: PositiveInt | None = None
    """Class labels of the data set, for condition 'class'."""
    branches: tuple[Literal[16, 32, 64, 128, 256, 512], ...] = (64, 128, 256)
    """Side of each stage of the generator; each as large as the one before, or twice that."""
    supervised: Literal["all", "last"] = "all"
    """Whether every branch makes an image that is judged, or the last alone (Table 5, G3)."""
    discriminators: Annotated[int, Field(ge=1, le=8)] = 1
    """Discriminators of the same form for each judged image (Table 5, 3G3)."""
    gf_dim: PositiveInt = 64
    """Channels at 64 px after the gated unit; at half the side twice as many."""
    df_dim: PositiveInt = 64
    residual_blocks: Annotated[int, Field(ge=0, le=64)] = 2

    @property
    def sides(self) -> tuple[int, ...]:
        return self.branches if self.supervised == "all" else self.branches[-1:]

    @property
    def conditioning(self) -> str:
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
                raise ValueError(f"branches: {after} cannot follow {before}; each is as large as the one before, or twice that")
        shrunk = self.branches[-1] // 64 or 1
        if self.gf_dim % shrunk:
            raise ValueError(f"gf_dim: must be a multiple of {shrunk} for a {self.branches[-1]}-px generator, not {self.gf_dim}")
        if self.color_weight and len(self.sides) < 2:
            raise ValueError("color_weight: there is one scale, and so no neighbour to agree with; set it to 0")
        if self.discriminator_sees == "text":
            raise ValueError("discriminator_sees: StackGAN-v2 shows its discriminators 'mean' or 'sample'")
        if (self.condition == "class") != (self.num_classes is not None):
            raise ValueError("num_classes: give it with condition 'class', and only then")
        self._check_game()
        return self


class HDGAN(StackedConfig):
    """HDGAN: one deep generator with side outputs, a pair loss and a local image loss a scale (draft, section 3; released code).

    `stage: 2` continues a frozen generator of the same keys by one doubling (the paper's 512 after 256), with a reconstruction loss.
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
    resolution: Literal[64, 128, 256] = 256
    """Finest side of Stage-I; Stage-II makes images of twice that."""
    scales: tuple[Literal[64, 128, 256], ...] = (64, 128, 256)
    """Scales of Stage-I that make an image and have a discriminator; the last is `resolution`."""
    width: PositiveInt = 128
    """Channels at 128 px (`hid_dim` of the released code); 8 times as many at 4x4. The discriminators' codes have 4 times as many."""
    discriminator_width: PositiveInt = 128
    """Channels of the first layer of the 64-px discriminator; half as many at twice the side."""
    residual_blocks: Annotated[int, Field(ge=1, le=16)] = 1
    """Residual blocks at each resolution (K of the paper)."""
    patches: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (1, 1, 5, 5)
    """Side R of the map of local image logits at 64, 128, 256 and 512 px."""
    discriminator_padding: Literal["zeros", "reflect"] = "zeros"
    stage2_residual_blocks: Annotated[int, Field(ge=0, le=16)] = 2

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
            raise ValueError("discriminator_sees: HDGAN's discriminators see 'text', to which nothing flows back")
        if self.color_weight and len(self.sides) < 2:
            raise ValueError("color_weight: there is one scale, and so no neighbour to agree with; set it to 0")
        self._check_game()
        return self


ArchConfig = Annotated[StackGANv1 | StackGANv2 | HDGAN | SGAN | CharCNNRNN | Classifier | VSSimilarity, Field(discriminator="arch")]
