"""What a text encoder has learned: zero-shot classification and retrieval on the held-out classes, at the end of its training."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from stackgan_cli.objectives.retrieval import RetrievalObjective
    from stackgan_cli.training.setup import Job

BATCH = 128


def zero_shot_scores(job: Job) -> dict[str, float]:
    """`top1` and `ap@50` on the test split with all of its captions; nothing when the cache has no held-out classes.

    The scores are also a line of the run's `metrics.jsonl`.
    """
    import numpy as np
    import torch

    from stackgan_cli.data.feed import Feed
    from stackgan_cli.models.image_encoders import StoredFeatures
    from stackgan_cli.objectives.retrieval import zero_shot
    from stackgan_cli.text.encode import encode_captions

    cache, config, device = job.cache, job.run.config, job.trainer.device
    rows = cache.rows("test")
    if not len(rows) or (cache.class_ids[rows] < 0).any():
        return {}
    objective = cast("RetrievalObjective", job.trainer.objective)
    text_encoder, image_encoder = objective.text_encoder.eval(), objective.image_encoder.eval()
    model = objective.config
    images: list[np.ndarray] = []
    with torch.inference_mode():
        if isinstance(image_encoder, StoredFeatures):
            images.append(image_encoder(torch.from_numpy(rows).to(device)).float().cpu().numpy())
        else:
            feed = Feed(cache, objective.needs, batch_size=BATCH, split="test", residency=config.data.residency, device=device)
            for start in range(0, len(rows), BATCH):
                batch = feed.images(np.arange(start, min(start + BATCH, len(rows))))[model.image_resolution]
                images.append(image_encoder(batch).float().cpu().numpy())
    offsets = cache.caption_offsets
    captions = [cache.captions[index] for row in rows for index in range(offsets[row], offsets[row + 1])]
    caption_class = np.repeat(cache.class_ids[rows], np.diff(offsets)[rows])
    texts = encode_captions(text_encoder, captions, lowercase=model.lowercase, unknown=model.unknown, device=device)
    scores = zero_shot(texts, np.concatenate(images), caption_class, cache.class_ids[rows])
    line = {"metric": "zero-shot", "step": job.trainer.step, "split": "test", "classes": len(np.unique(caption_class)), **scores}
    with (job.run.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
    return scores
