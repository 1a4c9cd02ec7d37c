"""Training of SGAN: each level of a stack with its own discriminator, first independently, then jointly (Huang et al., poster).

With h_i a representation of the real image, c_i the input of generator i, and h'_i = G_i(c_i, z_i), the losses of level i are

* discriminator: (R(h_i) + F(h'_i)) / 2, with R and F the binary cross-entropies for the labels real and fake;
* adversarial: R(h'_i) (-log D of the poster), or the saturating -F(h'_i) (released code);
* conditional: the encoder's representation of h'_i compared with c_i, by cross-entropy with the label at the top and by mean squared
  error elsewhere;
* entropy: mean (Q(h'_i) - z_i)^2. Its negative bounds the entropy of h'_i given c_i from below, up to a constant factor and offset
  (Gaussian Q with fixed variance). It is part of the discriminator's loss too, which trains Q.

In independent training c_i comes from the encoder; in joint training it is h'_{i+1}, and the loss of a level reaches the generators above
it with weight `joint_weight`. For a discriminator of classes the logit for real is the log-sum-exp of its logits (Salimans et al., section
5), and it also learns to classify real images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stackgan_cli.config.archs import SGAN
from stackgan_cli.models.sgan import Discriminator, StackGenerator, encoder_of
from stackgan_cli.objectives.base import Batch, Needs, Noise, Objective, Phase, Stage, Turn
from stackgan_cli.objectives.terms import bce_fake, bce_real


@dataclass
class StackDraw:
    """By level: the real and the generated representations, the inputs of the generators (`above`) and the noise. Level 0 is in the
    encoder's range. `labels` is (B,)."""

    labels: Tensor
    real: dict[int, Tensor]
    made: dict[int, Tensor]
    above: dict[int, Tensor]
    noise: dict[int, Tensor]


class Game(Objective[StackDraw]):
    """Phases `d` and `g` on `levels` of the stack (top to bottom), independently or, with `joint`, each fed by the level above."""

    def __init__(self, config: SGAN, networks: Mapping[str, nn.Module], levels: tuple[int, ...], joint: bool) -> None:
        generator = networks["generator"]
        assert isinstance(generator, StackGenerator)
        self.config, self.generator, self.encoder = config, generator, encoder_of(networks)
        self.levels, self.joint = levels, joint
        self.discriminators: dict[int, Discriminator] = {}
        for i in generator.z_dims:
            discriminator = networks[f"discriminator{i}"]
            assert isinstance(discriminator, Discriminator)
            self.discriminators[i] = discriminator
        self.modules = dict(networks)
        self.phases = (
            Phase("d", "discriminator", tuple(self.discriminators.values()), partial(self._over_levels, self._discriminator_loss)),
            Phase("g", "generator", (generator,), partial(self._over_levels, self._generator_loss), ema=generator),
        )
        self.needs = Needs(images=(config.resolution,), labels=True)
        self.names = dict(zip(generator.z_dims, pairwise(config.chain), strict=True))
        """Level to (its input, its output), names of representations."""

    def turns(self, step: int, memory: Mapping[str, float]) -> tuple[Turn, ...]:
        count = generator_steps(memory.get("d", 1.0)) if self.config.generator_turns == "adaptive" else 1
        return Turn("d"), *(Turn("g", draw=number) for number in range(count))

    def remember(self, step: int, seen: Mapping[str, Tensor]) -> dict[str, float] | None:
        """The adversarial loss of the discriminator of the lowest level in training, if the number of generator steps depends on it."""
        if self.config.generator_turns != "adaptive":
            return None
        return {"d": float(seen[f"d/adversarial{min(self.levels)}"])}

    def draw(self, batch: Batch, noise: Noise) -> StackDraw:
        assert batch.labels is not None
        real = self._representations(batch)
        drawn = self.generator.draw_noise(batch.size, noise)
        draw = StackDraw(batch.labels, {}, {}, {}, {i: drawn[f"z{i}"] for i in self.levels})
        below: Tensor | None = None
        for i in self.levels:
            upper, lower = self.names[i]
            above = real[upper] if below is None or not self.joint else below
            made = self.generator.level(i, above, draw.noise[i])
            draw.real[i], draw.above[i] = real[lower], above
            draw.made[i] = made if i else self.encoder.native(made)
            below = weigh_gradient(made, self.config.joint_weight) if self.joint else None
        return draw

    @torch.no_grad()
    def _representations(self, batch: Batch) -> dict[str, Tensor]:
        """The representations of the real images by name, and the labels as one-hot vectors."""
        assert batch.labels is not None
        lower, h = "image", self.encoder.native(batch.images[self.config.resolution])
        found = {"image": h}
        for level in reversed(self.config.levels):
            found[level] = h = self.encoder.between(h, lower, level)
            lower = level
        return found | {"label": self.generator.condition(batch.labels)}

    def _over_levels(self, level_loss: Callable[[int, StackDraw], tuple[Tensor, dict[str, Tensor]]], draw: StackDraw) -> dict[str, Tensor]:
        """The sum of a loss over the levels in training, and its terms by level."""
        parts: dict[str, Tensor] = {}
        totals = []
        for i in self.levels:
            total, named = level_loss(i, draw)
            totals.append(total)
            parts |= {f"{name}{i}": value for name, value in named.items()}
        return {"total": torch.stack(totals).sum(), **parts}

    def _discriminator_loss(self, i: int, draw: StackDraw) -> tuple[Tensor, dict[str, Tensor]]:
        config, d = self.config, self.discriminators[i]
        real, _ = d(draw.real[i], self.joint)
        made, guess = d(draw.made[i].detach(), self.joint)
        parts = {"adversarial": (bce_real(strength(real)) + bce_fake(strength(made))) / 2}
        total = parts["adversarial"]
        if config.critic == "classes":
            parts["classes"] = F.cross_entropy(real.float(), draw.labels)
            total = total + config.label_weight * parts["classes"]
        if config.entropy_weight:
            parts["entropy"] = F.mse_loss(guess.float(), draw.noise[i])
            total = total + config.entropy_weight * parts["entropy"]
        return total, parts

    def _generator_loss(self, i: int, draw: StackDraw) -> tuple[Tensor, dict[str, Tensor]]:
        config = self.config
        logits, guess = self.discriminators[i](draw.made[i], self.joint)
        judged = strength(logits)
        parts = {"adversarial": -bce_fake(judged) if config.adversarial == "saturating" else bce_real(judged)}
        total = config.adversarial_weight * parts["adversarial"]
        if config.conditional_weight:
            parts["conditional"] = self._conditional_loss(i, draw)
            total = total + config.conditional_weight * parts["conditional"]
        if config.entropy_weight:
            parts["entropy"] = F.mse_loss(guess.float(), draw.noise[i])
            total = total + config.entropy_weight * parts["entropy"]
        return total, parts

    def _conditional_loss(self, i: int, draw: StackDraw) -> Tensor:
        upper, lower = self.names[i]
        if upper == "label":
            return F.cross_entropy(self.encoder.between(draw.made[i], lower, "fc4").float(), draw.labels)
        return F.mse_loss(self.encoder.between(draw.made[i], lower, upper).float(), draw.above[i].float())


class InvertingObjective(Game):
    """Joint training of all levels, preceded by the stages of independent training that `config.schedule` asks for."""

    def __init__(self, config: SGAN, networks: Mapping[str, nn.Module]) -> None:
        depth, alone = len(config.z_dims), config.independent_steps
        every = tuple(reversed(range(depth)))
        super().__init__(config, networks, every, joint=True)
        self._stages: tuple[Stage, ...] = (Stage(self, None),)
        if depth > 1 and alone != 0:
            groups = [(i,) for i in range(depth)] if config.schedule == "sequential" else [every]
            independent = [Stage(Game(config, networks, levels, joint=False), alone) for levels in groups]
            self._stages = (*independent, *self._stages)

    @property
    def stages(self) -> tuple[Stage, ...]:
        return self._stages


def strength(logits: Tensor) -> Tensor:
    """Logits (B, 1), or (B, K) of K classes, to one logit (B,) for real: the log-sum-exp over classes."""
    return logits.float().squeeze(1) if logits.shape[1] == 1 else logits.float().logsumexp(1)


def generator_steps(discriminator_loss: float) -> int:
    """Number of generator steps per discriminator step, given the adversarial loss of the discriminator (released code)."""
    for bound, steps in ((0.65, 1), (0.5, 3), (0.3, 5)):
        if discriminator_loss > bound:
            return steps
    return 7


def weigh_gradient(h: Tensor, weight: float) -> Tensor:
    """`h`, with its gradient multiplied by `weight`."""
    return h if weight == 1 else h.detach() if weight == 0 else torch.lerp(h.detach(), h, weight)
