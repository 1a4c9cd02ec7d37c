"""Mismatched pairs inside a batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_feed import fake_cache, make_feed

from stackgan_cli.data.batch import Needs
from stackgan_cli.data.feed import Conditions, mismatched_order


@pytest.mark.parametrize("seed", range(20))
def test_a_permutation_to_other_classes(seed: int) -> None:
    random = np.random.default_rng(seed)
    size = int(random.integers(2, 40))
    class_ids = random.integers(0, random.integers(2, 12), size)
    order = mismatched_order(class_ids, random)
    assert sorted(order) == list(range(size))
    if np.bincount(class_ids).max() <= size / 2:
        assert (class_ids[order] != class_ids).all()


def test_of_one_class_it_is_still_a_permutation() -> None:
    assert sorted(mismatched_order(np.zeros(5, int), np.random.default_rng(0))) == list(range(5))


@pytest.mark.parametrize("wrong", ["text", "image"])
def test_of_many_candidates_the_nearest_of_another_class_is_taken(wrong: str) -> None:
    cache = fake_cache(60, classes=12)
    offsets = cache.caption_offsets
    place = np.repeat(cache.class_ids, np.diff(offsets)).astype(np.float32)  # the embedding of class k is k on a line
    vectors = np.stack([place, np.zeros_like(place)], 1)

    def gap(candidates: int) -> float:
        needs = Needs(images=(32,), text=True, wrong=wrong, wrong_candidates=candidates)  # type: ignore[arg-type]
        feed = make_feed(cache, needs=needs, conditions=Conditions(vectors), flip=False, random_crop=False)
        gaps = []
        for step in range(20):
            batch = feed.batch(step)
            halves = [feed.batch(step, 0, part, 2) for part in range(2)]
            if wrong == "text":
                assert batch.wrong_text is not None and batch.text is not None
                assert torch.equal(batch.wrong_text, torch.cat([half.wrong_text for half in halves]))
                gaps.append((batch.wrong_text - batch.text).abs().max(1).values)
            else:
                assert torch.equal(batch.wrong_images[32], torch.cat([half.wrong_images[32] for half in halves]))
                assert feed.store is not None
                shown = feed.store.centres(np.arange(len(feed))).flatten(1)
                found = torch.cdist(batch.wrong_images[32].flatten(1), shown).argmin(1).numpy()
                gaps.append(torch.from_numpy(np.abs(feed.class_ids[found] - batch.class_ids.numpy())))  # type: ignore[union-attr]
        every = torch.cat(gaps).float()
        assert (every > 0).all()
        return float(every.mean())

    assert gap(100) <= 1.05 < 2 < gap(1)
