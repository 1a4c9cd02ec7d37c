"""One pass over a set of images, and what is collected during it.

Moments are added up in float64, so memory does not grow with the number of images. Feature vectors, logits or the images themselves are
kept only for metrics that compare single images. Under torchrun, each rank reads every `world.size`-th image, and the parts are put
together in the order of the set.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import torch

from stackgan_cli.encoders.extractor import Extracted, Extractor
from stackgan_cli.encoders.resize import resize
from stackgan_cli.metrics.image_sets import ImageSet
from stackgan_cli.metrics.scores import Moments
from stackgan_cli.runtime import World

Images = list[np.ndarray] | np.ndarray
"""uint8 images (H, W, 3) in a list, or (N, S, S, 3) in one array."""

WAITING = 256
"""Number of images whose features wait on the device before they are added up: each addition updates the whole scatter matrix (32 MiB for
2048 dimensions) and makes a GPU wait."""


class Collector(Protocol):
    """Something that is shown every image of a pass."""

    def begin(self, indices: np.ndarray) -> None:
        """Announces the indices, ascending, of the images that this process will be shown."""
        ...

    def add(self, indices: np.ndarray, images: Images) -> None: ...

    def gather(self, world: World) -> None:
        """Combine what the processes have collected, on the first one."""
        ...


def stream(
    images: ImageSet,
    collectors: Sequence[Collector],
    *,
    batch_size: int = 64,
    world: World | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Show all images to all collectors, batch by batch. The next batch is read in the meantime."""
    world = world or World()
    mine = np.arange(world.rank, len(images), world.size)
    batches = [mine[start : start + batch_size] for start in range(0, len(mine), batch_size)]
    done = 0
    progress(done, len(images))
    for collector in collectors:
        collector.begin(mine)
    with ThreadPoolExecutor(1) as reader:
        waiting = reader.submit(images.read, batches[0]) if batches else None
        for number, batch in enumerate(batches):
            assert waiting is not None
            found = waiting.result()
            waiting = reader.submit(images.read, batches[number + 1]) if number + 1 < len(batches) else None
            for collector in collectors:
                collector.add(batch, found)
            done += len(batch)
            progress(min(done * world.size, len(images)), len(images))
    for collector in collectors:
        collector.gather(world)


def by_size(images: Images) -> list[tuple[np.ndarray, torch.Tensor]]:
    """Images grouped by size: the positions (n,) of each group and its images, uint8 (n, 3, H, W)."""
    if isinstance(images, np.ndarray):
        return [(np.arange(len(images)), torch.from_numpy(images).permute(0, 3, 1, 2))]
    sizes = [image.shape[:2] for image in images]
    groups = []
    for size in dict.fromkeys(sizes):
        places = np.array([i for i, other in enumerate(sizes) if other == size])
        groups.append((places, torch.from_numpy(np.stack([images[i] for i in places])).permute(0, 3, 1, 2)))
    return groups


class _Rows:
    """An array whose rows arrive in parts, in any order. It is allocated once at full size, so that each row is in memory only once."""

    def __init__(self) -> None:
        self._indices = np.empty(0, np.int64)
        self._rows: np.ndarray | None = None

    def begin(self, indices: np.ndarray) -> None:
        """Expect rows with these indices, which are ascending."""
        self._indices, self._rows = indices, None

    def add(self, indices: np.ndarray, rows: np.ndarray) -> None:
        if self._rows is None:
            self._rows = np.empty((len(self._indices), *rows.shape[1:]), rows.dtype)
        self._rows[np.searchsorted(self._indices, indices)] = rows

    def gather(self, world: World) -> None:
        parts = [part for part in world.gather((self._indices, self._rows)) or [] if part[1] is not None]
        if len(parts) > 1:
            self.begin(np.sort(np.concatenate([indices for indices, _ in parts])))
            for indices, rows in parts:
                self.add(indices, rows)

    @property
    def array(self) -> np.ndarray:
        """All rows in the order of their indices."""
        assert self._rows is not None
        return self._rows


class FeatureCollector:
    """Output of an extractor: moments (float64) always, feature vectors and log-probabilities (float32) on request.

    `side` is the side to which every image is resized first (64 for the papers' FID* and IS*), or None.
    """

    def __init__(self, extractor: Extractor, *, side: int | None = None, features: bool = False, logits: bool = False) -> None:
        self.extractor, self.side = extractor, side
        self.moments: Moments | None = None
        self._features = _Rows() if features else None
        self._logits = _Rows() if logits else None
        self._waiting: list[tuple[np.ndarray, Extracted]] = []

    def begin(self, indices: np.ndarray) -> None:
        for rows in (self._features, self._logits):
            if rows is not None:
                rows.begin(indices)

    def add(self, indices: np.ndarray, images: Images) -> None:
        for places, tensor in by_size(images):
            if self.side is not None:
                tensor = resize(tensor, self.side, "pil-bilinear").byte()
            self._waiting.append((indices[places], self.extractor(tensor)))
        if sum(len(part) for part, _ in self._waiting) >= WAITING:
            self._flush()

    def _flush(self) -> None:
        if not self._waiting:
            return
        indices = np.concatenate([part for part, _ in self._waiting])
        features = torch.cat([found.features for _, found in self._waiting]).cpu().numpy()
        log_probabilities = [found.log_probabilities for _, found in self._waiting if found.log_probabilities is not None]
        self._waiting = []
        if self.moments is None:
            self.moments = Moments(features.shape[1])
        self.moments.add(features)
        if self._features is not None:
            self._features.add(indices, features)
        if self._logits is not None and log_probabilities:
            self._logits.add(indices, torch.cat(log_probabilities).cpu().numpy())

    def gather(self, world: World) -> None:
        self._flush()
        parts = [part for part in world.gather(self.moments) or [] if part is not None]
        if parts:
            self.moments = parts[0]
            for part in parts[1:]:
                self.moments.merge(part)
        for rows in (self._features, self._logits):
            if rows is not None:
                rows.gather(world)

    @property
    def features(self) -> np.ndarray:
        assert self._features is not None
        return self._features.array

    @property
    def logits(self) -> np.ndarray:
        assert self._logits is not None
        return self._logits.array


class VectorCollector:
    """One vector per image, computed by `function(uint8 (N, S, S, 3)) -> (N, D)`."""

    def __init__(self, function: Callable[[np.ndarray], np.ndarray]) -> None:
        self.function, self._rows = function, _Rows()

    def begin(self, indices: np.ndarray) -> None:
        self._rows.begin(indices)

    def add(self, indices: np.ndarray, images: Images) -> None:
        self._rows.add(indices, self.function(np.asarray(images)))

    def gather(self, world: World) -> None:
        self._rows.gather(world)

    @property
    def vectors(self) -> np.ndarray:
        return self._rows.array


class ImageCollector:
    """The images at some indices, which must all have the same size, unchanged."""

    def __init__(self, indices: np.ndarray) -> None:
        self.indices, self._rows = np.sort(indices), _Rows()

    def begin(self, indices: np.ndarray) -> None:
        self._rows.begin(np.intersect1d(indices, self.indices))

    def add(self, indices: np.ndarray, images: Images) -> None:
        places = np.flatnonzero(np.isin(indices, self.indices))
        if len(places):
            self._rows.add(indices[places], np.stack([images[i] for i in places]))

    def gather(self, world: World) -> None:
        self._rows.gather(world)

    @property
    def images(self) -> np.ndarray:
        """uint8 (len(indices), S, S, 3), in ascending order of index."""
        return self._rows.array


def pick_per_class(class_ids: np.ndarray | None, count: int, *, per_class: int, total: int, seed: int) -> np.ndarray:
    """Indices, ascending, of at most `total` images chosen at random by the seed, at most `per_class` of each class."""
    random = np.random.default_rng(seed)
    order = random.permutation(count)
    if class_ids is not None:
        kept: list[Any] = []
        seen: dict[int, int] = {}
        for index in order:
            label = int(class_ids[index])
            if seen.get(label, 0) < per_class:
                seen[label] = seen.get(label, 0) + 1
                kept.append(index)
        order = np.array(kept)
        if len(order) > total:  # keep whole classes: a class with one image has no pairs
            labels = np.array([class_ids[index] for index in order])
            chosen = random.permutation(np.unique(labels))[: max(1, total // per_class)]
            order = order[np.isin(labels, chosen)]
    return np.sort(order[:total])
