"""Puts a human study together: texts of a dataset's test split, each model's pictures of them, real images, the page and the key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stackgan_cli.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from stackgan_cli.cli.ui import Session
    from stackgan_cli.data.cache import Cache
    from stackgan_cli.metrics.rank_study import Question, Study
    from stackgan_cli.sampling import Sampler


def make_study(
    session: Session,
    models: Mapping[str, Path],
    *,
    kind: Literal["rank", "real"],
    cache_name: str,
    per_class: int,
    count: int,
    images: int,
    kind_of_file: Literal["png", "jpeg"],
    seed: int,
    device: str,
) -> tuple[Study, str]:
    """The key and the page of a study of weights files by name. Raises UsageError for models that cannot be compared."""
    from stackgan_cli.data.cache import Cache
    from stackgan_cli.metrics.rank_study import MOST_MODELS, Study, plan
    from stackgan_cli.runtime import pick_device
    from stackgan_cli.sampling import Sampler
    from stackgan_cli.viz.pages import image_uri
    from stackgan_cli.viz.rank_page import rank_page

    if kind == "rank" and not 2 <= len(models) <= MOST_MODELS:
        raise UsageError(
            f"a study ranks 2 to {MOST_MODELS} different models, not {len(models)}",
            hint="name more runs or weights files, or compare one with real images by --real",
        )
    samplers = {name: Sampler.load(path, pick_device(device)) for name, path in models.items()}
    first = next(iter(samplers.values()))
    cache = Cache.open(session.workspace.cache_path(cache_name or first.weights.config.data.cache))
    if kind == "real" and count < len(models):
        raise UsageError(f"{count} questions do not reach all {len(models)} models", where="--questions", hint="a question asks about one")
    questions = plan(kind, list(models), _prompts(samplers, cache, per_class, count, seed), images=images, seed=seed)
    pictures = _drawn(session, samplers, questions, cache)
    digest = hashlib.blake2b(digest_size=5)
    shown: list[dict[str, Any]] = []
    for question in questions:
        options = [[image_uri(image, kind_of_file, quality=95) for image in pictures[question.id][name]] for name in question.options]
        shown.append({"id": question.id, "prompt": question.prompt if kind == "rank" else None, "options": options})
        digest.update(repr(shown[-1]).encode())
    about = {
        "seed": seed,
        "cache": cache.path.stem,
        "cache_identity": cache.identity,
        "images": images,
        "pictures": kind_of_file,
        "weights": {name: {"path": str(sampler.weights.path), "step": sampler.weights.step} for name, sampler in samplers.items()},
    }
    study = Study(digest.hexdigest(), kind, tuple(models), questions, about)
    return study, rank_page(study.id, kind, shown)


def _prompts(samplers: Mapping[str, Sampler], cache: Cache, per_class: int, count: int, seed: int) -> list[tuple[str | None, int | None]]:
    """(text, row of the image it belongs to) of each question; without a text for models that read none."""
    import numpy as np

    from stackgan_cli.metrics.rank_study import pick_captions

    read = {name: sampler.encoder is not None for name, sampler in samplers.items()}
    if len(set(read.values())) > 1:
        deaf = next(name for name, reads in read.items() if not reads)
        raise UsageError(f"{deaf} takes no captions, and other models do: they cannot draw the same texts")
    rows = cache.rows("test")
    rows = rows if len(rows) else cache.rows("all")
    if not all(read.values()):
        order = np.random.default_rng(seed).permutation(rows)
        return [(None, int(row)) for row in order[:count]]
    pairs = pick_captions(cache.class_ids, cache.caption_offsets, rows, per_class=per_class, count=count, seed=seed)
    return [(cache.captions[caption], row) for row, caption in pairs]


def _drawn(
    session: Session, samplers: Mapping[str, Sampler], questions: tuple[Question, ...], cache: Cache
) -> dict[str, dict[str, np.ndarray]]:
    """Pictures uint8 (images, side, side, 3) of each question and who stands in it."""
    import numpy as np

    from stackgan_cli.data.stores import centre_views
    from stackgan_cli.metrics.rank_study import REAL

    pictures: dict[str, dict[str, np.ndarray]] = {question.id: {} for question in questions}
    for name, sampler in samplers.items():
        mine = [question for question in questions if name in question.options]
        seeds = [seed for question in mine for seed in question.seeds]
        texts = [question.prompt or "" for question in mine for _ in question.seeds]
        labels = None if sampler.num_classes is None else [seed % sampler.num_classes for seed in seeds]
        session.say(f"{name}: {len(seeds):,} pictures")
        by_side = sampler.sample(texts if sampler.encoder is not None else None, seeds, labels=labels)
        side = max(by_side)
        for question, images in zip(mine, np.split(by_side[side], len(mine)), strict=True):
            pictures[question.id][name] = images
            if REAL in question.options:
                pictures[question.id][REAL] = centre_views(cache, np.array([question.row]), side)
    return pictures
