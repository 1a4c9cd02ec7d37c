"""`rank-study`: a page that asks people which model's images are best, or which image is real; and the evaluation of answers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from stackgan_cli.data.cache import Cache
from stackgan_cli.data.stores import centre_views
from stackgan_cli.errors import UsageError
from stackgan_cli.files import write_json, write_text
from stackgan_cli.metrics.rank_study import MOST_MODELS, REAL, Question, Study, pick_captions, plan, read_answers, score
from stackgan_cli.runtime import pick_device
from stackgan_cli.sampling import Sampler
from stackgan_cli.viz.pages import image_uri
from stackgan_cli.viz.rank_page import rank_page
from stackgan_cli.workflows.reporter import SILENT, Reporter
from stackgan_cli.workspace import Workspace

LARGE = 40e6
"""Size in bytes above which the user is warned."""


def make_rank_study(
    models: Sequence[str],
    *,
    real: bool = False,
    captions_per_class: int = 50,
    questions: int = 50,
    images: int | None = None,
    cache: str = "",
    jpeg: bool = False,
    seed: int = 0,
    output: Path | None = None,
    workspace: Workspace | None = None,
    device: str = "auto",
    reporter: Reporter = SILENT,
) -> dict[str, Any]:
    """Write a self-contained page with the questions, and a key that says which model made which image; returns facts about both.

    `models` are runs or weights files, whose images of the same texts are ranked; with `real`, each is shown beside a real image instead.
    """
    workspace = workspace or Workspace.locate()
    if real and images is not None:
        raise UsageError("--real shows one image of each kind", where="--images", hint="leave it out")
    study, html = make_study(
        {name: workspace.weights(name).path for name in models},
        workspace,
        reporter,
        kind="real" if real else "rank",
        cache_name=cache,
        per_class=captions_per_class,
        count=questions,
        images=1 if real else images or 5,
        kind_of_file="jpeg" if jpeg else "png",
        seed=seed,
        device=device,
    )
    folder = output or workspace.new_folder("rank-studies")
    write_text(folder / "study.html", html)
    write_json(folder / "key.json", study.to_json())
    if len(html) > LARGE:
        reporter.warn(f"the page is {len(html) / 1e6:.0f} MB large; --jpeg, fewer --questions or fewer --images make it smaller")
    facts: dict[str, Any] = {"study": study.id, "kind": study.kind, "questions": len(study.questions), "models": list(study.models)}
    return facts | {"page": str(folder / "study.html"), "key": str(folder / "key.json"), "bytes": len(html)}


def score_rank_study(answers: Sequence[Path], key: Path, *, seed: int = 0) -> dict[str, Any]:
    """Evaluate answers saved by the page: mean ranks with 95% intervals and agreement, or how often images were taken for real."""
    study = Study.read(key)
    return {"kind": study.kind, "of_questions": len(study.questions), **score(study, read_answers(answers, study), seed=seed)}


def make_study(
    models: Mapping[str, Path],
    workspace: Workspace,
    reporter: Reporter,
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
    """The key and the page of a study of weights files, given by name. Raises UsageError for models that cannot be compared."""
    if kind == "rank" and not 2 <= len(models) <= MOST_MODELS:
        raise UsageError(
            f"a study ranks 2 to {MOST_MODELS} different models, not {len(models)}",
            hint="name more runs or weights files, or compare one with real images using --real",
        )
    samplers = {name: Sampler.load(path, pick_device(device)) for name, path in models.items()}
    first = next(iter(samplers.values()))
    cache = workspace.open_cache(cache_name or first.weights.config.data.cache)
    if kind == "real" and count < len(models):
        raise UsageError(
            f"{count} questions are too few for {len(models)} models", where="--questions", hint="each question is about one model"
        )
    questions = plan(kind, list(models), _prompts(samplers, cache, per_class, count, seed), images=images, seed=seed)
    pictures = _generated(samplers, questions, cache, reporter)
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
    """(text, row of its image) for each question; the text is None for models that take no captions."""
    read = {name: sampler.encoder is not None for name, sampler in samplers.items()}
    if len(set(read.values())) > 1:
        deaf = next(name for name, reads in read.items() if not reads)
        raise UsageError(f"{deaf} takes no captions, but other models do, so they cannot be compared on the same captions")
    rows = cache.rows("test")
    rows = rows if len(rows) else cache.rows("all")
    if not all(read.values()):
        order = np.random.default_rng(seed).permutation(rows)
        return [(None, int(row)) for row in order[:count]]
    pairs = pick_captions(cache.class_ids, cache.caption_offsets, rows, per_class=per_class, count=count, seed=seed)
    return [(cache.captions[caption], row) for row, caption in pairs]


def _generated(
    samplers: Mapping[str, Sampler], questions: tuple[Question, ...], cache: Cache, reporter: Reporter
) -> dict[str, dict[str, np.ndarray]]:
    """Images uint8 (images, side, side, 3) by question and model."""
    pictures: dict[str, dict[str, np.ndarray]] = {question.id: {} for question in questions}
    for name, sampler in samplers.items():
        mine = [question for question in questions if name in question.options]
        seeds = [seed for question in mine for seed in question.seeds]
        texts = [question.prompt or "" for question in mine for _ in question.seeds]
        labels = None if sampler.num_classes is None else [seed % sampler.num_classes for seed in seeds]
        reporter.say(f"{name}: generating {len(seeds):,} images")
        by_side = sampler.sample(texts if sampler.encoder is not None else None, seeds, labels=labels)
        side = max(by_side)
        for question, images in zip(mine, np.split(by_side[side], len(mine)), strict=True):
            pictures[question.id][name] = images
            if REAL in question.options:
                pictures[question.id][REAL] = centre_views(cache, np.array([question.row]), side)
    return pictures
