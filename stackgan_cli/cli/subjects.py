"""What a user can have measured: a run, a weights file, a folder of pictures, or a prepared dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackgan_cli.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    import numpy as np
    import torch

    from stackgan_cli.cli.ui import Session
    from stackgan_cli.data.cache import Cache
    from stackgan_cli.metrics.image_sets import GeneratedSet
    from stackgan_cli.runs import Run
    from stackgan_cli.sampling import Sampler

PAPERS_COUNT = 30_000
"""Pictures that the papers score."""


@dataclass(frozen=True)
class Subject:
    """Exactly one of `weights` (with the `run` they are of), `folder`, `cache` (with a `split`) and `statistics` is given."""

    weights: Path | None = None
    run: Run | None = None
    folder: Path | None = None
    cache: str = ""
    split: str = ""
    statistics: Path | None = None


def find_subject(session: Session, name: str) -> Subject:
    """What `name` names; an empty one is the newest run that draws. Raises UsageError, with a suggestion."""
    from stackgan_cli.runs import Run

    workspace = session.workspace
    if not name:
        run = workspace.newest_run(draws=True)
        if run is None:
            raise UsageError("no run has weights yet", where=workspace.runs, hint="stackgan train --preset demo-stage1")
        session.say(f"measuring {run.name}")
        return Subject(weights=run.latest_weights(), run=run)
    path = Path(name).expanduser()
    for folder in (workspace.runs / name, path):
        if (folder / "config.yaml").is_file():
            run = Run(folder)
            weights = run.latest_weights()
            if weights is None:
                raise UsageError("this run has no weights yet", where=folder)
            return Subject(weights=weights, run=run)
    if path.is_dir():
        return Subject(folder=path)
    if path.is_file() and path.suffix == ".npz":
        return Subject(statistics=path)
    if path.is_file() and path.suffix != ".h5":
        return Subject(weights=path, run=run_of(path))
    cache, _, split = name.partition(":")
    if cache in workspace.cache_names() or Path(cache).suffix == ".h5":
        return Subject(cache=cache, split=split)
    names = [*workspace.run_names(), *workspace.cache_names()]
    raise UsageError(
        f"no run, weights file, folder or cache {name!r}{did_you_mean(name, names)}", hint="`stackgan info` lists the runs and caches here"
    )


def run_of(weights: Path) -> Run | None:
    """The run that a weights file lies in."""
    from stackgan_cli.runs import Run

    folder = weights.resolve().parent.parent
    return Run(folder) if weights.parent.name == "weights" and (folder / "config.yaml").is_file() else None


def drawn(
    session: Session,
    sampler: Sampler,
    cache: Cache | None,
    *,
    split: str,
    count: int | None,
    side: int | None,
    seed: int,
    device: torch.device,
) -> GeneratedSet:
    """Pictures of a generator: the captions of `split` in a random order, each once before any comes again, each picture with noise of its
    own. `count` defaults to one picture a caption, at most 30,000. Raises UsageError when captions are needed and there is no cache.
    """
    import numpy as np

    from stackgan_cli.metrics.image_sets import GeneratedSet
    from stackgan_cli.runtime import key_seed
    from stackgan_cli.sampling import render

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
            raise UsageError("the captions of a prepared dataset are needed", hint="name one with --cache")
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
        raise UsageError(f"these weights make no pictures of {side} px", where="--scale", hint=f"one of {', '.join(map(str, sides))}")
    chosen_side = side or sides[-1]

    def generate(indices: np.ndarray) -> np.ndarray:
        import torch

        text = None if inputs is None else torch.from_numpy(np.ascontiguousarray(inputs[indices])).to(device)
        seeds = [key_seed("evaluate", seed, int(index)) for index in indices]
        return render(sampler.generator, text, seeds, device=device)[chosen_side]

    facts["image_side"] = chosen_side
    return GeneratedSet(
        generate, count, chosen_side, class_ids=class_ids, captions=captions, label_names=sampler.weights.classes, description=facts
    )


def _vectors(sampler: Sampler, cache: Cache, chosen: np.ndarray, captions: list[str]) -> np.ndarray:
    """Vectors of the captions by the sampler's own encoder: those stored beside the cache where they are there."""
    import numpy as np

    from stackgan_cli.training.inputs import vectors_of

    assert sampler.encoder is not None
    for vectors in vectors_of(cache):
        if vectors.encoder_hash == sampler.encoder.hash:
            return np.asarray(vectors.vectors[chosen])
    return sampler.encoder.encode(captions, device=sampler.device)
