"""What the configurations of all architectures share, and of those that make images. Torch-free.

Each named variant is a row of a table: what the paper says (`paper`), or what a released code does. A key that the user
leaves out takes its value from the row of the chosen variant, so that a resolved configuration always shows every number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from pydantic import model_validator

from stackgan_cli.config.base import Frozen

Conditioning = Literal["text", "class", "none"]
"""What images are made from besides noise: captions, class labels, or nothing."""


M = TypeVar("M", bound="ModelConfig")


class ModelConfig(Frozen):
    """Base of every architecture's configuration. A subclass fixes `arch` and gives it a default."""

    GENERATES_IMAGES: ClassVar[bool] = False
    """Whether the model is a generator, and not a text encoder or a measure."""
    VARIANTS: ClassVar[dict[str, dict[str, Any]]] = {}
    """Defaults by `variant`; explicit keys win."""
    SHARED_WITH_STAGE1: ClassVar[tuple[str, ...]] = ()
    """Keys of a Stage-II model that its Stage-I has to agree with (`of_stage1` for their values)."""

    arch: str

    @model_validator(mode="before")
    @classmethod
    def _fill_from_variant(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not cls.VARIANTS:
            return values
        variant = values.get("variant", cls.model_fields["variant"].default)
        row = cls.VARIANTS.get(variant, {}) if isinstance(variant, str) else {}
        return {**row, **values}

    @property
    def scores_images(self) -> bool:
        """Whether generated images can be scored by its features: a classifier that was not trained to be inverted."""
        return False

    def as_a(self, kind: type[M]) -> M | None:
        """This configuration where it is of `kind`, else None: for those who read weights files of one kind alone."""
        return self if isinstance(self, kind) else None

    def differing(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Those of `values` that this model does not have."""
        return {key: value for key, value in values.items() if getattr(self, key) != value}

    def of_stage1(self) -> dict[str, Any]:
        """What the Stage-I of a Stage-II model has to have."""
        return {key: getattr(self, key) for key in self.SHARED_WITH_STAGE1}


class ImageModelConfig(ModelConfig):
    """Base of the models that make images.

    Each of them has the properties below, in some as a key of the configuration; a field cannot replace a property of its base class,
    so only type checkers see them here.
    """

    GENERATES_IMAGES: ClassVar[bool] = True

    if TYPE_CHECKING:

        @property
        def conditioning(self) -> Conditioning: ...

        @property
        def sides(self) -> tuple[int, ...]:
            """Sides in pixels of the images that training compares with real ones, coarse to fine."""
            ...

        @property
        def text_dim(self) -> int | None:
            """Size of a caption's embedding; None where the architecture takes no captions."""
            ...

        @property
        def num_classes(self) -> int | None:
            """Number of class labels; None where the model takes none."""
            ...

    @property
    def judged_sides(self) -> dict[str, int]:
        """The discriminators of whole images: name of the network to the side in pixels that it is shown."""
        return {"discriminator": self.sides[-1]}
