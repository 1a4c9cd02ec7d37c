"""Training of a classifier: cross-entropy, one phase."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from stackgan_cli.config.archs import Classifier as ClassifierConfig
from stackgan_cli.objectives.base import Batch, Needs, Noise, Objective, Phase, Turn


@dataclass
class ClassificationDraw:
    """Logits (B, K) of the images of a batch and their labels (B,)."""

    logits: Tensor
    labels: Tensor


class ClassificationObjective(Objective[ClassificationDraw]):
    """One phase, `classifier`; its moving average is kept if the configuration asks for one."""

    def __init__(self, config: ClassifierConfig, networks: Mapping[str, nn.Module]) -> None:
        self.side = config.resolution
        self.classifier = networks["classifier"]
        self.modules = {"classifier": self.classifier}
        self.phases = (Phase("classifier", "encoder", (self.classifier,), self._loss, ema=self.classifier),)
        self.needs = Needs(images=(self.side,), labels=True)

    def turns(self, step: int, memory: Mapping[str, float]) -> tuple[Turn, ...]:
        return (Turn("classifier"),)

    def draw(self, batch: Batch, noise: Noise) -> ClassificationDraw:
        assert batch.labels is not None
        return ClassificationDraw(self.classifier(batch.images[self.side]).float(), batch.labels)

    def _loss(self, draw: ClassificationDraw) -> dict[str, Tensor]:
        accuracy = (draw.logits.detach().argmax(1) == draw.labels).float().mean()
        return {"total": F.cross_entropy(draw.logits, draw.labels), "accuracy": accuracy}
