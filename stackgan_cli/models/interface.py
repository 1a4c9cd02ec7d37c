"""The interfaces of the networks, so that training, sampling and evaluation need no code per architecture.

Shape letters: `B` batch, `T` text embedding, `V` conditioning vector, `S` side of an image, `R` side of a map of logits, `F` features.
Images are float tensors (B, 3, S, S) in [-1, 1] everywhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn


@dataclass
class GeneratorOutput:
    """Images (B, 3, S, S) in [-1, 1], one per branch or stage and the finest last, and the Gaussian of conditioning augmentation.

    `mu` and `c` (B, V), the mean and the sample, are possible conditions of discriminators; None in an unconditional model.
    `logvar` (B, V), the log-variance, is None if nothing is sampled or the Gaussian is frozen; then there is no KL term.
    """

    images: tuple[Tensor, ...]
    mu: Tensor | None = None
    logvar: Tensor | None = None
    c: Tensor | None = None

    @property
    def by_side(self) -> dict[int, Tensor]:
        """The images by side in pixels; if several have the same side, the last of them."""
        return {images.shape[-1]: images for images in self.images}


class NoiseSource(Protocol):
    """Where noise comes from (runtime.Noise): float32 tensors (batch, *rest) on the source's device."""

    def normal(self, batch: int, *rest: int) -> Tensor:
        """Standard normal."""
        ...

    def truncated_normal(self, batch: int, *rest: int) -> Tensor:
        """Standard normal restricted to (-2, 2)."""
        ...

    def uniform(self, batch: int, *rest: int) -> Tensor:
        """Uniform in [0, 1)."""
        ...


class Generator(nn.Module, ABC):
    """Base of the generators. Noise inputs are named: those that begin with `z` are the noise itself, those that begin with `eps` the
    noise of conditioning augmentation."""

    truncated: frozenset[str] = frozenset()
    """Names of the noise inputs that are sampled from the normal distribution restricted to (-2, 2)."""

    @abstractmethod
    def noise_shapes(self, batch: int) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the noise inputs for `batch` images, in the order in which they are sampled."""

    def draw_noise(self, batch: int, source: NoiseSource) -> dict[str, Tensor]:
        """All noise inputs of `batch` images, sampled from `source` in the order of `noise_shapes`."""
        return {
            name: source.truncated_normal(*shape) if name in self.truncated else source.normal(*shape)
            for name, shape in self.noise_shapes(batch).items()
        }

    @abstractmethod
    def forward(self, text: Tensor | None, noise: Mapping[str, Tensor]) -> GeneratorOutput:
        """`text` (B, T), or class labels (B,) int64, or None for an unconditional model; `noise` as `noise_shapes` describes it.

        If the noise of conditioning augmentation is missing, the mean is used.
        """

    def trained_modules(self) -> tuple[nn.Module, ...]:
        """The modules whose parameters are trained (all except a frozen earlier stage)."""
        return (self,)

    @property
    def earlier_stage(self) -> nn.Module | None:
        """The frozen generator of the previous stage, whose weights come from another run; None if there is none."""
        return None


class ConditionalGenerator(Generator):
    """Base of the generators that can be trained with captions or class labels (their unconditional variants included)."""

    @abstractmethod
    def condition(self, text: Tensor) -> Tensor:
        """The mean (B, V) of the conditioning Gaussian for `text` (B, T) or class labels (B,)."""


class ImageDiscriminator(nn.Module, ABC):
    """Base of the discriminators of images of one resolution."""

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) in [-1, 1] -> the feature map of the trunk, which all heads share."""

    @abstractmethod
    def unconditional_logits(self, features: Tensor) -> Tensor | None:
        """Logits that the images are real, (B,) or (B, R, R) for R x R patches; None if a discriminator of pairs has no such head."""


class PairDiscriminator(ImageDiscriminator):
    """Base of the discriminators that can also tell whether an image and a condition belong together."""

    @abstractmethod
    def condition_logits(self, features: Tensor, condition: Tensor) -> Tensor:
        """Logits (B,) that image and condition belong together.

        `condition` is the mean or a sample (B, V) of the conditioning Gaussian, or the text embedding (B, T), depending on the model.
        """


class ImageExtractor(nn.Module, ABC):
    """Base of the networks that compute features of images."""

    @property
    @abstractmethod
    def num_features(self) -> int:
        """Number of features per image, F."""

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) in [-1, 1] of any side to features (B, F)."""
