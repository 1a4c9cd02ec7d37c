"""Training of multi-scale models: StackGAN-v2 (StackGAN++ Eq. 7 to 13) and HDGAN (draft, Eq. 4).

The discriminator of each scale is updated with its own loss, then the generator with the sum over scales; all use the images of one
forward pass. The terms and their weights are documented in `config.archs.StackedConfig`. Real, mismatched and generated images go through
a discriminator one after another: each is a separate batch for BatchNorm, as published. If the mismatched images are a permutation of the
real ones (`wrong_pairs: batch`), the features of the real images are permuted instead of computed again, which gives the same batch
statistics. The KL term is the mean over the dimensions of the Gaussian, or with `kl_reduction: sum` the divergence of Eq. 2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from stackgan_cli.config.archs import StackedConfig
from stackgan_cli.models.interface import ConditionalGenerator, GeneratorOutput, PairDiscriminator
from stackgan_cli.objectives.base import Batch, Needs, Noise, Objective, Phase, Turn
from stackgan_cli.objectives.terms import ADVERSARIAL, color_consistency, kl_standard_normal, reconstruction


@dataclass
class StackedDraw:
    """One generator forward pass: the batch, the output, and the condition of the discriminators (None in an unconditional model)."""

    batch: Batch
    output: GeneratorOutput
    condition: Tensor | None


class StackedObjective(Objective[StackedDraw]):
    """Phases `d64`, `d128`, ... and `g`, which share one draw."""

    def __init__(self, config: StackedConfig, networks: Mapping[str, nn.Module]) -> None:
        generator = networks["generator"]
        assert isinstance(generator, ConditionalGenerator)
        self.config, self.generator = config, generator
        self.discriminators: dict[str, PairDiscriminator] = {}
        for name in config.judges:
            discriminator = networks[f"discriminator{name}"]
            assert isinstance(discriminator, PairDiscriminator)
            self.discriminators[name] = discriminator
        self.modules = dict(networks)
        self.phases = (
            *(
                Phase(f"d{name}", "discriminator", (discriminator,), partial(self._discriminator_loss, name))
                for name, discriminator in self.discriminators.items()
            ),
            Phase("g", "generator", generator.trained_modules(), self._generator_loss, ema=generator),
        )
        self.needs = Needs(
            images=tuple(sorted(set(config.sides))),
            text=config.conditioning == "text",
            captions_per_embedding=config.captions_per_embedding,
            wrong=config.wrong_pairs,
            wrong_candidates=config.wrong_candidates,
        )
        self._turns = tuple(Turn(phase.name) for phase in self.phases)
        self._real, self._fake = ADVERSARIAL[config.adversarial]

    def turns(self, step: int, memory: Mapping[str, float]) -> tuple[Turn, ...]:
        return self._turns

    def draw(self, batch: Batch, noise: Noise) -> StackedDraw:
        given = {"text": batch.text, "class": batch.class_ids, "none": None}[self.config.conditioning]
        output = self.generator(given, self.generator.draw_noise(batch.size, noise))
        condition = {"mean": output.mu, "sample": output.c, "text": batch.text}[self.config.discriminator_sees]
        return StackedDraw(batch, output, condition)

    def _judged(self, draw: StackedDraw, name: str) -> tuple[Tensor, int]:
        """The generated images that discriminator `name` judges, and their side."""
        side = self.config.sides[self.config.judges[name]]
        return draw.output.images[self.config.judges[name] - len(self.config.sides)], side

    def _discriminator_loss(self, name: str, draw: StackedDraw) -> dict[str, Tensor]:
        d, config, batch = self.discriminators[name], self.config, draw.batch
        fakes, side = self._judged(draw, name)
        real = d.features(batch.images[side])
        wrong = self._wrong_features(d, real, batch, side)
        fake = d.features(fakes.detach())

        parts: dict[str, Tensor] = {}
        total = torch.zeros((), device=fakes.device)
        if draw.condition is not None:
            condition = draw.condition.detach()
            parts["real"] = self._real(d.condition_logits(real, condition))
            if wrong is not None:
                parts["wrong"] = self._fake(d.condition_logits(wrong, condition))
            elif config.wrong_pairs == "text":
                parts["wrong"] = self._fake(d.condition_logits(real, self._wrong_condition(batch)))
            parts["fake"] = self._fake(d.condition_logits(fake, condition))
            negatives = parts["fake"] + parts.get("wrong", 0)
            total = total + parts["real"] + config.negative_weight * negatives
        if config.image_weight:
            parts |= self._image_terms(d, real, wrong, fake)
            positives = parts["real_u"] + parts.get("wrong_u", 0)
            total = total + config.image_weight * (parts["fake_u"] + config.real_image_weight * positives)
        return {"total": total, **parts}

    def _wrong_features(self, d: PairDiscriminator, real: Tensor, batch: Batch, side: int) -> Tensor | None:
        match self.config.wrong_pairs:
            case "image":
                return d.features(batch.wrong_images[side])
            case "batch":
                assert batch.wrong_order is not None
                return real[batch.wrong_order]
            case _:
                return None

    def _wrong_condition(self, batch: Batch) -> Tensor:
        assert batch.wrong_text is not None
        if self.config.discriminator_sees == "text":
            return batch.wrong_text
        with torch.no_grad():
            return self.generator.condition(batch.wrong_text)

    def _image_terms(self, d: PairDiscriminator, real: Tensor, wrong: Tensor | None, fake: Tensor) -> dict[str, Tensor]:
        def logits(features: Tensor) -> Tensor:
            found = d.unconditional_logits(features)
            assert found is not None
            return found

        terms = {"real_u": self._real(logits(real))}
        if wrong is not None and self.config.wrong_as_real:
            # A permutation of the batch has the same mean.
            terms["wrong_u"] = terms["real_u"] if self.config.wrong_pairs == "batch" else self._real(logits(wrong))
        return terms | {"fake_u": self._fake(logits(fake))}

    def _generator_loss(self, draw: StackedDraw) -> dict[str, Tensor]:
        config, output, condition = self.config, draw.output, draw.condition
        if condition is not None and config.condition_detached:
            condition = condition.detach()
        adversarial: list[Tensor] = []
        for name, d in self.discriminators.items():
            features = d.features(self._judged(draw, name)[0])
            if condition is not None:
                adversarial.append(self._real(d.condition_logits(features, condition)))
            image_logits = d.unconditional_logits(features) if config.image_weight else None
            if image_logits is not None:
                adversarial.append(config.image_weight * self._real(image_logits))
        parts = {"adversarial": torch.stack(adversarial).sum()}
        total = parts["adversarial"]
        if output.mu is not None and output.logvar is not None:
            parts["kl"] = kl_standard_normal(output.mu, output.logvar, config.kl_reduction)
            total = total + config.kl_weight * parts["kl"]
        if config.color_weight:
            judged = output.images[-len(config.sides) :]
            pairs = [color_consistency(fine, coarse, config.color_norm) for coarse, fine in pairwise(judged)]
            parts["color"] = torch.stack(pairs).sum()
            total = total + config.color_weight * parts["color"]
        if self.generator.earlier_stage is not None:
            parts["reconstruction"] = reconstruction(output.images[-1], output.images[-2])
            total = total + config.reconstruction_weight * parts["reconstruction"]
        return {"total": total, **parts}
