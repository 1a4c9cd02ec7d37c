"""Images of a cache, in GPU memory, in host memory or in the file, read through square windows.

Training reads random windows, mirrored or not; evaluation reads the centered one. Both use `ImageStore`, and all three locations give
the same pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from stackgan_cli.data.cache import Cache
from stackgan_cli.data.pixels import CROP, LOAD, load_size, reduce_images, to_pyramid
from stackgan_cli.errors import ConfigError, DataError


@dataclass(frozen=True)
class Windows:
    """Which window of which image of a store: all (B,) int64; `flip` 0 or 1."""

    positions: np.ndarray
    top: np.ndarray
    left: np.ndarray
    flip: np.ndarray

    def __getitem__(self, part: slice) -> Windows:
        return Windows(self.positions[part], self.top[part], self.left[part], self.flip[part])


class Images(Protocol):
    """Images in one of the three locations."""

    def read(self, windows: Windows, size: int) -> Tensor:
        """uint8 (B, size, size, 3) on the store's device."""


class ImageStore:
    """Images `rows` of a cache, as a model of resolution `side` sees them. `positions` (B,) of the methods are indices into `rows`.

    Windows are crops from images of 76/64 of the side. With `whole`, only the ends of non-square images are cropped.
    A window of a squashed image has `side` px, because the image is reduced first. A window of an image that kept its aspect ratio is
    cropped at the stored size and reduced afterwards.
    Raises DataError when the stored images are too small, ConfigError when they do not fit on the device.
    """

    def __init__(
        self,
        cache: Cache,
        rows: np.ndarray,
        side: int,
        *,
        whole: bool = False,
        residency: str = "mmap",
        device: torch.device | str = "cpu",
    ) -> None:
        self.side, self.device = side, torch.device(device)
        load = side if whole else load_size(side)
        if cache.image_size < load:
            why = f"a resolution of {side} px" if whole else f"crops of {side} px, which are taken from images of {load} px"
            raise DataError(
                f"images are {cache.image_size} px, too small for {why}",
                where=cache.path,
                hint=f"prepare again with --image-size {load} or larger",
            )
        if cache.fit == "squash":
            self.window = side
            self._sizes = np.broadcast_to(np.int64(load), (len(rows), 2))
        else:
            self.window = cache.image_size if whole else cache.image_size * CROP // LOAD
            self._sizes = cache.kept_images()[2][rows].astype(np.int64)
        self._images = self._open(cache, rows, load, residency)

    def _open(self, cache: Cache, rows: np.ndarray, load: int, residency: str) -> Images:
        kept = None if cache.fit == "squash" else cache.kept_images()
        size = len(rows) * load * load * 3 if kept is None else kept[0].nbytes
        if residency == "auto":
            residency = pick_residency(size, self.device)
        try:
            if kept is not None:
                pixels = kept[0] if residency == "mmap" else np.array(kept[0])
                return KeptImages(pixels, kept[1][rows], self._sizes, self.device, residency == "device")
            if residency == "mmap":
                return HostImages(cache.images, rows, load, self.device)
            parts = np.array_split(rows, len(rows) // 256 + 1)
            images = np.concatenate([reduce_images(cache.images[part], load) for part in parts])
            return DeviceImages(images, self.device) if residency == "device" else HostImages(images, None, load, self.device)
        except torch.cuda.OutOfMemoryError:
            raise ConfigError(
                f"{size / 2**30:.1f} GiB of images do not fit on {self.device}", where="data.residency", hint="use data.residency=ram"
            ) from None

    def slack(self, positions: np.ndarray) -> np.ndarray:
        """How far the window of each image can move down and right, (2, B) int64."""
        return self._sizes[positions].T - self.window

    def read(self, windows: Windows) -> Tensor:
        """uint8 (B, `window`, `window`, 3) on the device."""
        return self._images.read(windows, self.window)

    def _middle(self, positions: np.ndarray) -> Tensor:
        top, left = self.slack(positions) // 2
        return self.read(Windows(positions, top, left, np.zeros_like(top)))

    def centres(self, positions: np.ndarray) -> Tensor:
        """The centered windows, not mirrored, which evaluation uses: float32 (B, 3, side, side) in [-1, 1]."""
        return to_pyramid(self._middle(positions), (self.side,))[self.side]

    def views(self, positions: np.ndarray) -> np.ndarray:
        """The same as bytes, uint8 (B, side, side, 3), on the host."""
        return reduce_images(self._middle(positions).cpu().numpy(), self.side)


def centre_views(cache: Cache, rows: np.ndarray, side: int, *, whole: bool = False) -> np.ndarray:
    """`ImageStore.views` of all of `rows`, read from the file: uint8 (N, side, side, 3)."""
    return ImageStore(cache, rows, side, whole=whole).views(np.arange(len(rows)))


class KeptImages:
    """Images that kept their aspect ratio, concatenated in a flat array of bytes: in host memory, the file, or GPU memory."""

    def __init__(self, pixels: np.ndarray, starts: np.ndarray, sizes: np.ndarray, device: torch.device, on_device: bool) -> None:
        self.pixels, self.starts, self.sizes, self.device = pixels, starts, sizes, device
        self.resident = torch.from_numpy(pixels).to(device) if on_device else None

    def read(self, windows: Windows, size: int) -> Tensor:
        if self.resident is not None:
            return self._gathered(windows, size, self.resident)
        out = np.empty((len(windows.positions), size, size, 3), np.uint8)
        each = zip(windows.positions, windows.top, windows.left, windows.flip, strict=True)
        for i, (position, top, left, flip) in enumerate(each):
            height, width = self.sizes[position]
            image = self.pixels[self.starts[position] : self.starts[position] + height * width * 3].reshape(height, width, 3)
            window = image[top : top + size, left : left + size]
            out[i] = window[:, ::-1] if flip else window
        return send(out, self.device)

    def _gathered(self, windows: Windows, size: int, pixels: Tensor) -> Tensor:
        widths = self.sizes[windows.positions, 1]
        first = self.starts[windows.positions] + (windows.top * widths + windows.left) * 3
        first, stride, flip = send(np.stack([first, 3 * widths, windows.flip]), self.device)
        span = torch.arange(size, device=self.device)
        columns = torch.where(flip[:, None] == 1, size - 1 - span, span) * 3
        channels = torch.arange(3, device=self.device)
        index = first[:, None, None] + stride[:, None, None] * span[:, None] + columns[:, None, :]
        return pixels[index[..., None] + channels]


class HostImages:
    """Rows of an array in memory or of a memmap; each window is sliced separately (faster than one gather on a CPU)."""

    def __init__(self, images: np.ndarray, rows: np.ndarray | None, load: int, device: torch.device) -> None:
        self.images, self.rows, self.load, self.device = images, rows, load, device

    def read(self, windows: Windows, size: int) -> Tensor:
        rows = windows.positions if self.rows is None else self.rows[windows.positions]
        whole = self.images.shape[1] == self.load
        images = (self.images[row] for row in rows) if whole else reduce_images(self.images[rows], self.load)
        out = np.empty((len(rows), size, size, 3), np.uint8)
        for i, (image, top, left, flip) in enumerate(zip(images, windows.top, windows.left, windows.flip, strict=True)):
            window = image[top : top + size, left : left + size]
            out[i] = window[:, ::-1] if flip else window
        return send(out, self.device)


class DeviceImages:
    """All images in GPU memory: one gather per batch."""

    def __init__(self, images: np.ndarray, device: torch.device) -> None:
        self.images = torch.from_numpy(images).to(device)

    def read(self, windows: Windows, size: int) -> Tensor:
        device = self.images.device
        positions, top, left, flip = send(np.stack([windows.positions, windows.top, windows.left, windows.flip]), device)
        span = torch.arange(size, device=device)
        ys = top[:, None] + span
        xs = left[:, None] + torch.where(flip[:, None] == 1, size - 1 - span, span)
        return self.images[positions[:, None, None], ys[:, :, None], xs[:, None, :]]


def pick_residency(size: int, device: torch.device) -> str:
    """`device` when `size` bytes fit in a third of the free GPU memory, `ram` up to 4 GiB on the host, otherwise `mmap`."""
    if device.type == "cuda" and size < torch.cuda.mem_get_info(device)[0] / 3:
        return "device"
    return "ram" if size < 4 * 2**30 else "mmap"


def send(array: np.ndarray, device: torch.device) -> Tensor:
    """Copy the array to the device without waiting for the transfer."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor
