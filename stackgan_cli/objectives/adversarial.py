"""The game of one unconditional generator against one discriminator (Goodfellow et al., arXiv 1406.2661), as DCGAN is trained.

| d | g |
|---|---|
| -log D(x) - log(1 - D(G(z))) | -log D(G(z)), which does not saturate |

Real and generated images go through the discriminator one after the other: each is a batch of its own to BatchNorm. Both phases see the
same generated images, the generator after the discriminator has moved.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from stackgan_cli.config.archs import ImageModelConfig
from stackgan_cli.models.interface import Generator, ImageDiscriminator
from stackgan_cli.objectives.base import Batch, Needs, Noise, Objective, Phase, Turn
from stackgan_cli.objectives.terms import bce_fake, bce_real


@dataclass
class AdversarialDraw:
    """One generator forward: real and generated images, both (B, 3, S, S)."""

    real: Tensor
    fake: Tensor


class AdversarialObjective(Objective[AdversarialDraw]):
    """Phases `d` and `g`, which share one draw."""

    def __init__(self, config: ImageModelConfig, networks: Mapping[str, nn.Module]) -> None:
        generator, discriminator = networks["generator"], networks["discriminator"]
        assert isinstance(generator, Generator) and isinstance(discriminator, ImageDiscriminator)
        self.generator, self.discriminator, self.side = generator, discriminator, config.sides[-1]
        self.modules = {"generator": generator, "discriminator": discriminator}
        self.phases = (
            Phase("d", "discriminator", (discriminator,), self._discriminator_loss),
            Phase("g", "generator", generator.trained_modules(), self._generator_loss, ema=generator),
        )
        self.needs = Needs(images=(self.side,))

    def turns(self, step: int, memory: Mapping[str, float]) -> tuple[Turn, ...]:
        return (Turn("d"), Turn("g"))

    def draw(self, batch: Batch, noise: Noise) -> AdversarialDraw:
        output = self.generator(None, self.generator.draw_noise(batch.size, noise))
        return AdversarialDraw(batch.images[self.side], output.images[-1])

    def _logits(self, images: Tensor) -> Tensor:
        logits = self.discriminator.unconditional_logits(self.discriminator.features(images))
        assert logits is not None
        return logits

    def _discriminator_loss(self, draw: AdversarialDraw) -> dict[str, Tensor]:
        parts = {"real": bce_real(self._logits(draw.real)), "fake": bce_fake(self._logits(draw.fake.detach()))}
        return {"total": parts["real"] + parts["fake"], **parts}

    def _generator_loss(self, draw: AdversarialDraw) -> dict[str, Tensor]:
        return {"total": bce_real(self._logits(draw.fake))}
