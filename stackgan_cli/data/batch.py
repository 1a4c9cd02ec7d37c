"""What an objective asks of the feed (`Needs`) and what it gets (`Batch`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor


@dataclass(frozen=True)
class Needs:
    """What the feed must put into a batch. `images` are side lengths in pixels."""

    images: tuple[int, ...] = ()
    text: bool = False
    captions_per_embedding: int = 1
    """The embedding of an item is the mean over this many of its captions, drawn without replacement."""
    wrong: Literal["none", "text", "image", "batch"] = "none"
    """A caption vector, or an image, of another class than the item's; `batch`: a permutation of the batch to other classes."""
    wrong_candidates: int = 1
    """Items of other classes that are drawn for a mismatched pair (text or image), of which the one with the nearest text is taken."""
    characters: bool = False
    """Character codes (B, 201) of one caption an item."""
    distinct_classes: bool = False
    """Every item of a batch is of another class (structured joint embedding)."""
    labels: bool = False
    """What a classifier is to say of each item (data/labels.py)."""


@dataclass
class Batch:
    """`images[r]` (B, 3, r, r) in [-1, 1], channels_last; `text` (B, T); `characters` (B, 201) uint8; `class_ids` (B,) int64."""

    images: dict[int, Tensor] = field(default_factory=dict)
    text: Tensor | None = None
    wrong_images: dict[int, Tensor] = field(default_factory=dict)
    wrong_text: Tensor | None = None
    wrong_order: Tensor | None = None
    """(B,) int64: a permutation of the batch, item i to one of another class as far as the batch has enough of them."""
    characters: Tensor | None = None
    class_ids: Tensor | None = None
    labels: Tensor | None = None
    """(B,) int64."""
    rows: Tensor | None = None
    """Dataset rows of the items (B,) int64: which image each one is."""

    @property
    def size(self) -> int:
        for value in (*self.images.values(), self.text, self.characters):
            if value is not None:
                return value.shape[0]
        raise AssertionError("an empty batch has no size")
