"""What a trained network that measures or encodes has learned, measured at the end of its run on images it was not trained on.

Text encoders: zero-shot classification of the held-out classes. Classifiers: accuracy on held-out images. Visual-semantic similarities: how
well matching pairs of the test split are distinguished from mismatched ones. Generators have no such score; `table.py` measures them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from stackgan_cli.data.cache import Cache
from stackgan_cli.data.caption_vectors import CaptionVectors
from stackgan_cli.data.labels import Labels
from stackgan_cli.data.stores import ImageStore
from stackgan_cli.models.image_encoders import StoredFeatures
from stackgan_cli.models.similarity import VSSimilarity
from stackgan_cli.objectives.retrieval import zero_shot
from stackgan_cli.objectives.similarity import ranking_scores
from stackgan_cli.text.encoding import encode_captions

if TYPE_CHECKING:
    from stackgan_cli.config.archs import CharCNNRNN as CharCNNRNNConfig
    from stackgan_cli.config.archs import Classifier as ClassifierConfig
    from stackgan_cli.config.archs import VSSimilarity as VSSimilarityConfig
    from stackgan_cli.config.schema import RunConfig

BATCH = 128


@dataclass(frozen=True)
class Trained:
    """The networks of a finished run, by name (averaged ones where they are kept), and the data that it was trained on."""

    config: RunConfig
    networks: Mapping[str, nn.Module]
    cache: Cache
    device: torch.device
    labels: Labels | None = None
    """For a classifier."""
    caption_vectors: CaptionVectors | None = None
    """For a network that takes text embeddings."""


def final_score(name: str, trained: Trained) -> dict[str, Any]:
    """The score `name` of FINAL_SCORES as a line of `metrics.jsonl`; empty when there are no images to measure it on.

    Puts the networks into evaluation mode.
    """
    for network in trained.networks.values():
        network.eval()
    with torch.inference_mode():
        found = FINAL_SCORES[name](trained)
    return {"metric": name, **found} if found else {}


def zero_shot_scores(trained: Trained) -> dict[str, Any]:
    """`top1` and `ap@50` of a text encoder on the test split, with all of its captions. Empty if the split lacks images or classes."""
    cache, device = trained.cache, trained.device
    rows = cache.rows("test")
    if not len(rows) or (cache.class_ids[rows] < 0).any():
        return {}
    model = cast("CharCNNRNNConfig", trained.config.model)
    text_encoder, image_encoder = trained.networks["text_encoder"], trained.networks["image_encoder"]
    if isinstance(image_encoder, StoredFeatures):
        images = image_encoder(torch.from_numpy(rows).to(device)).float().cpu().numpy()
    else:
        images = _concatenated(image_encoder(batch) for batch in _images(trained, rows, model.image_resolution))
    offsets = cache.caption_offsets
    captions = [cache.captions[index] for row in rows for index in range(offsets[row], offsets[row + 1])]
    caption_class = np.repeat(cache.class_ids[rows], np.diff(offsets)[rows])
    texts = encode_captions(text_encoder, captions, lowercase=model.lowercase, unknown=model.unknown, device=device)
    scores = zero_shot(texts, images, caption_class, cache.class_ids[rows])
    return {"split": "test", "classes": len(np.unique(caption_class)), **scores}


def held_out_accuracy(trained: Trained) -> dict[str, Any]:
    """The share of the held-out images to which a classifier gives the right label. Empty if none are held out."""
    labels = trained.labels
    if labels is None or not len(labels.held_out):
        return {}
    classifier, side = trained.networks["classifier"], cast("ClassifierConfig", trained.config.model).resolution
    logits = _concatenated(classifier(batch) for batch in _images(trained, labels.held_out, side))
    right = logits.argmax(1) == labels.ids[labels.held_out]
    return {"split": labels.held_split, "held_out": len(right), "classes": len(labels.names), "accuracy": float(right.mean())}


def similarity_scores(trained: Trained) -> dict[str, Any]:
    """Mean similarity of matching and mismatched pairs, and `top1` among 100 captions, for the test images and their first captions.

    Empty if the test split has fewer than two classes.
    """
    cache = trained.cache
    rows = cache.rows("test")
    if len(np.unique(cache.class_ids[rows])) < 2:
        return {}
    network, side = cast(VSSimilarity, trained.networks["similarity"]), cast("VSSimilarityConfig", trained.config.model).resolution
    assert trained.caption_vectors is not None
    texts = torch.from_numpy(np.asarray(trained.caption_vectors.vectors[cache.caption_offsets[rows]])).to(trained.device)
    images = _concatenated(network.image_vectors(batch) for batch in _images(trained, rows, side))
    scores = ranking_scores(images, network.text_vectors(texts).cpu().numpy(), cache.class_ids[rows])
    return {"split": "test", "images": len(rows), **scores}


FINAL_SCORES: dict[str, Callable[[Trained], dict[str, Any]]] = {
    "zero-shot": zero_shot_scores,
    "accuracy": held_out_accuracy,
    "vs-ranking": similarity_scores,
}
"""By the name that an architecture's registry row gives as its final score."""


def _images(trained: Trained, rows: np.ndarray, side: int) -> Iterator[Tensor]:
    """The center crops (B, 3, side, side) in [-1, 1] of images of the cache, in batches on the device."""
    store = ImageStore(trained.cache, rows, side, whole=trained.config.data.whole, device=trained.device)
    for start in range(0, len(rows), BATCH):
        yield store.centres(np.arange(start, min(start + BATCH, len(rows))))


def _concatenated(parts: Iterator[Tensor]) -> np.ndarray:
    return np.concatenate([part.float().cpu().numpy() for part in parts])
