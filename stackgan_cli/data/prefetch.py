"""Batches made one step ahead on a separate thread, so that a GPU does not wait for the host to choose captions and windows."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor

import torch

from stackgan_cli.data.batch import Batch
from stackgan_cli.data.feed import Feed

MOST_AHEAD = 8
"""Maximum number of batches made ahead; if a step has more, the others are made on request."""


class Prefetcher:
    """Returns the same batches as `feed.batch`; those requested in one step are made in advance for the next."""

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        on_gpu, index = feed.device.type == "cuda", feed.device.index
        device = torch.cuda.current_device() if on_gpu and index is None else index  # a thread starts with the first GPU
        self._thread = ThreadPoolExecutor(1, "feed", lambda: torch.cuda.set_device(device) if on_gpu else None)
        self._coming: dict[tuple[int, int, int, int], Future[Batch]] = {}

    def batch(self, step: int, batch: int, part: int, parts: int) -> Batch:
        found = self._ask(step, batch, part, parts)
        del self._coming[step, batch, part, parts]
        self._coming = {key: future for key, future in self._coming.items() if key[0] >= step}
        if len(self._coming) < MOST_AHEAD:
            self._ask(step + 1, batch, part, parts)
        return found.result()

    def _ask(self, *key: int) -> Future[Batch]:
        if key not in self._coming:
            self._coming[key] = self._thread.submit(self.feed.batch, *key)  # type: ignore[index]
        return self._coming[key]  # type: ignore[index]
