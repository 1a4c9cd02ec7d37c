"""The hook that draws a grid of samples at every tick of a training: a row a caption or label, the same noise each time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stackgan_cli.cli.labels import label_name

if TYPE_CHECKING:
    from torch import Tensor

    from stackgan_cli.cli.ui import Session
    from stackgan_cli.training.job import Job
    from stackgan_cli.training.loop import Trainer


@dataclass
class SampleGrids:
    """`text` is (rows * columns, T), or class labels, or None for a model without captions; `captions` is None likewise."""

    job: Job
    text: Tensor | None
    captions: list[str] | None

    @classmethod
    def of(cls, job: Job, session: Session) -> SampleGrids:
        """The captions of the configuration, or one of each of the first held-out images, and their vectors; the first labels."""
        import numpy as np
        import torch

        samples = job.run.config.samples
        num_classes = getattr(job.run.config.model, "num_classes", None)
        if num_classes is not None:
            labels = torch.arange(min(samples.rows, num_classes))
            names = job.cache.class_names if job.labels is None else job.labels.names
            return cls(job, labels.repeat_interleave(samples.columns), [label_name(label, names) for label in labels.tolist()])
        if job.vectors is None:
            return cls(job, None, None)
        if samples.captions and job.text_encoder is not None:
            captions = list(samples.captions)
            vectors = job.text_encoder.encode(captions)
        else:
            if samples.captions:
                session.warn("samples.captions is not used: the text encoder of these vectors is not at hand")
            rows = job.cache.rows("test")
            first = job.cache.caption_offsets[rows if len(rows) else job.cache.rows("all")][: samples.rows]
            captions = [job.cache.captions[index] for index in first]
            vectors = np.asarray(job.vectors.vectors[first])
        text = torch.from_numpy(vectors).repeat_interleave(samples.columns, 0)
        return cls(job, text, captions)

    def draw(self, trainer: Trainer, step: int) -> None:
        """Write `samples/step-STEP.png` with the generator that would be saved now; nothing for a model that draws none."""
        from stackgan_cli.models.interface import Generator
        from stackgan_cli.sampling import render
        from stackgan_cli.viz.grids import grid, save_png

        generator: Any = trainer.objective.modules.get("generator")
        if not isinstance(generator, Generator):
            return
        samples = self.job.run.config.samples
        number = len(self.text) if self.text is not None else samples.rows * samples.columns
        images = render(
            trainer.sampling_module("generator"),  # type: ignore[arg-type]
            self.text,
            range(number),
            device=trainer.device,
            precision=trainer.precision,
        )
        page = grid(images[max(images)], samples.columns, self.captions)
        save_png(self.job.run.folder / "samples" / f"step-{step:08d}.png", page)
