import json

import h5py
import numpy as np
import pytest

from stackgan_cli.data.cache import Cache
from stackgan_cli.data.caption_vectors import CaptionVectors
from stackgan_cli.data.prepare import prepare
from stackgan_cli.data.records import Record
from stackgan_cli.errors import DataError, MismatchError


class Colour:
    """A picklable image of one color; a class, so that any process can make it."""

    def __init__(self, value: int, width: int = 30, height: int = 20) -> None:
        self.value, self.width, self.height = value, width, height

    def __call__(self) -> np.ndarray:
        return np.full((self.height, self.width, 3), self.value, np.uint8)


def some_records(count: int = 6) -> list[Record]:
    return [
        Record(
            name=f"a/{i}",
            image=Colour(10 * i, 30 + i),
            captions=tuple(f"caption {i}.{k} é鳥" for k in range(1 + i % 3)),
            class_name="" if i == 0 else f"class {i % 2}",
            split="test" if i % 3 == 2 else "train",
            box=None if i == 1 else (5.0, 4.0, 10.0, 8.0),
            parts=None if i == 2 else np.ones((15, 3), np.float32),
            attributes={"body": "red"} if i % 2 else {"body": "blue", "beak": "long"},
        )
        for i in range(count)
    ]


@pytest.fixture
def path(tmp_path):
    return prepare(some_records(), tmp_path / "x.h5", dataset="test", image_size=16, crop="none", workers=1).path


def test_everything_comes_back(path):
    cache = Cache.open(path)
    assert (cache.dataset, cache.image_size, cache.fit, cache.num_images, cache.crop) == ("test", 16, "squash", 6, "none")
    assert cache.images.shape == (6, 16, 16, 3) and cache.images.dtype == np.uint8
    assert [int(image[0, 0, 0]) for image in cache.images] == [0, 10, 20, 30, 40, 50]
    assert np.array_equal(cache.image(3), cache.images[3])
    assert cache.caption_offsets.tolist() == [0, 1, 3, 6, 7, 9, 12] and cache.caption_offsets.dtype == np.int64
    assert cache.captions[3:6] == ["caption 2.0 é鳥", "caption 2.1 é鳥", "caption 2.2 é鳥"]
    assert cache.class_names == ["class 0", "class 1"]
    assert cache.class_ids.tolist() == [-1, 1, 0, 1, 0, 1] and cache.class_ids.dtype == np.int64
    assert cache.names == [f"a/{i}" for i in range(6)]
    assert cache.attributes == {"beak": ["long", "", "long", "", "long", ""], "body": ["blue", "red"] * 3}
    assert np.isnan(cache.boxes[1]).all() and np.allclose(cache.boxes[0], [5 * 16 / 30, 4 * 16 / 20, 10 * 16 / 30, 8 * 16 / 20])
    assert not cache.parts[2].any() and cache.parts[0, 0].tolist() == pytest.approx([16 / 30, 16 / 20, 1])
    assert cache.rows("train").tolist() == [0, 1, 3, 4] and cache.rows("test").tolist() == [2, 5]
    assert cache.rows("all").tolist() == list(range(6))
    json.dumps(cache.summary())
    with pytest.raises(DataError, match="no split"):
        cache.rows("valid")


def test_images_of_kept_aspect(tmp_path):
    cache = Cache.open(prepare(some_records(), tmp_path / "x.h5", dataset="test", image_size=16, crop="none", fit="keep", workers=1).path)
    assert cache.image(0).shape == (16, 24, 3) and cache.image(5).shape == (16, 28, 3)
    assert [int(cache.image(i).mean()) for i in range(6)] == [0, 10, 20, 30, 40, 50]
    with pytest.raises(DataError, match="different sizes"):
        _ = cache.images


def test_images_are_read_without_hdf5_and_cannot_be_written(path):
    cache = Cache.open(path)
    assert isinstance(cache.images, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        cache.images[0, 0, 0, 0] = 1
    with h5py.File(path, "r") as file:
        assert np.array_equal(file["images"][()], cache.images)


def test_many_categories_without_boxes(tmp_path):
    records = [Record(f"{i}", Colour(i), ("c",), "", "train") for i in range(3)]
    cache = Cache.open(prepare(records, tmp_path / "x.h5", dataset="test", image_size=8, workers=1).path)
    assert cache.boxes is None and cache.parts is None and cache.class_names == [] and cache.attributes == {}
    assert cache.class_ids.tolist() == [-1, -1, -1]


@pytest.mark.parametrize("keep", [0, 7, 100, 0.5, 0.99])
def test_a_file_that_is_cut_off(path, keep):
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.truncate(int(size * keep) if isinstance(keep, float) else keep)
    with pytest.raises(DataError, match=r"truncated|not an HDF5 file") as caught:
        Cache.open(path)
    assert caught.value.hint and str(path) in caught.value.where


@pytest.mark.parametrize("byte", range(0, 1600, 100))
def test_a_damaged_head_is_never_a_traceback(path, byte):
    with path.open("r+b") as file:
        file.seek(byte)
        file.write(b"\xa5" * 24)
    try:
        cache = Cache.open(path)
        cache.summary()
    except DataError as error:
        assert error.hint


def test_other_files(tmp_path, path):
    text = tmp_path / "text.h5"
    text.write_text("not hdf5 at all, but long enough to be something")
    with pytest.raises(DataError, match="not an HDF5 file"):
        Cache.open(text)
    with pytest.raises(DataError, match="no such file"):
        Cache.open(tmp_path / "nothing.h5")
    foreign = tmp_path / "foreign.h5"
    with h5py.File(foreign, "w") as file:
        file["x"] = 1
    with pytest.raises(DataError, match="not a 'stackgan"):
        Cache.open(foreign)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.attrs.__setitem__("version", 99), "version 99"),
        (lambda file: file.attrs.__setitem__("complete", False), "incomplete"),
        (lambda file: file.__delitem__("split"), "missing"),
        (lambda file: file.attrs.__delitem__("identity"), "missing|identity"),
        (lambda file: (file.__delitem__("split"), file.create_dataset("split", data=np.zeros(3, np.uint8))), "split of the wrong length"),
        (
            lambda file: (file.__delitem__("images"), file.create_dataset("images", data=np.zeros((6, 8, 8, 3), np.uint8))),
            "images of the wrong",
        ),
        (
            lambda file: (file.__delitem__("images"), file.create_dataset("images", data=np.zeros((6, 16, 16, 3), np.uint8), chunks=True)),
            "not stored in one piece",
        ),
    ],
)
def test_what_is_wrong_inside(path, change, message):
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(DataError, match=message):
        Cache.open(path)


def test_text_vectors(path):
    cache = Cache.open(path)
    vectors = np.arange(12 * 5, dtype=np.float32).reshape(12, 5)
    written = CaptionVectors.write(cache, vectors, {"name": "e"}, "0123456789abcdef")
    assert written == path.with_name("x.01234567.h5")
    CaptionVectors.write(cache, vectors + 1, {"name": "f"}, "89abcdef01234567")
    assert set(CaptionVectors.find(path)) == {written, path.with_name("x.89abcdef.h5")}
    opened = CaptionVectors.open(written, cache)
    assert np.array_equal(opened.vectors, vectors) and opened.encoder == {"name": "e"} and opened.encoder_hash == "0123456789abcdef"
    assert isinstance(opened.vectors, np.memmap)
    assert not list(path.parent.glob(".*"))
    with pytest.raises(DataError, match="not a 'stackgan"):
        CaptionVectors.open(path, cache)
    with pytest.raises(DataError, match="not a 'stackgan"):
        Cache.open(written)
    with pytest.raises(ValueError, match="expected 12"):
        CaptionVectors.write(cache, vectors[:3], {}, "0" * 16)


def test_text_vectors_of_another_cache(path, tmp_path):
    written = CaptionVectors.write(Cache.open(path), np.zeros((12, 5), np.float32), {}, "0123456789abcdef")
    other = Cache.open(prepare(some_records(5), tmp_path / "y.h5", dataset="test", image_size=16, crop="none", workers=1).path)
    assert CaptionVectors.find(other.path) == []
    with pytest.raises(MismatchError, match="do not belong to the cache"):
        CaptionVectors.open(written, other)
