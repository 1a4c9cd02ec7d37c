"""From a weights file to a generator, from captions and seeds to images, and paths between captions and between seeds.

Every image has its own seed, so it can be generated again by itself: its noise does not depend on the other images of the batch.
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
    """The noise inputs {name: (N, D)} of one image per seed. Sampled on the CPU, so that a seed gives the same image on every device."""
    each = [generator.draw_noise(1, Noise("image", seed)) for seed in seeds]
    return {name: torch.cat([noise[name] for noise in each]).to(device) for name in each[0]}


def linear_path(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """(D,) and (D,) -> (steps, D), evenly spaced on a straight line, both ends exact. The papers interpolate embeddings this way."""
    return torch.lerp(a, b, torch.linspace(0, 1, steps, dtype=a.dtype, device=a.device)[:, None])


def spherical_path(a: Tensor, b: Tensor, steps: int) -> Tensor:
    """(D,) and (D,) -> (steps, D) on an arc, evenly spaced in angle and norm, both ends exact.

    A straight line between two samples of Gaussian noise passes through vectors that are too short to be likely samples. If there is no
    arc (a zero vector, equal or opposite directions), the straight line is used.
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
    """One end of an interpolation: the text embedding (T,) or None, and the noise by name, each (D,)."""

    text: Tensor | None
    noise: Mapping[str, Tensor]


def walk(stops: Sequence[Stop], steps: int, *, closed: bool = False) -> tuple[Tensor | None, dict[str, Tensor]]:
    """Text (N, T) and noise {name: (N, D)} along a path from stop to stop, linear in the text and spherical in the noise.

    Every leg has `steps` points, both stops included; a stop where two legs meet occurs once. A `closed` path continues to the first
    stop and ends one point before it, so that it can be repeated in a loop.
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
    """Generate images of every scale: {side: uint8 (N, side, side, 3)}.

    Row i of `text` (N, T), or label i of `text` (N,), is combined with seed i. `mean` leaves out the noise of conditioning augmentation.
    `noise` replaces the noise inputs with those names. The generator is run in evaluation mode (running BatchNorm statistics) and then
    returned to its previous mode.
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
    """A generator that is ready for sampling, with the text encoder that it was trained with (None if it takes no captions)."""

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

        Raises UsageError if there is none or it does not generate images. Raises MismatchError if the text encoder is neither in the
        file nor given, or if the given one differs from the one that the model was trained with (unless `force`).
        """
        if isinstance(model, Run):
            newest = model.latest_weights()
            if newest is None:
                raise UsageError("this run has no weights yet", where=model.folder)
            model = newest
        return cls.of(Weights.open(model), device, text_encoder=text_encoder, force=force)

    @classmethod
    def of(cls, weights: Weights, device: torch.device | str = "cpu", *, text_encoder: Path | None = None, force: bool = False) -> Sampler:
        """Like `load`, from an open weights file."""
        config = weights.config.model.as_a(ImageModelConfig)
        if config is None:
            arch = weights.config.model.arch
            hint = "give a text-to-image run with --run"
            raise UsageError(f"these weights are a {arch}, which does not generate images", where=weights.path, hint=hint)
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
                    f"these weights do not contain their text encoder (hash {weights.text_encoder['hash'][:8]})",
                    where=weights.path,
                    hint="give its file with --text-encoder; for published generators, the .t7 file released with their captions",
                )
            return encoder
        encoder = TextEncoder.load(path)
        if weights.text_encoder["hash"] not in (encoder.hash, "unknown") and not force:
            raise MismatchError(
                f"the model was trained with text encoder {weights.text_encoder['hash'][:8]}, but this one is {encoder.hash[:8]}",
                where=path,
                hint="use the encoder it was trained with, or --force to sample anyway",
            )
        return encoder

    def vectors(self, captions: Sequence[str]) -> Tensor:
        """Text embeddings (N, T), float32, on the device. Raises UsageError for a model that takes no captions."""
        if self.encoder is None:
            raise UsageError("this model takes no captions", where=self.weights.path)
        return torch.from_numpy(self.encoder.encode(captions, device=self.device)).to(self.device)

    @property
    def num_classes(self) -> int | None:
        """Number of labels of a class-conditional model; None for any other."""
        return self.model.num_classes

    @cached_property
    def sides(self) -> list[int]:
        """Resolutions (sides in pixels) of the images that the model generates, coarse to fine."""
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
        """One image per seed (caption or label i with seed i): {side: uint8 (N, side, side, 3)}, coarse to fine.

        `mean` leaves out the noise of conditioning augmentation; `noise` replaces the noise inputs with those names. Raises UsageError
        if captions are given to a model that takes none.
        """
        text = None if captions is None else self.vectors(captions)
        if labels is not None:
            text = torch.tensor(labels, dtype=torch.int64, device=self.device)
        return render(self.generator, text, seeds, device=self.device, mean=mean, noise=noise)
