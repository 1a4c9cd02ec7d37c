"""Base classes of the configurations of all architectures, and of those that generate images. Torch-free.

Each named variant is a row of a table: what the paper says (`paper`), or what a released code does. A key that the user
leaves out takes its value from the row of the chosen variant, so a resolved configuration always shows every value.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from pydantic import model_validator

from stackgan_cli.config.base import Frozen

Conditioning = Literal["text", "class", "none"]
"""What images are generated from besides noise: captions, class labels, or nothing."""


M = TypeVar("M", bound="ModelConfig")


class ModelConfig(Frozen):
    """Base of every architecture's configuration. A subclass fixes `arch` and gives it a default."""

    GENERATES_IMAGES: ClassVar[bool] = False
    """Whether the model generates images (a text encoder or a measure does not)."""
    VARIANTS: ClassVar[dict[str, dict[str, Any]]] = {}
    """Defaults by `variant`; keys that are given take precedence."""
    SHARED_WITH_STAGE1: ClassVar[tuple[str, ...]] = ()
    """Keys whose values must be the same in a Stage-II model and its Stage-I (`of_stage1` gives the values)."""

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
        """Whether generated images can be scored with its features: true of classifiers, except encoders trained to be inverted."""
        return False

    def as_a(self, kind: type[M]) -> M | None:
        """This configuration if it is of `kind`, else None; for callers that accept weights files of one kind only."""
        return self if isinstance(self, kind) else None

    def differing(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Those of `values` that this model does not have."""
        return {key: value for key, value in values.items() if getattr(self, key) != value}

    def of_stage1(self) -> dict[str, Any]:
        """The values that the Stage-I of a Stage-II model must have, by key."""
        return {key: getattr(self, key) for key in self.SHARED_WITH_STAGE1}


class ImageModelConfig(ModelConfig):
    """Base of the models that generate images.

    Each of them has the properties below. In some models they are keys of the configuration, and a pydantic field cannot override a
    property of its base class, so they are declared for type checkers only.
    """

    GENERATES_IMAGES: ClassVar[bool] = True

    if TYPE_CHECKING:

        @property
        def conditioning(self) -> Conditioning: ...

        @property
        def sides(self) -> tuple[int, ...]:
            """Resolutions (sides in pixels) of the images that training compares with real ones, coarse to fine."""
            ...

        @property
        def text_dim(self) -> int | None:
            """Size of a caption embedding; None if the architecture takes no captions."""
            ...

        @property
        def num_classes(self) -> int | None:
            """Number of class labels; None if the model takes none."""
            ...

    @property
    def judged_sides(self) -> dict[str, int]:
        """The discriminators of whole images: name of the network to the side in pixels of its input."""
        return {"discriminator": self.sides[-1]}
