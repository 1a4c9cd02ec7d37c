"""The grid of samples written at every tick of a training: a row per caption or label, always with the same noise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stackgan_cli.config.schema import SamplesConfig
from stackgan_cli.models.interface import Generator
from stackgan_cli.sampling import render
from stackgan_cli.training.inputs import ResolvedInputs
from stackgan_cli.training.loop import Trainer
from stackgan_cli.viz.grids import grid, save_png
from stackgan_cli.workflows.conditions import label_name
from stackgan_cli.workflows.reporter import Reporter


@dataclass
class SampleGrids:
    """`text` is (rows * columns, T), or class labels, or None for a model without captions; `captions` is None likewise."""

    samples: SamplesConfig
    text: Tensor | None
    captions: list[str] | None

    @classmethod
    def of(cls, inputs: ResolvedInputs, reporter: Reporter) -> SampleGrids:
        """The captions of the configuration (else one per held-out image) and their embeddings; or the first labels."""
        samples, cache = inputs.config.samples, inputs.cache
        num_classes = inputs.requirements.classes or inputs.requirements.num_labels
        if num_classes is not None:
            labels = torch.arange(min(samples.rows, num_classes))
            names = cache.class_names if inputs.labels is None else inputs.labels.names
            return cls(samples, labels.repeat_interleave(samples.columns), [label_name(label, names) for label in labels.tolist()])
        if inputs.vectors is None:
            return cls(samples, None, None)
        if samples.captions and inputs.text_encoder is not None:
            captions = list(samples.captions)
            vectors = inputs.text_encoder.encode(captions)
        else:
            if samples.captions:
                reporter.warn("samples.captions is not used: the text encoder of these vectors is not available")
            rows = cache.rows("test")
            first = cache.caption_offsets[rows if len(rows) else cache.rows("all")][: samples.rows]
            captions = [cache.captions[index] for index in first]
            vectors = np.asarray(inputs.vectors.vectors[first])
        return cls(samples, torch.from_numpy(vectors).repeat_interleave(samples.columns, 0), captions)

    def write(self, trainer: Trainer, path: Path) -> None:
        """Write the grid of the generator that would be saved now; nothing for a model that generates no images."""
        if not isinstance(trainer.objective.modules.get("generator"), Generator):
            return
        generator = trainer.sampling_module("generator")
        assert isinstance(generator, Generator)
        number = len(self.text) if self.text is not None else self.samples.rows * self.samples.columns
        images = render(generator, self.text, range(number), device=trainer.device, precision=trainer.precision)
        save_png(path, grid(images[max(images)], self.samples.columns, self.captions))
