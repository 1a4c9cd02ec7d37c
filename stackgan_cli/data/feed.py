"""Training batches from a cache: the choice of images, captions and mismatched partners, keyed by the step.

All random numbers are drawn for the whole global batch from a generator keyed by (seed, step, batch), and each part of it (a rank,
or a slice under gradient accumulation) takes its items. So a batch depends neither on how it is split nor on where the images are
stored, and resuming needs no sampler state. An epoch is a permutation of the images, which successive batches traverse in order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

from stackgan_cli.config.schema import DataConfig
from stackgan_cli.data.batch import Batch, Needs
from stackgan_cli.data.cache import Cache
from stackgan_cli.data.pixels import to_pyramid
from stackgan_cli.data.stores import ImageStore, Windows, send
from stackgan_cli.errors import DataError
from stackgan_cli.runtime import key_seed

EPOCHS_KEPT = 3
"""Orders kept in memory: this epoch's, the next one's at the boundary, and the first one's, which averaged weights are calibrated on."""


class EpochOrder:
    """The order of `count` images in every epoch: an endless sequence of permutations, keyed by the seed."""

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed
        self._kept = lru_cache(EPOCHS_KEPT)(self._permutation)  # the prefetcher's thread also makes batches: lru_cache is thread-safe

    def _permutation(self, epoch: int) -> np.ndarray:
        """(count,) int32, which halves the memory. The 0 in the key stands for the batch number, because all batches share the order."""
        return np.random.default_rng(key_seed(self.seed, "epoch", epoch, 0)).permutation(self.count).astype(np.int32)

    def take(self, start: int, stop: int) -> np.ndarray:
        """Items `start` to `stop` of the sequence, (stop - start,) int64 below `count`."""
        epochs = range(start // self.count, (stop - 1) // self.count + 1)
        firsts = [epoch * self.count for epoch in epochs]
        parts = [self._kept(epoch)[max(start - first, 0) : stop - first] for epoch, first in zip(epochs, firsts, strict=True)]
        return np.concatenate(parts).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Conditions:
    """Inputs and targets of a model other than pixels; each covers the whole cache, in its order."""

    vectors: np.ndarray | None = None
    """(M, T) float32: caption embeddings."""
    codes: np.ndarray | None = None
    """(M, 201) uint8: character codes of the captions."""
    labels: np.ndarray | None = None
    """(N,) int64: image labels."""


class Feed:
    """Makes training batches of the images in `data.split`, or of the given `rows` of the cache.

    `batch_size` is the global batch, over all ranks and accumulated parts. A step may ask for the batches 0 to `batches_per_step - 1`;
    the epoch skips those it does not ask for.
    Raises DataError when the cache is too small for `needs`, ConfigError when the residency is not possible.
    """

    def __init__(
        self,
        cache: Cache,
        needs: Needs,
        data: DataConfig,
        conditions: Conditions = Conditions(),
        *,
        batch_size: int,
        batches_per_step: int = 1,
        rows: np.ndarray | None = None,
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        self.needs, self.data, self.conditions, self.seed = needs, data, conditions, seed
        self.device = torch.device(device)
        self.rows = cache.rows(data.split) if rows is None else rows
        if not len(self.rows):
            raise DataError(f"no images in the {data.split!r} split", where=cache.path, hint="prepare the cache again")
        self.class_ids = cache.class_ids[self.rows]
        self.batch_size = min(batch_size, len(np.unique(self.class_ids))) if needs.distinct_classes else batch_size
        self.batches_per_step = batches_per_step
        self.order = EpochOrder(len(self.rows), seed)
        self._by_class = np.argsort(self.class_ids, kind="stable")
        self._classes, self._class_start, self._class_count = np.unique(
            self.class_ids[self._by_class], return_index=True, return_counts=True
        )
        if needs.wrong != "none" and len(self._classes) < 2:
            raise DataError("mismatched pairs need at least two classes in the split", where=cache.path, hint="use model.wrong_pairs=none")
        self._class_index = np.searchsorted(self._classes, self.class_ids)
        self._first_caption = cache.caption_offsets[self.rows]
        self._num_captions = np.diff(cache.caption_offsets)[self.rows]
        if (needs.text or needs.characters) and (self._num_captions == 0).any():
            if not cache.caption_offsets[-1]:
                raise DataError(
                    "has labels but no captions", where=cache.path, hint="train a label-conditional model on it, such as sgan-mnist"
                )
            raise DataError("some images have no caption", where=cache.path, hint="prepare the cache again with captions for all images")
        self.store: ImageStore | None = None
        if needs.images:
            side = max(needs.images)
            self.store = ImageStore(cache, self.rows, side, whole=data.whole, residency=data.residency, device=self.device)

    def __len__(self) -> int:
        """Images in the split."""
        return len(self.rows)

    # -- choosing items, as positions in `rows` --------------------------------------------------------------------------------

    def _positions(self, step: int, batch: int, random: np.random.Generator) -> np.ndarray:
        """Items of global batch `batch` of `step`, (batch_size,)."""
        if self.needs.distinct_classes:
            classes = random.permutation(len(self._classes))[: self.batch_size]
            within = (random.random(len(classes)) * self._class_count[classes]).astype(np.int64)
            return self._by_class[self._class_start[classes] + within]
        assert 0 <= batch < self.batches_per_step, f"batch {batch} of {self.batches_per_step} in a step"
        start = (step * self.batches_per_step + batch) * self.batch_size
        return self.order.take(start, start + self.batch_size)

    def _other_class(self, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """For each position, one of another class, uniformly over all of those."""
        own = self._class_index[rows]
        start, count = self._class_start[own], self._class_count[own]
        pick = (random.random(len(rows)) * (len(self.rows) - count)).astype(np.int64)
        return self._by_class[np.where(pick >= start, pick + count, pick)]

    def _mismatched(self, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """For each position, one of another class: among the candidates, the one with the nearest text (the mean of all its captions)."""
        count = self.needs.wrong_candidates
        if count == 1:
            return self._other_class(rows, random)
        candidates = self._other_class(np.repeat(rows, count), random).reshape(len(rows), count)
        texts, squares = self._item_text
        products = np.matmul(texts[candidates], texts[rows][:, :, None])[..., 0]
        return np.asarray(candidates[np.arange(len(rows)), (squares[candidates] - 2 * products).argmin(1)])

    @cached_property
    def _item_text(self) -> tuple[np.ndarray, np.ndarray]:
        """(N, T) float32, the mean embedding of the captions of each item, and (N,), its squared norm."""
        vectors = self.conditions.vectors
        assert vectors is not None
        spans = zip(self._first_caption, self._num_captions, strict=True)
        texts = np.stack([np.asarray(vectors[first : first + count], np.float32).mean(0) for first, count in spans])
        return texts, np.square(texts).sum(1)

    def _captions_of(self, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Caption indices (B, k): k distinct captions per item (with repeats where an item has fewer)."""
        k = self.needs.captions_per_embedding
        if k == 1:
            return (self._first_caption[rows] + (random.random(len(rows)) * self._num_captions[rows]).astype(np.int64))[:, None]
        picks = [
            random.permutation(self._num_captions[row])[np.arange(k) % self._num_captions[row]] + self._first_caption[row] for row in rows
        ]
        return np.stack(picks)

    def _windows_of(self, positions: np.ndarray, random: np.random.Generator) -> Windows | None:
        draws = random.random((3, len(positions)))
        if self.store is None:
            return None
        slack = self.store.slack(positions)
        offsets = (draws[:2] * (slack + 1)).astype(np.int64) if self.data.random_crop else slack // 2
        flips = (draws[2] < 0.5).astype(np.int64) if self.data.flip else np.zeros(len(positions), np.int64)
        return Windows(positions, offsets[0], offsets[1], flips)

    # -- batches ------------------------------------------------------------------------------------------------------------

    def batch(self, step: int, batch: int = 0, part: int = 0, parts: int = 1) -> Batch:
        """Part `part` of `parts` of global batch `batch` of `step`, on the device."""
        random = np.random.default_rng(key_seed(self.seed, "feed", step, batch))
        items, given = self._positions(step, batch, random), self.conditions
        size = len(items) // parts
        mine = slice(part * size, (part + 1) * size)

        def images_of(positions: np.ndarray) -> dict[int, Tensor]:
            windows = self._windows_of(positions, random)
            if windows is None or self.store is None:
                return {}
            return to_pyramid(self.store.read(windows[mine]), self.needs.images)

        out = Batch(images=images_of(items), rows=self._send(self.rows[items[mine]]), class_ids=self._send(self.class_ids[items[mine]]))
        captions = self._captions_of(items, random)
        if self.needs.text:
            out.text = self._send(self._vectors_of(captions[mine]))
        if self.needs.characters:
            assert given.codes is not None
            out.characters = self._send(given.codes[captions[mine, 0]])
        if self.needs.labels:
            assert given.labels is not None
            out.labels = self._send(given.labels[self.rows[items[mine]]])
        if self.needs.wrong == "batch":
            out.wrong_order = self._send(mismatched_order(self.class_ids[items[mine]], random))
        elif self.needs.wrong != "none":
            wrong = self._mismatched(items, random)
            if self.needs.wrong == "image":
                out.wrong_images = images_of(wrong)
            else:
                out.wrong_text = self._send(self._vectors_of(self._captions_of(wrong, random)[mine]))
        return out

    def _vectors_of(self, captions: np.ndarray) -> np.ndarray:
        """(B, T) float32: the mean embedding of captions (B, k)."""
        assert self.conditions.vectors is not None
        vectors = np.asarray(self.conditions.vectors[captions.reshape(-1)], np.float32).reshape(*captions.shape, -1)
        return np.asarray(vectors[:, 0] if captions.shape[1] == 1 else vectors.mean(1))

    def _send(self, array: np.ndarray) -> Tensor:
        return send(array, self.device)


def mismatched_order(class_ids: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A permutation (B,) that pairs each item with one of another class, provided no class has more than half of the items.

    Items in random order are sorted by class and shifted by the size of the largest class. In a class with more than half of the
    items, some are paired with their own class.
    """
    shuffled = random.permutation(len(class_ids))
    by_class = shuffled[np.argsort(class_ids[shuffled], kind="stable")]
    largest = np.unique(class_ids, return_counts=True)[1].max()
    order = np.empty_like(by_class)
    order[by_class] = np.roll(by_class, -int(largest))
    return order
