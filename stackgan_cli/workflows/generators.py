"""Which generator a verb uses, where its files go, and the images that it generates for a whole split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from stackgan_cli.data.cache import Cache
from stackgan_cli.errors import UsageError
from stackgan_cli.metrics.image_sets import GeneratedSet
from stackgan_cli.runtime import key_seed, pick_device
from stackgan_cli.sampling import Sampler, render
from stackgan_cli.training.inputs import vectors_of
from stackgan_cli.workflows.reporter import Reporter
from stackgan_cli.workspace import Name, WeightsFile, Workspace

PAPERS_COUNT = 30_000
"""Number of images that the papers score."""


def open_generator(
    model: Name,
    workspace: Workspace,
    reporter: Reporter,
    *,
    device: str = "auto",
    text_encoder: Path | None = None,
    force: bool = False,
) -> tuple[WeightsFile, Sampler]:
    """A run's weights file, or a weights file, opened to sample from; by default that of the newest run that generates images."""
    found = workspace.weights(model)
    if not isinstance(model, (Path, WeightsFile)):
        reporter.say(f"generating with {found.path}")
    elif found.path.parent.name == "weights" and not found.path.exists() and (found.path.parent.parent / "config.yaml").is_file():
        raise UsageError(
            "this weights file of the run no longer exists", where=found.path, hint="a run keeps only its newest files (train.keep_weights)"
        )
    return found, Sampler.load(found.path, pick_device(device), text_encoder=text_encoder, force=force)


def folder_of(source: WeightsFile, workspace: Workspace, verb: str) -> Path:
    """The output folder for a weights file: the folder `verb` of its run, or of the workspace if it is not in a run."""
    folder = source.path.parent.parent
    if source.path.parent.name == "weights" and (folder / "config.yaml").is_file():
        return folder / verb
    return workspace.root / verb / source.path.stem


def generated_set(
    sampler: Sampler,
    cache: Cache | None,
    *,
    split: str,
    count: int | None,
    side: int | None,
    seed: int,
) -> GeneratedSet:
    """Images of a generator: the captions of `split` in a random order, each once before any is repeated, each image with its own noise.

    `count` defaults to one image per caption, at most 30,000. Raises UsageError when captions are needed and there is no cache.
    """
    random = np.random.default_rng(key_seed("evaluate", seed))
    captions: list[str] | None = None
    class_ids: np.ndarray | None = None
    inputs: Any = None
    facts: dict[str, Any] = {"weights": str(sampler.weights.path), "step": sampler.weights.step, "preset": sampler.weights.config.name}
    if sampler.num_classes is not None:
        count = count or PAPERS_COUNT
        class_ids = np.resize(np.arange(sampler.num_classes), count)
        inputs = class_ids
        facts["labels"] = "all classes in turn"
    elif sampler.encoder is not None:
        if cache is None:
            raise UsageError("captions are needed: a prepared cache", hint="name one with --cache")
        rows = cache.rows(split)
        offsets = cache.caption_offsets
        numbers = np.concatenate([np.arange(offsets[row], offsets[row + 1]) for row in rows]) if len(rows) else np.array([], int)
        if not len(numbers):
            raise UsageError(f"there are no captions in the {split!r} split", where=cache.path)
        count = count or min(PAPERS_COUNT, len(numbers))
        chosen = np.resize(random.permutation(numbers), count)
        captions = [cache.captions[number] for number in chosen]
        found = cache.class_ids[np.searchsorted(offsets, chosen, side="right") - 1]
        class_ids = found if (found >= 0).all() else None
        inputs = _vectors(sampler, cache, chosen, captions)
        facts["captions"] = f"{min(count, len(numbers)):,} of the {len(numbers):,} of {cache.path.stem}, split {split}"
    else:
        count = count or PAPERS_COUNT
    sides = sampler.sides
    if side is not None and side not in sides:
        raise UsageError(f"these weights do not generate images of {side} px", where="--scale", hint=f"one of {', '.join(map(str, sides))}")
    chosen_side = side or sides[-1]

    def generate(indices: np.ndarray) -> np.ndarray:
        text = None if inputs is None else torch.from_numpy(np.ascontiguousarray(inputs[indices])).to(sampler.device)
        seeds = [key_seed("evaluate", seed, int(index)) for index in indices]
        return render(sampler.generator, text, seeds, device=sampler.device)[chosen_side]

    facts["image_side"] = chosen_side
    return GeneratedSet(
        generate, count, chosen_side, class_ids=class_ids, captions=captions, label_names=sampler.weights.classes, description=facts
    )


def _vectors(sampler: Sampler, cache: Cache, chosen: np.ndarray, captions: list[str]) -> np.ndarray:
    """Embeddings of the captions by the sampler's encoder; stored ones are used if they exist."""
    assert sampler.encoder is not None
    for vectors in vectors_of(cache):
        if vectors.encoder_hash == sampler.encoder.hash:
            return np.asarray(vectors.vectors[chosen])
    return sampler.encoder.encode(captions, device=sampler.device)
