"""Small copies of MNIST, SVHN and CIFAR-10 in their authors' formats, with random pixels."""

from __future__ import annotations

import gzip
import hashlib
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from torchvision.datasets import CIFAR10, SVHN

from stackgan_cli.data.sources.cifar10 import CLASSES

Split = tuple[np.ndarray, np.ndarray]
"""Images (N, S, S[, 3]) uint8 and labels (N,)."""


def random_splits(shape: tuple[int, ...], counts: tuple[int, int] = (30, 20)) -> dict[str, Split]:
    """Training and test images; every label occurs in both."""
    random = np.random.default_rng(0)
    return {
        split: (random.integers(0, 256, (count, *shape), np.uint8), random.permutation(np.arange(count) % 10))
        for split, count in zip(("train", "test"), counts, strict=True)
    }


def write_idx(path: Path, array: np.ndarray) -> None:
    """Write MNIST's format: two zeros, 8 for bytes, the number of dimensions, their lengths, the bytes."""
    content = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def make_mnist(folder: Path, *, packed: bool = True) -> dict[str, Split]:
    splits = random_splits((28, 28))
    for split, (images, labels) in splits.items():
        part, suffix = "t10k" if split == "test" else "train", ".gz" if packed else ""
        write_idx(folder / f"{part}-images-idx3-ubyte{suffix}", images)
        write_idx(folder / f"{part}-labels-idx1-ubyte{suffix}", labels)
    return splits


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def make_svhn(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Split]:
    """The published layout has the image index last and label 10 for the digit 0. The MD5 of these files becomes the published one."""
    folder.mkdir(parents=True, exist_ok=True)
    splits = random_splits((32, 32, 3))
    listed = dict(SVHN.split_list)
    for split, (images, labels) in splits.items():
        path = folder / f"{split}_32x32.mat"
        scipy.io.savemat(path, {"X": images.transpose(1, 2, 3, 0), "y": np.where(labels == 0, 10, labels)[:, None]})
        listed[split] = ["", path.name, md5(path)]
    monkeypatch.setattr(SVHN, "split_list", listed)
    return splits


def make_cifar10(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Split]:
    """Pickles of rows: all red values, then green, then blue. The MD5 of these files becomes the published one."""
    folder.mkdir(parents=True, exist_ok=True)
    splits = random_splits((32, 32, 3))
    lists: dict[str, list[list[str]]] = {}
    for split, (images, labels) in splits.items():
        names = [f"data_batch_{i}" for i in range(1, 6)] if split == "train" else ["test_batch"]
        lists[split] = []
        for name, part in zip(names, np.array_split(np.arange(len(labels)), len(names)), strict=True):
            rows = images[part].transpose(0, 3, 1, 2).reshape(len(part), -1)
            (folder / name).write_bytes(pickle.dumps({"data": rows, "labels": labels[part].tolist()}))
            lists[split].append([name, md5(folder / name)])
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(CLASSES)}))
    monkeypatch.setattr(CIFAR10, "train_list", lists["train"])
    monkeypatch.setattr(CIFAR10, "test_list", lists["test"])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5(folder / "batches.meta")})
    return splits
