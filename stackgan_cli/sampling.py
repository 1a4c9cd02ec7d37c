"""Weights file to generator; captions and seeds to images; paths between captions and between seeds.

Every image has a seed of its own, so it can be made again alone: its noise does not depend on what it was drawn with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stackgan_cli import registry
from stackgan_cli.config.archs import ImageModelConfig
from stackgan_cli.data.pixels import to_uint8
from stackgan_cli.encoders.text_encoder import TextEncoder
from stackgan_cli.errors import MismatchError, UsageError
from stackgan_cli.models.interface import Generator
from stackgan_cli.runs import Run, Weights
from stackgan_cli.runtime import Noise, Precision


def noise_of(generator: Generator, seeds: Sequence[int], device: torch.device | str) -> dict[str, Tensor]:
    """The noise inputs of one image a seed, stacked. Drawn on the CPU, so a seed means the same image on every device."""
    each = [generator.draw_noise(1, Noise("image", seed)) for seed in seeds]
    return {name: torch.cat([noise[name] for noise in each]).to(device) for name in each[0]}


def linear_path(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """(D,) and (D,) -> (steps, D), evenly spaced on the straight line, both ends exact. How the papers walk between embeddings."""
    return torch.lerp(a, b, torch.linspace(0, 1, steps, dtype=a.dtype, device=a.device)[:, None])


def spherical_path(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """(D,) and (D,) -> (steps, D) on an arc, the angle and the norm evenly spaced, both ends exact.

    A straight line between two draws of Gaussian noise passes through vectors that are too short to be drawn. Where there is no arc
    (a zero vector, equal or opposite directions) the line is taken all the same.
    """
    first, last = a.double(), b.double()
    norms = first.norm(), last.norm()
    angle = torch.arccos((first @ last / (norms[0] * norms[1]).clamp_min(1e-12)).clamp(-1, 1))
    if norms[0] * norms[1] == 0 or torch.sin(angle) < 1e-6:
        return linear_path(a, b, steps)
    t = torch.linspace(0, 1, steps, dtype=torch.float64, device=a.device)[:, None]
    direction = (torch.sin((1 - t) * angle) * (first / norms[0]) + torch.sin(t * angle) * (last / norms[1])) / torch.sin(angle)
    path = (direction * torch.lerp(*norms, t)).to(a.dtype)
    path[0], path[-1] = a, b
    return path


@dataclass(frozen=True)
class Stop:
    """One place to walk from or to: what is drawn, (T,) or None, and with which noise, name to (D,)."""

    text: Tensor | None
    noise: Mapping[str, Tensor]


def walk(stops: Sequence[Stop], steps: int, *, closed: bool = False) -> tuple[Tensor | None, dict[str, Tensor]]:
    """Text (N, T) and noise {name: (N, D)} on the way from stop to stop, linear in the text and spherical in the noise.

    Every leg has `steps` places, both stops included; where two legs meet, the stop is there once. A `closed` walk goes on to the first
    stop and ends one place before it, so that it can be repeated without a jerk.
    """
    ends = [*stops, stops[0]] if closed else list(stops)

    def joined(path: Callable[[Tensor, Tensor, int], Tensor], places: Sequence[Tensor]) -> Tensor:
        legs = [path(a, b, steps)[:-1] for a, b in pairwise(places)]
        return torch.cat([*legs, places[-1][None]]) if not closed else torch.cat(legs)

    texts = [stop.text for stop in ends if stop.text is not None]
    noise = {name: joined(spherical_path, [stop.noise[name] for stop in ends]) for name in ends[0].noise}
    return (joined(linear_path, texts) if texts else None), noise


@torch.no_grad()
def render(
    generator: Generator,
    text: Tensor | None,
    seeds: Sequence[int],
    *,
    device: torch.device | str,
    mean: bool = False,
    noise: Mapping[str, Tensor] | None = None,
    batch_size: int = 32,
    precision: Precision | None = None,
) -> dict[int, np.ndarray]:
    """Images of every scale: {side: uint8 (N, side, side, 3)}.

    `text` (N, T) goes row by row with `seeds`. `mean` leaves out the noise of conditioning augmentation. `noise` replaces
    the inputs of those names. The generator is run in evaluation mode (running BatchNorm statistics) and left in the mode it was in.
    """
    device = torch.device(device)
    run = precision or Precision("fp32", None)
    was_training = generator.training
    generator.eval()
    chunks: list[dict[int, np.ndarray]] = []
    try:
        for start in range(0, len(seeds), batch_size):
            part = slice(start, start + batch_size)
            inputs = noise_of(generator, seeds[part], device)
            if noise is not None:
                inputs |= {name: value[part].to(device) for name, value in noise.items()}
            if mean:
                inputs = {name: value for name, value in inputs.items() if name == "z"}
            with run(device):
                output = generator(None if text is None else text[part].to(device), inputs)
            pixels = {side: to_uint8(images).permute(0, 2, 3, 1).cpu().numpy() for side, images in output.by_side.items()}
            chunks.append({side: np.ascontiguousarray(images) for side, images in pixels.items()})
    finally:
        generator.train(was_training)
    return {side: np.concatenate([chunk[side] for chunk in chunks]) for side in chunks[0]}


@dataclass
class Sampler:
    """A generator ready to sample from, with the text encoder it understands (None for an unconditional model)."""

    weights: Weights
    model: ImageModelConfig
    generator: Generator
    encoder: TextEncoder | None
    device: torch.device

    @classmethod
    def load(
        cls, model: Path | Run, device: torch.device | str = "cpu", *, text_encoder: Path | None = None, force: bool = False
    ) -> Sampler:
        """Open a weights file, or the newest one of a run.

        Raises MismatchError when the text encoder is neither in the file nor given, or when the one given is another
        than the one it was trained with (unless `force`).
        """
        if isinstance(model, Run):
            newest = model.latest_weights()
            if newest is None:
                raise UsageError("this run has no weights yet", where=model.folder)
            model = newest
        return cls.of(Weights.open(model), device, text_encoder=text_encoder, force=force)

    @classmethod
    def of(cls, weights: Weights, device: torch.device | str = "cpu", *, text_encoder: Path | None = None, force: bool = False) -> Sampler:
        """The same of an open weights file."""
        config = weights.config.model.as_a(ImageModelConfig)
        if config is None:
            arch = weights.config.model.arch
            hint = "name a text-to-image run with --run"
            raise UsageError(f"these weights are a {arch}, which makes no images", where=weights.path, hint=hint)
        generator = registry.load_network(weights, "generator").to(device)
        assert isinstance(generator, Generator)
        return cls(weights, config, generator, cls._encoder(weights, text_encoder, force), torch.device(device))

    @staticmethod
    def _encoder(weights: Weights, path: Path | None, force: bool) -> TextEncoder | None:
        if weights.text_encoder is None:
            return None
        if path is None:
            encoder = TextEncoder.inside(weights)
            if encoder is None:
                raise MismatchError(
                    f"these weights do not carry their text encoder (hash {weights.text_encoder['hash'][:8]})",
                    where=weights.path,
                    hint="give its file with --text-encoder: for published generators the char-CNN-RNN .t7 released with their captions",
                )
            return encoder
        encoder = TextEncoder.load(path)
        if weights.text_encoder["hash"] not in (encoder.hash, "unknown") and not force:
            raise MismatchError(
                f"trained with text encoder {weights.text_encoder['hash'][:8]}, but this one is {encoder.hash[:8]}",
                where=path,
                hint="use the encoder it was trained with, or --force to sample all the same",
            )
        return encoder

    def vectors(self, captions: Sequence[str]) -> Tensor:
        """(N, T) float32 on the device. Raises UsageError for an unconditional model."""
        if self.encoder is None:
            raise UsageError("this model is unconditional: it takes no captions", where=self.weights.path)
        return torch.from_numpy(self.encoder.encode(captions, device=self.device)).to(self.device)

    @property
    def num_classes(self) -> int | None:
        """How many labels a class-conditional model knows; None for any other."""
        return self.model.num_classes

    @cached_property
    def sides(self) -> list[int]:
        """Sides of the pictures that the model makes, coarse to fine."""
        text = None
        if self.model.conditioning == "class":
            text = torch.zeros(1, dtype=torch.int64)
        elif self.model.conditioning == "text":
            text = torch.zeros(1, self.model.text_dim or 0)
        return sorted(render(self.generator, text, [0], device=self.device))

    def sample(
        self,
        captions: Sequence[str] | None,
        seeds: Sequence[int],
        *,
        labels: Sequence[int] | None = None,
        mean: bool = False,
        noise: Mapping[str, Tensor] | None = None,
    ) -> dict[int, np.ndarray]:
        """One image a seed (caption or label i with seed i): {side: uint8 (N, side, side, 3)}, coarse to fine.

        `noise` replaces the inputs of those names.
        """
        text = None if captions is None else self.vectors(captions)
        if labels is not None:
            text = torch.tensor(labels, dtype=torch.int64, device=self.device)
        return render(self.generator, text, seeds, device=self.device, mean=mean, noise=noise)
