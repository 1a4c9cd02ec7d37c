"""The datasets with labels instead of captions: caches have the contents of the files, and errors say what is wrong with a file."""

from __future__ import annotations

import errno
import gzip
import os
import pickle
import socket
import sys
import tarfile
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from labelled_files import Split, make_cifar10, make_mnist, make_svhn, md5, write_idx
from torchvision.datasets import CIFAR10

from stackgan_cli.data.cache import Cache
from stackgan_cli.data.prepare import prepare
from stackgan_cli.data.records import Record
from stackgan_cli.data.sources import DATASETS, SourceOptions, gather
from stackgan_cli.data.sources.cifar10 import ARCHIVE, CLASSES, FOLDER, cifar10_records
from stackgan_cli.data.sources.digits import digits_records
from stackgan_cli.data.sources.labelled import DIGITS, Pixels
from stackgan_cli.data.sources.mnist import mnist_records
from stackgan_cli.data.sources.svhn import svhn_records
from stackgan_cli.errors import DataError, EnvironmentProblem, UsageError


def check_cache(name: str, source: Path, splits: dict[str, Split], classes: tuple[str, ...], folder: Path, workers: int = 1) -> Cache:
    """Prepare a dataset as the command does, and compare every pixel and label with the written files."""
    row = DATASETS[name]
    records = gather(name, SourceOptions(workspace=folder, source=source, image_size=row.image_size)).records
    report = prepare(
        records, folder / "caches" / f"{name}.h5", dataset=name, image_size=row.image_size, crop=row.crop, workers=workers, strict=True
    )
    assert (report.num_captions, report.num_classes, report.skipped) == (0, 10, ())
    cache = Cache.open(report.path)
    assert tuple(cache.class_names) == classes and cache.captions == [] and (cache.crop, cache.fit) == ("none", "squash")
    assert len(set(cache.names)) == cache.num_images == sum(len(labels) for _, labels in splits.values())
    for split, (images, labels) in splits.items():
        rows = cache.rows(split)
        assert cache.class_ids[rows].tolist() == labels.tolist()
        assert [cache.names[number].split("/")[0] for number in rows] == [classes[label] for label in labels]
        wanted = images if images.ndim == 4 else np.repeat(images[..., None], 3, 3)
        assert np.array_equal(cache.images[rows], wanted)
    return cache


@pytest.mark.parametrize(("below", "packed"), [("", True), ("raw", False), ("MNIST/raw", True)])
def test_mnist_in_every_layout(below: str, packed: bool, tmp_path: Path) -> None:
    splits = make_mnist(tmp_path / "source" / below, packed=packed)
    for path in (tmp_path / "source").rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)  # nothing may be unpacked beside the files
    cache = check_cache("mnist", tmp_path / "source", splits, DIGITS, tmp_path, workers=2)
    assert cache.image_size == 28 and cache.summary()["captions_per_image"] == [0, 0]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("place", ["{kaggle}", "{name}/{kaggle}", "{kaggle}/{kaggle}", "{name}/{name}"])
def test_mnist_as_kaggle_names_it(place: str, packed: bool, tmp_path: Path) -> None:
    make_mnist(tmp_path / "as-published", packed=packed)
    for path in (tmp_path / "as-published").iterdir():
        name = path.name.removesuffix(".gz")
        target = tmp_path / "source" / (place.format(name=name, kaggle=name.replace("-idx", ".idx")) + path.suffix)
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    assert len(mnist_records(tmp_path / "source")) == 50


def test_svhn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    splits = make_svhn(tmp_path / "source" / "svhn", monkeypatch)
    check_cache("svhn", tmp_path / "source", splits, DIGITS, tmp_path)


@pytest.mark.parametrize("layout", ["folder", "inside", "renamed", "archive"])
def test_cifar10_in_every_layout(layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, inside = tmp_path / "source", tmp_path / "source" / FOLDER
    splits = make_cifar10(inside, monkeypatch)
    if layout == "renamed":
        inside.rename(source / "mine")
    if layout == "archive":
        with tarfile.open(tmp_path / ARCHIVE, "w:gz") as tar:
            tar.add(inside, FOLDER)
        source = tmp_path / "packed"
        source.mkdir()
        (tmp_path / ARCHIVE).rename(source / ARCHIVE)
        monkeypatch.setattr(CIFAR10, "tgz_md5", md5(source / ARCHIVE))
    place = {"folder": source, "inside": inside, "renamed": source / "mine", "archive": source}[layout]
    check_cache("cifar10", place, splits, CLASSES, tmp_path)


def test_digits(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    records = digits_records(28)
    train, test = ([record for record in records if record.split == split] for split in ("train", "test"))
    assert (len(train), len(test)) == (1437, 360)
    shares = [sum(record.class_name == name for record in test) / 36 for name in DIGITS]
    assert min(shares) > 0.9 and max(shares) < 1.1
    images, labels = load_digits(return_X_y=True)
    seen = {record.image.image.tobytes(): record.class_name for record in records}  # type: ignore[union-attr]
    assert len(records) == len(images) and all(seen[image.tobytes()] == str(label) for image, label in zip(images, labels, strict=True))
    again = digits_records(28)
    assert [record.name for record in again] == [record.name for record in records]
    assert all(np.array_equal(again.images[i], records.images[i]) for i in range(0, len(records), 97))
    for side in (8, 28, 32):
        made = digits_records(side)[5].image()  # type: ignore[operator]
        assert made.shape == (side, side, 3) and made.dtype == np.uint8 and made.max() > 200 and (made == made[..., :1]).all()
    cache = Cache.open(prepare(records, tmp_path / "digits.h5", dataset="digits", image_size=28, crop="none", workers=1).path)
    assert tuple(cache.class_names) == DIGITS and np.array_equal(cache.images[3], records[3].image())  # type: ignore[operator]


def test_numbers_of_labels_are_official() -> None:
    """A cache sorts its classes, so the official order must be alphabetical."""
    assert sorted(DIGITS) == list(DIGITS) and sorted(CLASSES) == list(CLASSES)


def test_the_whole_of_mnist(shared: Path) -> None:
    records = mnist_records(shared / "data" / "mnist")
    assert (len(records), records.num_train) == (70_000, 60_000)
    assert np.bincount(records.labels[:60_000]).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert np.bincount(records.labels[60_000:]).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert records.images[:60_000].mean() / 255 == pytest.approx(0.1307, abs=1e-4)


# -- what is wrong with files -------------------------------------------------------------------------------------------------


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def other_length(path: Path) -> None:
    write_idx(path, np.zeros(7, np.uint8))


def other_labels(path: Path) -> None:
    write_idx(path, np.full(30, 10, np.uint8))


def text(path: Path) -> None:
    path.write_text("this is text, not digits")


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    ("file", "spoil", "message"),
    [
        ("train-images-idx3-ubyte", cut, "cannot be read"),
        ("t10k-images-idx3-ubyte", text, "cannot be read"),
        ("train-labels-idx1-ubyte", text, "cannot be read"),
        ("train-labels-idx1-ubyte", other_length, "has 30 images but 7 labels"),
        ("train-labels-idx1-ubyte", other_labels, "labels from 10 to 10 instead of 0 to 9"),
        ("t10k-labels-idx1-ubyte", Path.unlink, "t10k-labels-idx1-ubyte.gz not found"),
    ],
)
def test_damaged_files_of_mnist(packed: bool, file: str, spoil, message: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    make_mnist(tmp_path, packed=packed)
    spoil(tmp_path / f"{file}{'.gz' if packed else ''}")
    with pytest.raises(DataError) as caught:
        mnist_records(tmp_path)
    assert message in caught.value.message and str(tmp_path) in caught.value.where


def test_idx_files_of_another_kind(tmp_path: Path) -> None:
    make_mnist(tmp_path)
    images = tmp_path / "train-images-idx3-ubyte.gz"
    for content in (b"", b"\0\0\x08", bytes([0, 0, 13, 1, 0, 0, 0, 1]) + b"\0" * 4, bytes([0, 0, 8, 1, 0, 0, 0, 2, 1, 2])):
        images.write_bytes(gzip.compress(content))
        with pytest.raises(DataError, match="cannot be read"):
            mnist_records(tmp_path)
    write_idx(images, np.zeros((30, 20, 20), np.uint8))
    with pytest.raises(DataError, match="of different sizes"):
        mnist_records(tmp_path)


@pytest.mark.parametrize(
    ("read", "wanted"), [(mnist_records, "MNIST/raw/"), (svhn_records, "train_32x32.mat"), (cifar10_records, "cifar-10-batches-py/")]
)
def test_folders_without_the_dataset(read, wanted: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "file").write_text("")
    for place, message in ((tmp_path / "nowhere", "no such folder"), (tmp_path / "file", "no such folder"), (tmp_path, "in this folder")):
        with pytest.raises(DataError, match=message) as caught:
            read(place)
        assert wanted in caught.value.hint and caught.value.where == str(place)


def test_damaged_files_of_svhn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_svhn(tmp_path, monkeypatch)
    cut(tmp_path / "test_32x32.mat")
    with pytest.raises(DataError, match="not the published file") as caught:
        svhn_records(tmp_path)
    assert caught.value.where.endswith("test_32x32.mat")
    (tmp_path / "test_32x32.mat").unlink()
    with pytest.raises(DataError, match="test_32x32"):
        svhn_records(tmp_path)
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(EnvironmentProblem, match="needs SciPy"):
        svhn_records(tmp_path)


class Trap:
    """Unpickling it creates a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("file", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_pickle_that_was_not_published_is_not_read(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_cifar10(tmp_path / "source", monkeypatch)
    trap = pickle.dumps(Trap(tmp_path / "mark"))
    (tmp_path / "source" / file).write_bytes(trap)
    with pytest.raises(DataError, match="not the published file") as caught:
        cifar10_records(tmp_path / "source")
    assert caught.value.where.endswith(file) and not (tmp_path / "mark").exists()
    pickle.loads(trap)
    assert (tmp_path / "mark").exists()


def test_other_versions_of_cifar10(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-bin").mkdir()
    with pytest.raises(DataError, match="another version") as caught:
        cifar10_records(tmp_path)
    assert ARCHIVE in caught.value.hint
    (tmp_path / "cifar-10-batches-bin").rmdir()
    (tmp_path / ARCHIVE).write_text("no archive")
    with pytest.raises(DataError, match="not the published file"):
        cifar10_records(tmp_path)


@pytest.mark.parametrize("name", ["mnist", "svhn", "cifar10"])
@pytest.mark.parametrize(
    "error",
    [URLError("no route to host"), RuntimeError("File not found or corrupted."), TimeoutError(), ConnectionResetError(104, "reset")],
)
def test_a_download_that_fails(name: str, error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.datasets as sets

    def fail(*args: object, **options: object) -> None:
        raise error

    monkeypatch.delenv("STACKGAN_DATA", raising=False)
    for module in (sets.mnist, sets.cifar):
        monkeypatch.setattr(module, "download_and_extract_archive", fail)
    monkeypatch.setattr(sets.svhn, "download_url", fail)
    before = socket.getdefaulttimeout()
    with pytest.raises(EnvironmentProblem, match=f"{name} cannot be downloaded") as caught:
        gather(name, SourceOptions(workspace=tmp_path))
    assert f"prepare {name} --source DIR" in caught.value.hint and socket.getdefaulttimeout() == before
    full = OSError(errno.ENOSPC, "No space left on device")
    monkeypatch.setattr(sets.cifar, "download_and_extract_archive", lambda *a, **o: (_ for _ in ()).throw(full))
    with pytest.raises(EnvironmentProblem, match="the disk is full"):
        gather("cifar10", SourceOptions(workspace=tmp_path))


def test_what_lies_in_the_workspace_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STACKGAN_DATA", raising=False)
    make_mnist(tmp_path / "downloads" / "mnist" / "MNIST" / "raw")
    assert len(gather("mnist", SourceOptions(workspace=tmp_path)).records) == 50


def test_options_that_a_dataset_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="come with scikit-learn"):
        gather("digits", SourceOptions(source=tmp_path))
    for options in (SourceOptions(count=5), SourceOptions(species=5)):
        with pytest.raises(UsageError, match="demo dataset only"):
            gather("digits", options)
    with pytest.raises(UsageError, match="did you mean 'mnist'"):
        gather("minst", SourceOptions())


def test_images_without_captions_are_left_out_where_others_have_some(tmp_path: Path) -> None:
    pixels = Pixels(np.zeros((8, 8), np.uint8))
    records = [Record(f"a/{i}", pixels, ("a bird",) if i % 2 else (), "a", "train") for i in range(6)]
    report = prepare(records, tmp_path / "some.h5", dataset="some", image_size=8, crop="none", workers=1)
    assert report.num_images == 3 and {name for name, _ in report.skipped} == {"a/0", "a/2", "a/4"}
    silent = [record for record in records if not record.captions]
    report = prepare(silent, tmp_path / "none.h5", dataset="none", image_size=8, crop="none", workers=1, strict=True)
    assert (report.num_images, report.num_captions, report.skipped) == (3, 0, ())
    with pytest.raises(DataError, match="there are no images"):
        prepare([], tmp_path / "empty.h5", dataset="empty", workers=1)
