"""What a metric is: its name and help, what it needs, and the function that computes it from what was collected.

Imports nothing heavy, so that `--help` can name the metrics. The metrics are listed in `table.py`; `evaluation.py` collects their inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    import numpy as np

    from stackgan_cli.metrics.protocols import Protocol
    from stackgan_cli.metrics.scores import Moments
    from stackgan_cli.metrics.statistics import Statistics


class Pairs(NamedTuple):
    """Vectors of unit length, each (N, J), of images and of their captions in one joint space."""

    images: np.ndarray
    texts: np.ndarray


@dataclass(frozen=True)
class Inputs:
    """What a metric is computed from. Below `compat`, a field is None unless the metric needs it."""

    count: int
    """Number of images in the set that is measured."""
    class_ids: np.ndarray | None = None
    """(count,) int64, or None when the images have no classes."""
    seed: int = 0
    splits: int = 10
    compat: str | None = None
    moments: Moments | None = None
    features: np.ndarray | None = None
    """(count, D) float32."""
    logits: np.ndarray | None = None
    """(count, C) float32: log-probabilities by the extractor."""
    images: np.ndarray | None = None
    """uint8 (n, S, S, 3): a random selection of the images, up to a fixed number per class."""
    image_indices: np.ndarray | None = None
    """(n,) int64, ascending: which images of the set those are."""
    real: Statistics | None = None
    """Of the reference; with feature vectors if the metric needs `features`."""
    pairs: Pairs | None = None
    real_pairs: Pairs | None = None
    """Of the reference; None also when its images have no captions or several sizes."""
    right: np.ndarray | None = None
    """(count,) int64: the extractor output that is right for each image."""
    outputs: Sequence[str] | None = None
    """Names of the extractor's outputs, where they are known."""


@dataclass(frozen=True)
class Score:
    """What a metric's function returns. `std`: the spread over splits, subsets or images, for metrics that have one."""

    value: float
    std: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    """Parameters of the metric, added to the protocol of the result."""
    more: dict[str, Any] = field(default_factory=dict)
    """Further values, stored together with `value`."""
    warning: str = ""
    """Continues a sentence that begins with the metric's title."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One row of the table of metrics. The flags say which `Inputs` are collected for `function`."""

    name: str
    title: str
    help: str
    function: Callable[[Inputs], Score]
    minimum: int | Callable[[Protocol], int] = 2
    """The smallest number of images, in the measured set and (where one is required) in the reference."""
    reference: Literal["none", "optional", "required"] = "none"
    """Whether the metric compares with real images: by their statistics and, if it needs `pairs`, by their pairs."""
    side: int | None = None
    """Side in pixels to which images are resized before the extractor sees them."""
    moments: bool = False
    features: bool = False
    logits: bool = False
    images: bool = False
    pairs: bool = False
    labels: bool = False
    """Whether images need labels that the extractor recognizes: `Inputs.right`."""

    @property
    def needs_extractor(self) -> bool:
        return self.moments or self.features or self.logits

    @property
    def needs_one_size(self) -> bool:
        """Whether the images must be square and of one size."""
        return self.images or self.pairs

    def minimum_for(self, protocol: Protocol) -> int:
        return self.minimum if isinstance(self.minimum, int) else self.minimum(protocol)
