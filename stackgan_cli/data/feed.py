"""Batches from a cache: step-keyed rows, captions and augmentation; images in GPU memory, host memory or the file.

Everything random is drawn for the whole global batch from a generator keyed by (seed, step, batch), and each part of it (a rank,
or a slice under gradient accumulation) takes its rows. So a batch depends neither on how it is split nor on where the images wait,
and resuming needs no sampler state. One epoch is one permutation of the split; each batch number of a step walks its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from stackgan_cli.data.batch import Batch, Needs
from stackgan_cli.data.cache import Cache
from stackgan_cli.errors import ConfigError, DataError
from stackgan_cli.runtime import key_seed

CROP, LOAD = 64, 76
"""Images are cropped from 64/76 of the loaded side, as all released StackGAN codes do (64 of 76, 256 of 304)."""


def load_size(resolution: int) -> int:
    """Side length that images are loaded at before a crop of `resolution` px is taken."""
    return resolution * LOAD // CROP


def reduce_images(images: np.ndarray, size: int) -> np.ndarray:
    """Area-average uint8 images (N, S, S, 3) to (N, size, size, 3) uint8; unchanged when they have that size already."""
    if images.shape[1] == size:
        return images
    out = np.empty((len(images), size, size, 3), np.uint8)
    for start in range(0, len(images), 64):
        chunk = torch.from_numpy(np.array(images[start : start + 64])).permute(0, 3, 1, 2).float()
        small = F.interpolate(chunk, size=(size, size), mode="area").round_().clamp_(0, 255).byte()
        out[start : start + 64] = small.permute(0, 2, 3, 1).numpy()
    return out


@dataclass(frozen=True)
class Crops:
    """Which window of which row: all (B,) int64; `flip` 0 or 1."""

    rows: np.ndarray
    top: np.ndarray
    left: np.ndarray
    flip: np.ndarray


class ImageStore(Protocol):
    """Images of a split at load size. `crops` gives uint8 (B, size, size, 3) on the training device."""

    def crops(self, crops: Crops, size: int) -> Tensor: ...


class KeptImages:
    """Images of their own aspect, one after the other in a flat array of bytes: host memory, the file, or GPU memory."""

    def __init__(self, pixels: np.ndarray, starts: np.ndarray, sizes: np.ndarray, device: torch.device, on_device: bool) -> None:
        self.pixels, self.starts, self.sizes, self.device = pixels, starts, sizes, device
        self.resident = torch.from_numpy(pixels).to(device) if on_device else None

    def crops(self, crops: Crops, size: int) -> Tensor:
        if self.resident is not None:
            return self._gathered(crops, size)
        out = np.empty((len(crops.rows), size, size, 3), np.uint8)
        for i, (row, top, left, flip) in enumerate(zip(crops.rows, crops.top, crops.left, crops.flip, strict=True)):
            height, width = self.sizes[row]
            image = self.pixels[self.starts[row] : self.starts[row] + height * width * 3].reshape(height, width, 3)
            window = image[top : top + size, left : left + size]
            out[i] = window[:, ::-1] if flip else window
        return send(out, self.device)

    def _gathered(self, crops: Crops, size: int) -> Tensor:
        assert self.resident is not None
        widths = self.sizes[crops.rows, 1].astype(np.int64)
        first = self.starts[crops.rows] + (crops.top * widths + crops.left) * 3
        first, stride, flip = send(np.stack([first, 3 * widths, crops.flip]), self.device)
        span = torch.arange(size, device=self.device)
        columns = torch.where(flip[:, None] == 1, size - 1 - span, span) * 3
        channels = torch.arange(3, device=self.device)
        index = first[:, None, None] + stride[:, None, None] * span[:, None] + columns[:, None, :]
        return self.resident[index[..., None] + channels]


class HostImages:
    """Rows of an array in memory or of a memmap; the crop is sliced image by image (on a CPU faster than one gather)."""

    def __init__(self, images: np.ndarray, rows: np.ndarray | None, load: int, device: torch.device) -> None:
        self.images, self.rows, self.load, self.device = images, rows, load, device

    def crops(self, crops: Crops, size: int) -> Tensor:
        out = np.empty((len(crops.rows), size, size, 3), np.uint8)
        for i, (row, top, left, flip) in enumerate(zip(crops.rows, crops.top, crops.left, crops.flip, strict=True)):
            image = self.images[row if self.rows is None else self.rows[row]]
            if image.shape[0] != self.load:
                image = reduce_images(image[None], self.load)[0]
            window = image[top : top + size, left : left + size]
            out[i] = window[:, ::-1] if flip else window
        return send(out, self.device)


class DeviceImages:
    """The whole split in GPU memory: one gather a batch."""

    def __init__(self, images: np.ndarray, device: torch.device) -> None:
        self.images = torch.from_numpy(images).to(device)

    def crops(self, crops: Crops, size: int) -> Tensor:
        device = self.images.device
        rows, top, left, flip = send(np.stack([crops.rows, crops.top, crops.left, crops.flip]), device)
        span = torch.arange(size, device=device)
        ys = top[:, None] + span
        xs = left[:, None] + torch.where(flip[:, None] == 1, size - 1 - span, span)
        return self.images[rows[:, None, None], ys[:, :, None], xs[:, None, :]]


def to_pyramid(crops: Tensor, sizes: tuple[int, ...]) -> dict[int, Tensor]:
    """uint8 (B, S, S, 3) to {r: (B, 3, r, r) float32 in [-1, 1]} by area averaging; NHWC memory (channels_last) for free."""
    top = crops.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)
    return {size: _reduced(top, size) for size in sizes}


def _reduced(images: Tensor, size: int) -> Tensor:
    side = images.shape[-1]
    if side == size:
        return images
    return F.avg_pool2d(images, side // size) if side % size == 0 else F.interpolate(images, size=(size, size), mode="area")


def send(array: np.ndarray, device: torch.device) -> Tensor:
    """The array on the device, without waiting for the copy."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


class Feed:
    """Draws training batches.

    `vectors` (M, T) float32 are the embeddings of all captions of the cache, in its order; `codes` (M, 201) uint8 their characters;
    `labels` (N,) int64 belong to all images of the cache. Items are drawn from `rows` of the cache, or else from a whole `split`;
    with `whole` nothing is cut off them, but of images that are no squares the ends.
    `batch_size` is the global batch, over all ranks and accumulated parts.
    Raises DataError when the cache is too small for `needs`, ConfigError when a residency is impossible.
    """

    def __init__(
        self,
        cache: Cache,
        needs: Needs,
        *,
        batch_size: int,
        vectors: np.ndarray | None = None,
        codes: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        split: str = "train",
        rows: np.ndarray | None = None,
        flip: bool = True,
        random_crop: bool = True,
        whole: bool = False,
        residency: str = "auto",
        device: torch.device | str = "cpu",
        seed: int = 0,
    ) -> None:
        self.cache, self.needs, self.seed = cache, needs, seed
        self.flip, self.random_crop = flip, random_crop
        self.device = torch.device(device)
        self.rows = cache.rows(split) if rows is None else rows
        if not len(self.rows):
            raise DataError(f"no images in the {split!r} split", where=cache.path, hint="prepare the cache again")
        self.class_ids = cache.class_ids[self.rows]
        self.resolution = max(needs.images, default=0)
        self.load = self.resolution if whole else load_size(self.resolution)
        # A window of a squashed image is cut from it at load size, one of a kept image at the stored size, and reduced afterwards.
        kept = cache.image_size if whole else cache.image_size * CROP // LOAD
        self.window = self.resolution if cache.fit == "squash" else kept
        self.batch_size = self._checked_batch_size(batch_size)
        self.vectors = vectors
        self.codes = codes
        self.labels = labels
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
                    "has labels and no captions", where=cache.path, hint="train a model of labels on it, like those of sgan-mnist"
                )
            raise DataError("some images have no caption", where=cache.path, hint="prepare the cache again with its captions")
        self.store = self._open_store(residency)

    def __len__(self) -> int:
        """Images in the split."""
        return len(self.rows)

    def _checked_batch_size(self, batch_size: int) -> int:
        if self.needs.distinct_classes:
            return min(batch_size, len(np.unique(self.class_ids)))
        return batch_size

    def _open_store(self, residency: str) -> ImageStore:
        cache = self.cache
        if cache.image_size < self.load:
            crops = f" crops them from {self.load} px" if self.load > self.resolution else " takes them whole"
            raise DataError(
                f"images are {cache.image_size} px, and training at {self.resolution} px{crops}",
                where=cache.path,
                hint=f"prepare again with --image-size {self.load} or larger",
            )
        kept = None if cache.fit == "squash" else cache.kept_images()
        size = len(self.rows) * self.load * self.load * 3 if kept is None else kept[0].nbytes
        if residency == "auto":
            residency = pick_residency(size, self.device)
        if kept is not None:
            return self._open_kept(*kept, residency)
        if residency == "mmap":
            return HostImages(cache.images, self.rows, self.load, self.device)
        images = np.concatenate(
            [reduce_images(cache.images[part], self.load) for part in np.array_split(self.rows, len(self.rows) // 256 + 1)]
        )
        if residency == "ram":
            return HostImages(images, None, self.load, self.device)
        try:
            return DeviceImages(images, self.device)
        except torch.cuda.OutOfMemoryError:
            raise ConfigError(
                f"{size / 2**30:.1f} GiB of images do not fit on {self.device}", where="data.residency", hint="use data.residency=ram"
            ) from None

    def _open_kept(self, pixels: np.ndarray, starts: np.ndarray, sizes: np.ndarray, residency: str) -> ImageStore:
        self._sizes = sizes[self.rows].astype(np.int64)
        return KeptImages(
            np.array(pixels) if residency != "mmap" else pixels, starts[self.rows], self._sizes, self.device, residency == "device"
        )

    def _slack(self, rows: np.ndarray) -> np.ndarray:
        """How far the window of each image can move down and right, (2, B)."""
        if self.cache.fit == "squash":
            return np.full((2, len(rows)), self.load - self.window)
        return self._sizes[rows].T - self.window

    # -- which rows ---------------------------------------------------------------------------------------------------------

    def _rows_of(self, step: int, batch: int, random: np.random.Generator) -> np.ndarray:
        """Positions in the split of global batch `batch` of `step`, (batch_size,)."""
        if self.needs.distinct_classes:
            classes = random.permutation(len(self._classes))[: self.batch_size]
            within = (random.random(len(classes)) * self._class_count[classes]).astype(np.int64)
            return self._by_class[self._class_start[classes] + within]
        first, count = step * self.batch_size, len(self.rows)
        positions = np.arange(first, first + self.batch_size)
        epochs = positions // count
        orders = {
            epoch: np.random.default_rng(key_seed(self.seed, "epoch", int(epoch), batch)).permutation(count) for epoch in np.unique(epochs)
        }
        return np.array([orders[epoch][position % count] for epoch, position in zip(epochs, positions, strict=True)])

    def _other_class(self, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """For each position one of another class, uniformly over all of those."""
        own = self._class_index[rows]
        start, count = self._class_start[own], self._class_count[own]
        pick = (random.random(len(rows)) * (len(self.rows) - count)).astype(np.int64)
        return self._by_class[np.where(pick >= start, pick + count, pick)]

    def _mismatched(self, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """For each position one of another class; of several candidates the one whose text, the mean of all its captions, is nearest."""
        count = self.needs.wrong_candidates
        if count == 1:
            return self._other_class(rows, random)
        candidates = self._other_class(np.repeat(rows, count), random).reshape(len(rows), count)
        texts, squares = self._item_text
        products = np.matmul(texts[candidates], texts[rows][:, :, None])[..., 0]
        return np.asarray(candidates[np.arange(len(rows)), (squares[candidates] - 2 * products).argmin(1)])

    @cached_property
    def _item_text(self) -> tuple[np.ndarray, np.ndarray]:
        """(N, T) float32, the mean of all caption vectors of each item, and (N,), its squared length."""
        assert self.vectors is not None
        spans = zip(self._first_caption, self._num_captions, strict=True)
        texts = np.stack([np.asarray(self.vectors[first : first + count], np.float32).mean(0) for first, count in spans])
        return texts, np.square(texts).sum(1)

    def _captions_of(self, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
        """Caption indices (B, k): k distinct captions an item (fewer, repeated, where it has fewer)."""
        k = self.needs.captions_per_embedding
        if k == 1:
            return (self._first_caption[rows] + (random.random(len(rows)) * self._num_captions[rows]).astype(np.int64))[:, None]
        picks = [
            random.permutation(self._num_captions[row])[np.arange(k) % self._num_captions[row]] + self._first_caption[row] for row in rows
        ]
        return np.stack(picks)

    def _crops_of(self, rows: np.ndarray, random: np.random.Generator) -> Crops:
        slack = self._slack(rows)
        draws = random.random((3, len(rows)))
        offsets = (draws[:2] * (slack + 1)).astype(np.int64) if self.random_crop else slack // 2
        flips = (draws[2] < 0.5).astype(np.int64) if self.flip else np.zeros(len(rows), np.int64)
        return Crops(rows, offsets[0], offsets[1], flips)

    # -- batches ------------------------------------------------------------------------------------------------------------

    def batch(self, step: int, batch: int = 0, part: int = 0, parts: int = 1) -> Batch:
        """Part `part` of `parts` of global batch `batch` of `step`, on the device."""
        random = np.random.default_rng(key_seed(self.seed, "feed", step, batch))
        rows = self._rows_of(step, batch, random)
        size = len(rows) // parts
        mine = slice(part * size, (part + 1) * size)

        def images_of(positions: np.ndarray) -> dict[int, Tensor]:
            crops = self._crops_of(positions, random)
            if not self.needs.images:
                return {}
            window = Crops(crops.rows[mine], crops.top[mine], crops.left[mine], crops.flip[mine])
            return to_pyramid(self.store.crops(window, self.window), self.needs.images)

        out = Batch(images=images_of(rows), rows=self._send(self.rows[rows[mine]]), class_ids=self._send(self.class_ids[rows[mine]]))
        captions = self._captions_of(rows, random)
        if self.needs.text:
            out.text = self._send(self._vectors_of(captions[mine]))
        if self.needs.characters:
            assert self.codes is not None
            out.characters = self._send(self.codes[captions[mine, 0]])
        if self.needs.labels:
            assert self.labels is not None
            out.labels = self._send(self.labels[self.rows[rows[mine]]])
        if self.needs.wrong == "batch":
            out.wrong_order = self._send(mismatched_order(self.class_ids[rows[mine]], random))
        elif self.needs.wrong != "none":
            wrong = self._mismatched(rows, random)
            if self.needs.wrong == "image":
                out.wrong_images = images_of(wrong)
            else:
                out.wrong_text = self._send(self._vectors_of(self._captions_of(wrong, random)[mine]))
        return out

    def _vectors_of(self, captions: np.ndarray) -> np.ndarray:
        """(B, T) float32: the mean of the vectors of captions (B, k)."""
        assert self.vectors is not None
        vectors = np.asarray(self.vectors[captions.reshape(-1)], np.float32).reshape(*captions.shape, -1)
        return np.asarray(vectors[:, 0] if captions.shape[1] == 1 else vectors.mean(1))

    def _send(self, array: np.ndarray) -> Tensor:
        return send(array, self.device)

    def images(self, positions: np.ndarray) -> dict[int, Tensor]:
        """The centre crops, not mirrored, of items of the split: what evaluation sees."""
        top, left = self._slack(positions) // 2
        crops = Crops(positions, top, left, np.zeros(len(positions), np.int64))
        return to_pyramid(self.store.crops(crops, self.window), self.needs.images)


def mismatched_order(class_ids: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A permutation (B,) of items that takes each to one of another class, wherever no class has more than half of them.

    Items in random order are sorted by class and shifted by the size of the largest class; of a larger class some meet their own.
    """
    shuffled = random.permutation(len(class_ids))
    by_class = shuffled[np.argsort(class_ids[shuffled], kind="stable")]
    largest = np.unique(class_ids, return_counts=True)[1].max()
    order = np.empty_like(by_class)
    order[by_class] = np.roll(by_class, -int(largest))
    return order


def pick_residency(size: int, device: torch.device) -> str:
    """`device` when a third of the free GPU memory holds `size` bytes, `ram` up to 4 GiB on the host, else `mmap`."""
    if device.type == "cuda" and size < torch.cuda.mem_get_info(device)[0] / 3:
        return "device"
    return "ram" if size < 4 * 2**30 else "mmap"
