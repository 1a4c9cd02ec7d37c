"""Prefetched batches are the requested ones, in any order, and an error in making one is raised to the caller."""

from __future__ import annotations

import pytest
import torch

from stackgan_cli.data.batch import Batch
from stackgan_cli.data.feed import Feed
from stackgan_cli.data.prefetch import Prefetcher


class Asked(Feed):
    """Records the requests; step 9 fails."""

    def __init__(self) -> None:
        self.device, self.keys = torch.device("cpu"), []  # type: ignore[assignment]

    def batch(self, step: int, batch: int = 0, part: int = 0, parts: int = 1) -> Batch:
        if step == 9:
            raise OSError("the disk is gone")
        self.keys.append((step, batch, part, parts))  # type: ignore[attr-defined]
        return Batch(images={step: None})  # type: ignore[dict-item]


def test_batches_are_those_asked_for() -> None:
    feed = Asked()
    ahead = Prefetcher(feed)
    for step in (0, 1, 2, 6, 7, 3):
        for number in (0, 1):
            assert list(ahead.batch(step, number, 0, 1).images) == [step]
    ahead._thread.shutdown()
    assert len(feed.keys) == len(set(feed.keys)) + 2  # type: ignore[attr-defined]  # step 3, which was made ahead and dropped


def test_a_fault_reaches_who_asks() -> None:
    ahead = Prefetcher(Asked())
    ahead.batch(8, 0, 0, 1)
    with pytest.raises(OSError, match="the disk is gone"):
        ahead.batch(9, 0, 0, 1)
