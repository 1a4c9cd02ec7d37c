"""What every configuration model is made of. Torch-free."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

PositiveInt = Annotated[int, Field(ge=1, le=2**31 - 1)]


class Frozen(BaseModel):
    """Base of every configuration model: unknown keys are errors, values cannot change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    SHARED_WITH_STAGE1: ClassVar[tuple[str, ...]] = ()
    """Keys of a Stage-II model that its Stage-I has to agree with (`of_stage1` for their values)."""
    DRAWS: ClassVar[bool] = False
    """Whether the model makes images: a generator, and not a text encoder or a measure."""

    def of_stage1(self) -> dict[str, Any]:
        """What the Stage-I of a Stage-II model has to have."""
        return {key: getattr(self, key) for key in self.SHARED_WITH_STAGE1}


class VariantConfig(Frozen):
    """A model whose defaults come from `VARIANTS[variant]`; explicit keys win."""

    VARIANTS: ClassVar[dict[str, dict[str, Any]]] = {}

    @model_validator(mode="before")
    @classmethod
    def _fill_from_variant(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        variant = values.get("variant", cls.model_fields["variant"].default)
        row = cls.VARIANTS.get(variant, {}) if isinstance(variant, str) else {}
        return {**row, **values}
