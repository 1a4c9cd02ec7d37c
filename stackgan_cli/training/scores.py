"""What a network that measures or encodes has learned, on images that it was not trained on: a line of `metrics.jsonl` at the end of a run.

Text encoders: zero-shot classification of the held-out classes. Classifiers: accuracy on the images of their split that were held out.
Visual-semantic similarities: how well the pairs of the test split are told from mismatched ones. Generators have no such score here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from stackgan_cli.data.stores import ImageStore
from stackgan_cli.models.classifier import Classifier
from stackgan_cli.models.image_encoders import StoredFeatures
from stackgan_cli.models.similarity import VSSimilarity
from stackgan_cli.objectives.retrieval import RetrievalObjective, zero_shot
from stackgan_cli.objectives.similarity import ranking_scores
from stackgan_cli.text.encoding import encode_captions
from stackgan_cli.training.job import Job

BATCH = 128


def final_scores(job: Job) -> dict[str, Any]:
    """The line for `metrics.jsonl` about a run that has just been finished; empty where there is nothing to measure it on."""
    score = SCORES.get(job.run.config.model.arch)
    with torch.inference_mode():
        found = score(job) if score is not None else {}
    return {**found, "step": job.trainer.step} if found else {}


def zero_shot_scores(job: Job) -> dict[str, Any]:
    """`top1` and `ap@50` of a text encoder on the test split, with all of its captions."""
    cache, device = job.cache, job.trainer.device
    rows = cache.rows("test")
    if not len(rows) or (cache.class_ids[rows] < 0).any():
        return {}
    objective = cast("RetrievalObjective", job.trainer.objective)
    text_encoder, image_encoder = objective.text_encoder.eval(), objective.image_encoder.eval()
    model = objective.config
    if isinstance(image_encoder, StoredFeatures):
        images = image_encoder(torch.from_numpy(rows).to(device)).float().cpu().numpy()
    else:
        images = _stacked(image_encoder(batch) for batch in _images(job, rows))
    offsets = cache.caption_offsets
    captions = [cache.captions[index] for row in rows for index in range(offsets[row], offsets[row + 1])]
    caption_class = np.repeat(cache.class_ids[rows], np.diff(offsets)[rows])
    texts = encode_captions(text_encoder, captions, lowercase=model.lowercase, unknown=model.unknown, device=device)
    scores = zero_shot(texts, images, caption_class, cache.class_ids[rows])
    return {"metric": "zero-shot", "split": "test", "classes": len(np.unique(caption_class)), **scores}


def held_out_accuracy(job: Job) -> dict[str, Any]:
    """Share of the images kept from training whose label a classifier (its average, where one is kept) finds."""
    labels = job.labels
    if labels is None or not len(labels.held_out):
        return {}
    classifier = cast("Classifier", job.trainer.sampling_module("classifier")).eval()
    logits = _stacked(classifier(batch) for batch in _images(job, labels.held_out))
    right = logits.argmax(1) == labels.ids[labels.held_out]
    return {
        "metric": "accuracy",
        "split": labels.held_split,
        "held_out": len(right),
        "classes": len(labels.names),
        "accuracy": float(right.mean()),
    }


def similarity_scores(job: Job) -> dict[str, Any]:
    """Means of matched and mismatched similarities, and `top1` among 100 texts, of the test images and the first caption of each."""
    cache = job.cache
    rows = cache.rows("test")
    if len(np.unique(cache.class_ids[rows])) < 2:
        return {}
    network = cast("VSSimilarity", job.trainer.objective.modules["similarity"]).eval()
    assert job.vectors is not None
    texts = torch.from_numpy(np.asarray(job.vectors.vectors[cache.caption_offsets[rows]])).to(job.trainer.device)
    images = _stacked(network.image_vectors(batch) for batch in _images(job, rows))
    scores = ranking_scores(images, network.text_vectors(texts).cpu().numpy(), cache.class_ids[rows])
    return {"metric": "vs-ranking", "split": "test", "images": len(rows), **scores}


SCORES: dict[str, Callable[[Job], dict[str, Any]]] = {
    "char-cnn-rnn": zero_shot_scores,
    "classifier": held_out_accuracy,
    "vs-similarity": similarity_scores,
}


def _images(job: Job, rows: np.ndarray) -> Iterator[Tensor]:
    """The centre crops (B, 3, S, S) of images of the cache, batch after batch, as the objective sees them."""
    side = max(job.trainer.objective.needs.images)
    store = ImageStore(job.cache, rows, side, whole=job.run.config.data.whole, device=job.trainer.device)
    for start in range(0, len(rows), BATCH):
        yield store.centres(np.arange(start, min(start + BATCH, len(rows))))


def _stacked(parts: Iterator[Tensor]) -> np.ndarray:
    return np.concatenate([part.float().cpu().numpy() for part in parts])
