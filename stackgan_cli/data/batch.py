"""What an objective requests from the feed (`Needs`) and what it receives (`Batch`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor


@dataclass(frozen=True)
class Needs:
    """What the feed must put into a batch. `images` lists side lengths in pixels."""

    images: tuple[int, ...] = ()
    text: bool = False
    captions_per_embedding: int = 1
    """The embedding of an item is the mean over this many of its captions, sampled without replacement."""
    wrong: Literal["none", "text", "image", "batch"] = "none"
    """Mismatched partner from another class than the item's: an embedding, an image, or (`batch`) a permutation of the batch."""
    wrong_candidates: int = 1
    """Number of candidates from other classes sampled per mismatched pair (text or image); the one with the nearest text is used."""
    characters: bool = False
    """Character codes (B, 201) of one caption per item."""
    distinct_classes: bool = False
    """No two items of a batch share a class (structured joint embedding)."""
    labels: bool = False
    """The label that a classifier should predict for each item (data/labels.py)."""


@dataclass
class Batch:
    """`images[r]` (B, 3, r, r) in [-1, 1], channels_last; `text` (B, T); `characters` (B, 201) uint8; `class_ids` (B,) int64."""

    images: dict[int, Tensor] = field(default_factory=dict)
    text: Tensor | None = None
    wrong_images: dict[int, Tensor] = field(default_factory=dict)
    wrong_text: Tensor | None = None
    wrong_order: Tensor | None = None
    """(B,) int64: a permutation of the batch that pairs item i with one of another class, as far as the batch allows it."""
    characters: Tensor | None = None
    class_ids: Tensor | None = None
    labels: Tensor | None = None
    """(B,) int64."""
    rows: Tensor | None = None
    """(B,) int64: dataset row of each item."""

    @property
    def size(self) -> int:
        for value in (*self.images.values(), self.text, self.characters):
            if value is not None:
                return value.shape[0]
        raise AssertionError("an empty batch has no size")
