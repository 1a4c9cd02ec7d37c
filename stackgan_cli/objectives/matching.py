"""Matching-aware training of StackGAN-v1 (StackGAN++ Eq. 3 to 6, and the mismatched pairs of section 4.3).

The losses, with w = `wrong_weight`:

| | d | g |
|---|---|---|
| one head | real + w (fake + wrong); without wrong pairs real + fake | fake as real + `kl_weight` KL |
| two heads (PyTorch code, Stage-II) | (real_c + real_u) / 2 + (fake_c + wrong_c + fake_u) / 3 | fake_c + fake_u as real + `kl_weight` KL |

Real, wrong and fake images go through the discriminator one after another: each is a separate batch for BatchNorm, as published.
Wrong pairs: `text` is the real image with a caption of another class, `shift` the real image with the caption of the next item (one pair
fewer than images, and classes are not checked; PyTorch code), `image` an image of another class with the real caption (TensorFlow code).
Only `image` needs a third pass through the trunk. With `instance_noise` new noise is added to every image each time the discriminator
sees it. KL is the mean over the dimensions of the Gaussian, or with `kl_reduction: sum` the divergence of Eq. 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from stackgan_cli.config.archs import StackGANv1
from stackgan_cli.errors import ConfigError
from stackgan_cli.models.blocks import normal_like
from stackgan_cli.models.interface import ConditionalGenerator, GeneratorOutput
from stackgan_cli.models.stackgan_v1 import Discriminator
from stackgan_cli.objectives.base import Batch, Needs, Noise, Objective, Phase, Turn
from stackgan_cli.objectives.terms import bce_fake, bce_real, kl_standard_normal


@dataclass
class MatchingDraw:
    """One generator forward pass: the batch, the output, and the condition of the discriminator, mu (B, V) or the text (B, T), detached."""

    batch: Batch
    output: GeneratorOutput
    condition: Tensor | None


class MatchingObjective(Objective[MatchingDraw]):
    """Phases `d` and `g`, which share a draw; with `fresh_noise`, `g` has a draw with new noise (TensorFlow code)."""

    def __init__(self, config: StackGANv1, networks: Mapping[str, nn.Module]) -> None:
        generator, discriminator = networks["generator"], networks["discriminator"]
        assert isinstance(generator, ConditionalGenerator) and isinstance(discriminator, Discriminator)
        self.config, self.generator, self.discriminator = config, generator, discriminator
        self.modules = {"generator": generator, "discriminator": discriminator}
        self.phases = (
            Phase("d", "discriminator", (discriminator,), self._discriminator_loss),
            Phase("g", "generator", generator.trained_modules(), self._generator_loss, ema=generator),
        )
        self.needs = Needs(
            images=(config.resolution,),
            text=config.conditional,
            captions_per_embedding=config.captions_per_embedding,
            wrong="none" if config.wrong_pairs == "shift" else config.wrong_pairs,
            wrong_candidates=config.wrong_candidates,
        )
        self._turns = (Turn("d"), Turn("g", draw=1 if config.fresh_noise else 0))

    def turns(self, step: int, memory: Mapping[str, float]) -> tuple[Turn, ...]:
        return self._turns

    def draw(self, batch: Batch, noise: Noise) -> MatchingDraw:
        if self.config.wrong_pairs == "shift" and batch.size < 2:
            raise ConfigError(
                "mismatched pairs by shifting need at least two images per batch",
                where="train.batch_size",
                hint="raise train.batch_size, lower train.accumulate, or set model.wrong_pairs=text",
            )
        output = self.generator(batch.text, self.generator.draw_noise(batch.size, noise))
        condition = output.mu if self.discriminator.conditions_on_mu else batch.text
        return MatchingDraw(batch, output, None if condition is None else condition.detach())

    def _discriminator_loss(self, draw: MatchingDraw) -> dict[str, Tensor]:
        d, side = self.discriminator, self.config.resolution
        real = self._features(draw.batch.images[side])
        fake = self._features(draw.output.images[-1].detach())
        real_u, fake_u = d.unconditional_logits(real), d.unconditional_logits(fake)
        if draw.condition is None:
            assert real_u is not None and fake_u is not None
            parts = {"real": bce_real(real_u), "fake": bce_fake(fake_u)}
            return {"total": parts["real"] + parts["fake"], **parts}

        parts = {"real": bce_real(d.condition_logits(real, draw.condition))}
        wrong = self._wrong_logits(draw, real)
        if wrong is not None:
            parts["wrong"] = bce_fake(wrong)
        parts["fake"] = bce_fake(d.condition_logits(fake, draw.condition))
        negatives = [parts[name] for name in ("fake", "wrong") if name in parts]
        if real_u is not None and fake_u is not None:
            parts["real_u"], parts["fake_u"] = bce_real(real_u), bce_fake(fake_u)
            total = (parts["real"] + parts["real_u"]) / 2 + (sum(negatives) + parts["fake_u"]) / (len(negatives) + 1)
        else:
            total = parts["real"] + (self.config.wrong_weight if wrong is not None else 1.0) * sum(negatives)
        return {"total": total, **parts}

    def _features(self, images: Tensor) -> Tensor:
        """The discriminator's features of images (B, 3, S, S) in [-1, 1], with instance noise if there is any."""
        sigma = self.config.instance_noise
        return self.discriminator.features(torch.add(images, normal_like(images), alpha=sigma) if sigma else images)

    def _wrong_logits(self, draw: MatchingDraw, real: Tensor) -> Tensor | None:
        """Logits of mismatched pairs; pairs with a wrong text reuse the features `real` of the real images."""
        d, batch, condition = self.discriminator, draw.batch, draw.condition
        assert condition is not None
        match self.config.wrong_pairs:
            case "none":
                return None
            case "shift":
                return d.condition_logits(real[:-1], condition[1:])
            case "image":
                return d.condition_logits(self._features(batch.wrong_images[self.config.resolution]), condition)
            case "text":
                assert batch.wrong_text is not None
                with torch.no_grad():
                    wrong = self.generator.condition(batch.wrong_text) if d.conditions_on_mu else batch.wrong_text
                return d.condition_logits(real, wrong)

    def _generator_loss(self, draw: MatchingDraw) -> dict[str, Tensor]:
        d, output = self.discriminator, draw.output
        fake = self._features(output.images[-1])
        unconditional = d.unconditional_logits(fake)
        adversarial = [] if unconditional is None else [bce_real(unconditional)]
        if draw.condition is not None:
            adversarial.append(bce_real(d.condition_logits(fake, draw.condition)))
        parts = {"adversarial": torch.stack(adversarial).sum()}
        total = parts["adversarial"]
        if output.mu is not None and output.logvar is not None:
            parts["kl"] = kl_standard_normal(output.mu, output.logvar, self.config.kl_reduction)
            total = total + self.config.kl_weight * parts["kl"]
        return {"total": total, **parts}
