"""What networks look like from outside, so that training, sampling and measuring need no branch per architecture.

Shape letters: `B` batch, `T` text embedding, `Z` noise, `S` side of an image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn


@dataclass
class GeneratorOutput:
    """Images (B, 3, S, S) in [-1, 1], one a branch or stage, the finest last, and the Gaussian of conditioning augmentation.

    `mu` and `c` (B, C), the mean and the sample, are what discriminators may be shown; None in an unconditional model.
    `logvar` (B, C) is None where nothing is sampled or the Gaussian is frozen, and then there is no KL term.
    """

    images: tuple[Tensor, ...]
    mu: Tensor | None = None
    logvar: Tensor | None = None
    c: Tensor | None = None

    @property
    def by_side(self) -> dict[int, Tensor]:
        """The images by side length; of several of one side the last."""
        return {images.shape[-1]: images for images in self.images}


class NoiseSource(Protocol):
    """Where noise comes from (runtime.Noise)."""

    def normal(self, batch: int, *rest: int) -> Tensor: ...
    def truncated_normal(self, batch: int, *rest: int) -> Tensor: ...
    def uniform(self, batch: int, *rest: int) -> Tensor: ...


class Generator(nn.Module, ABC):
    """Base of the generators. `z` is the noise proper; every other named input is the noise of conditioning augmentation."""

    truncated: frozenset[str] = frozenset()
    """Noise inputs that are drawn from the normal distribution restricted to (-2, 2)."""

    @abstractmethod
    def noise_shapes(self, batch: int) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the noise inputs for `batch` images."""

    def draw_noise(self, batch: int, source: NoiseSource) -> dict[str, Tensor]:
        """All noise inputs of `batch` images from `source`, in the order of `noise_shapes`."""
        return {
            name: source.truncated_normal(*shape) if name in self.truncated else source.normal(*shape)
            for name, shape in self.noise_shapes(batch).items()
        }

    @abstractmethod
    def forward(self, text: Tensor | None, noise: Mapping[str, Tensor]) -> GeneratorOutput:
        """`text` (B, T), or class labels (B,) int64, or None for an unconditional model.

        A noise input of conditioning augmentation that is missing means the mean.
        """

    def trained_modules(self) -> tuple[nn.Module, ...]:
        """The parts that training moves (all but frozen earlier stages)."""
        return (self,)

    @property
    def earlier_stage(self) -> nn.Module | None:
        """The frozen generator of the stage before, which takes its weights from a run of its own."""
        return None


class ConditionalGenerator(Generator):
    """Base of the generators that can be trained with captions or class labels (their unconditional variants included)."""

    @abstractmethod
    def condition(self, text: Tensor) -> Tensor:
        """The mean (B, C) of the conditioning Gaussian: what a discriminator conditioned on the mean is shown for `text`."""


class ImageDiscriminator(nn.Module, ABC):
    """Base of the discriminators, which judge images of one resolution."""

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) in [-1, 1] -> the trunk's map, which all heads share."""

    @abstractmethod
    def unconditional_logits(self, features: Tensor) -> Tensor | None:
        """Logits of the images alone, (B,) or (B, R, R) for R x R patches; None where a discriminator of pairs has no such head."""


class PairDiscriminator(ImageDiscriminator):
    """Base of the discriminators that can also judge an image together with what it should show."""

    @abstractmethod
    def condition_logits(self, features: Tensor, condition: Tensor) -> Tensor:
        """Logits (B,) that image and condition belong together. What `condition` is (mean, sample or text) depends on the model."""


class ImageExtractor(nn.Module, ABC):
    """Base of the networks that describe images by features."""

    @property
    @abstractmethod
    def num_features(self) -> int:
        """Numbers an image, F."""

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) in [-1, 1] of any side to (B, F)."""
