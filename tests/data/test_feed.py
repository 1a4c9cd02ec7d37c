"""The feed: what a batch depends on (seed, step, batch number) and what it does not (residency, how it is split)."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from stackgan_cli.config.schema import DataConfig
from stackgan_cli.data.batch import Batch, Needs
from stackgan_cli.data.feed import Conditions, EpochOrder, Feed
from stackgan_cli.data.pixels import load_size, reduce_images, to_pyramid
from stackgan_cli.data.stores import ImageStore, centre_views
from stackgan_cli.errors import DataError
from stackgan_cli.runtime import key_seed


def fake_cache(num_images: int = 30, image_size: int = 38, classes: int = 6, seed: int = 0, fit: str = "squash") -> SimpleNamespace:
    random = np.random.default_rng(seed)
    counts = random.integers(1, 5, num_images)
    return SimpleNamespace(
        path=Path("caches/fake.h5"),
        fit=fit,
        image_size=image_size,
        num_images=num_images,
        images=random.integers(0, 256, (num_images, image_size, image_size, 3), dtype=np.uint8),
        class_ids=random.permutation(np.arange(num_images) % classes).astype(np.int64),
        caption_offsets=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        rows=lambda split: np.arange(num_images)[::2] if split == "train" else np.arange(num_images)[1::2],
    )


def kept_cache(image_size: int = 38) -> SimpleNamespace:
    """Images whose shorter side is `image_size`, concatenated."""
    cache, random = fake_cache(fit="keep", image_size=image_size), np.random.default_rng(0)
    sizes = np.full((cache.num_images, 2), image_size)
    sizes[np.arange(cache.num_images), random.integers(0, 2, cache.num_images)] += random.integers(0, 20, cache.num_images)
    ends = np.cumsum(sizes.prod(1) * 3)
    pixels = random.integers(0, 256, ends[-1], dtype=np.uint8)
    cache.kept_images = lambda: (pixels, np.concatenate([[0], ends[:-1]]), sizes)
    return cache


def make_feed(cache: SimpleNamespace | None = None, **options: object) -> Feed:
    """A feed with embeddings, seed 3 and batches of 8. Options are keys of the configuration section `data`, or arguments of `Feed`."""
    cache = cache or fake_cache()
    vectors = np.random.default_rng(1).standard_normal((cache.caption_offsets[-1], 5), dtype=np.float32)
    data = DataConfig(**{key: options.pop(key) for key in DataConfig.model_fields if key in options})  # type: ignore[arg-type]
    defaults = {"needs": Needs(images=(16, 32), text=True, wrong="text"), "conditions": Conditions(vectors), "batch_size": 8, "seed": 3}
    return Feed(cache, data=data, **{**defaults, **options})  # type: ignore[arg-type]


def tensors(batch: Batch) -> list[torch.Tensor]:
    every = [*batch.images.values(), batch.text, *batch.wrong_images.values(), batch.wrong_text, batch.class_ids, batch.rows]
    return [tensor for tensor in every if tensor is not None]


def same(a: Batch, b: Batch) -> bool:
    return all(torch.equal(x, y) for x, y in zip(tensors(a), tensors(b), strict=True))


@pytest.mark.parametrize("image_size", [38, 76])
def test_residencies_give_identical_batches(image_size: int) -> None:
    cache = fake_cache(image_size=image_size)
    feeds = [make_feed(cache, residency=residency) for residency in ("device", "ram", "mmap")]
    for step in range(6):
        first, *others = [feed.batch(step) for feed in feeds]
        assert all(same(first, other) for other in others)


@pytest.mark.parametrize("image_size", [38, 76])
def test_residencies_of_kept_images_give_identical_batches(image_size: int) -> None:
    cache = kept_cache(image_size)
    feeds = [make_feed(cache, residency=residency) for residency in ("device", "ram", "mmap")]
    for step in range(6):
        first, *others = [feed.batch(step) for feed in feeds]
        assert all(same(first, other) for other in others)


def test_windows_of_kept_images_lie_anywhere_in_the_picture() -> None:
    """Each pixel holds its column number: over many samples, the window reaches both ends of the longer side."""
    cache = kept_cache()
    sizes = np.tile([38, 58], (cache.num_images, 1))
    picture = np.broadcast_to(np.arange(58, dtype=np.uint8)[None, :, None], (38, 58, 3)).ravel()
    cache.kept_images = lambda: (np.tile(picture, cache.num_images), np.arange(cache.num_images) * picture.size, sizes)
    feed = make_feed(cache, flip=False)
    lefts = torch.cat([((feed.batch(step).images[32][:, 0, 0, 0] + 1) * 127.5).round() for step in range(60)])
    assert lefts.min() == 0 and lefts.max() == 58 - 32 and len(lefts.unique()) > 20
    assert feed.store is not None
    centre = feed.store.centres(np.arange(3))
    assert ((centre[:, 0, 0, 0] + 1) * 127.5).round().tolist() == [13.0] * 3


@pytest.mark.parametrize("residency", ["device", "ram", "mmap"])
def test_whole_images_are_not_cropped(residency: str) -> None:
    for image_size in (32, 76):
        cache = fake_cache(image_size=image_size)
        feed = make_feed(cache, residency=residency, whole=True, flip=False)
        batch = feed.batch(2)
        assert batch.rows is not None
        expected = reduce_images(cache.images[batch.rows.numpy()], 32)
        assert torch.equal(((batch.images[32] + 1) * 127.5).round(), torch.from_numpy(expected).permute(0, 3, 1, 2).float())
        rows = np.arange(5)
        assert np.array_equal(centre_views(cache, rows, 32, whole=True), reduce_images(cache.images[rows], 32))  # type: ignore[arg-type]
    with pytest.raises(DataError, match="31 px, too small for a resolution of 32 px"):
        make_feed(fake_cache(image_size=31), whole=True)


def test_whole_images_of_their_own_aspect_lose_only_their_ends() -> None:
    cache = kept_cache(32)
    feed = make_feed(cache, whole=True, flip=False)
    pixels, starts, sizes = cache.kept_images()
    batch = feed.batch(1)
    assert batch.rows is not None
    for row, image in zip(batch.rows.tolist(), batch.images[32], strict=True):
        height, width = sizes[row]
        original = pixels[starts[row] : starts[row] + height * width * 3].reshape(height, width, 3)
        windows = [original[top : top + 32, left : left + 32] for top in range(height - 31) for left in range(width - 31)]
        found = ((image + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
        assert any(np.array_equal(found, window) for window in windows)


def test_wrong_pairs_of_the_batch_are_of_other_classes() -> None:
    feed = make_feed(needs=Needs(images=(32,), text=False, wrong="batch"), batch_size=8)
    for step in range(10):
        batch = feed.batch(step)
        assert batch.wrong_order is not None and batch.class_ids is not None
        assert (batch.class_ids[batch.wrong_order] != batch.class_ids).any()
        assert sorted(batch.wrong_order.tolist()) == list(range(8))


def test_parts_make_up_the_whole_batch() -> None:
    feed = make_feed()
    whole, parts = feed.batch(2), [feed.batch(2, part=part, parts=4) for part in range(4)]
    for tensor, *pieces in zip(tensors(whole), *map(tensors, parts), strict=True):
        assert torch.equal(tensor, torch.cat(pieces))


def test_batches_depend_on_seed_step_and_number_alone() -> None:
    feed = make_feed()
    before = feed.batch(5)
    feed.batch(1)
    assert same(before, feed.batch(5)) and same(before, make_feed().batch(5))
    assert not same(before, make_feed(seed=4).batch(5))
    two = make_feed(batches_per_step=2)
    assert not same(two.batch(5), two.batch(5, batch=1))


def test_an_epoch_shows_every_image_once() -> None:
    feed = make_feed(batch_size=4)
    rows = torch.cat([feed.batch(step).rows for step in range(len(feed) * 4 // 4)])  # type: ignore[misc]
    assert all(sorted(epoch.tolist()) == sorted(feed.rows.tolist()) for epoch in rows.split(len(feed)))
    assert not torch.equal(rows[: len(feed)], rows[len(feed) : 2 * len(feed)])


@pytest.mark.parametrize("batch_size", [4, 15, 40])
def test_the_order_is_that_of_one_permutation_per_epoch(batch_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three batches per step, some larger than the 15 images, against an explicit sequence of permutations; each is made once."""
    made: list[int] = []
    permutation = EpochOrder._permutation
    monkeypatch.setattr(EpochOrder, "_permutation", lambda self, epoch: made.append(epoch) or permutation(self, epoch))
    feed = make_feed(batch_size=batch_size, batches_per_step=3)
    orders = [np.random.default_rng(key_seed(3, "epoch", epoch, 0)).permutation(15) for epoch in range(60)]
    expected = feed.rows[np.concatenate(orders)]
    for step in range(7):
        for number in range(3):
            start = (3 * step + number) * batch_size
            found = feed.batch(step, number).rows
            assert found is not None and found.tolist() == expected[start : start + batch_size].tolist()
            if batch_size <= 15:
                feed.batch(0)  # which averaged weights are calibrated on, between any two steps
    assert made == list(range(-(-21 * batch_size // 15)))
    with pytest.raises(AssertionError, match="batch 3 of 3"):
        feed.batch(0, 3)


@pytest.mark.parametrize("make", [fake_cache, kept_cache], ids=["squashed", "kept"])
@pytest.mark.parametrize("image_size", [38, 47, 76])
def test_evaluation_sees_the_middle_of_what_training_sees(make: object, image_size: int) -> None:
    """The same pixels as a feed without augmentation, on any device; as bytes, rounded once."""
    cache = make(image_size=image_size)  # type: ignore[operator]
    feed = make_feed(cache, needs=Needs(images=(32,), text=False), flip=False, random_crop=False)
    stores = [ImageStore(cache, np.arange(cache.num_images), 32, residency=residency) for residency in ("device", "ram", "mmap")]
    batch = feed.batch(0)
    assert batch.rows is not None
    for store in stores:
        assert torch.equal(store.centres(batch.rows.numpy()), batch.images[32])
    views = centre_views(cache, batch.rows.numpy(), 32)
    assert np.abs((views / 127.5 - 1).transpose(0, 3, 1, 2) - batch.images[32].numpy()).max() <= 0.5001 / 127.5
    assert all(np.array_equal(store.views(batch.rows.numpy()), views) for store in stores)


def test_images_are_crops_of_the_right_image() -> None:
    cache = fake_cache()
    feed = make_feed(cache)
    batch = feed.batch(0)
    assert batch.images[32].is_contiguous(memory_format=torch.channels_last)
    for image, row in zip(batch.images[32], batch.rows.tolist(), strict=True):  # type: ignore[union-attr]
        pixels = ((image + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
        found = [
            np.array_equal(view, pixels)
            for top in range(7)
            for left in range(7)
            for view in (cache.images[row, top : top + 32, left : left + 32], cache.images[row, top : top + 32, left : left + 32][:, ::-1])
        ]
        assert sum(found) == 1


def test_augmentation_can_be_switched_off() -> None:
    cache = fake_cache()
    batch = make_feed(cache, flip=False, random_crop=False).batch(0)
    for image, row in zip(batch.images[32], batch.rows.tolist(), strict=True):  # type: ignore[union-attr]
        pixels = ((image + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
        assert np.array_equal(pixels, cache.images[row, 3:35, 3:35])


def test_wrong_items_are_of_another_class_and_cover_all_of_them() -> None:
    cache = fake_cache(num_images=24, classes=3)
    feed = make_feed(cache)
    random = np.random.default_rng(0)
    rows = np.repeat(np.arange(len(feed)), 200)
    wrong = feed._other_class(rows, random)
    assert (feed.class_ids[wrong] != feed.class_ids[rows]).all()
    for row in range(len(feed)):
        assert set(wrong[rows == row]) == set(np.flatnonzero(feed.class_ids != feed.class_ids[row]))


def test_wrong_images_and_text_belong_to_other_classes() -> None:
    cache = fake_cache()
    cache.images[:] = cache.class_ids[:, None, None, None].astype(np.uint8)
    batch = make_feed(cache, needs=Needs(images=(32,), text=True, wrong="image")).batch(0)
    shown = ((batch.wrong_images[32][:, 0, 0, 0] + 1) * 127.5).round().long()
    assert (shown != batch.class_ids).all()


def test_distinct_classes_and_how_many_there_are() -> None:
    feed = make_feed(needs=Needs(images=(32,), text=False, distinct_classes=True), batch_size=40)
    assert feed.batch_size == 6
    for step in range(5):
        assert len(set(feed.batch(step).class_ids.tolist())) == 6  # type: ignore[union-attr]


def test_mean_of_captions() -> None:
    cache = fake_cache()
    vectors = np.random.default_rng(1).standard_normal((cache.caption_offsets[-1], 5), dtype=np.float32)
    feed = make_feed(cache, needs=Needs(images=(32,), text=True, captions_per_embedding=4), conditions=Conditions(vectors))
    batch = feed.batch(0)
    for text, row in zip(batch.text, batch.rows.tolist(), strict=True):  # type: ignore[arg-type,union-attr]
        own = vectors[cache.caption_offsets[row] : cache.caption_offsets[row + 1]]
        if len(own) == 4:
            np.testing.assert_allclose(text, own.mean(0), rtol=1e-5)
        if len(own) == 1:
            np.testing.assert_allclose(text, own[0], rtol=1e-6)


def test_reduction_is_the_area_mean() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 76, 76, 3), dtype=np.uint8)
    blocks = images.reshape(3, 38, 2, 38, 2, 3).astype(np.float64).mean((2, 4))
    assert np.abs(reduce_images(images, 38).astype(np.float64) - blocks).max() <= 0.5


def test_pyramid_is_the_area_mean() -> None:
    crops = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    pyramid = to_pyramid(crops, (8, 32))
    blocks = (crops.float() / 127.5 - 1).view(2, 8, 4, 8, 4, 3).mean((2, 4)).permute(0, 3, 1, 2)
    torch.testing.assert_close(pyramid[8], blocks)


@pytest.mark.parametrize(
    ("cache", "words"),
    [
        (fake_cache(image_size=20), "20 px"),
        (fake_cache(classes=1), "two classes"),
    ],
)
def test_what_a_cache_cannot_give(cache: SimpleNamespace, words: str) -> None:
    with pytest.raises(DataError, match=words):
        make_feed(cache)


def test_load_sizes_are_the_released_ones() -> None:
    assert [load_size(side) for side in (64, 128, 256)] == [76, 152, 304]


def test_models_of_captions_need_captions() -> None:
    cache = fake_cache()
    cache.caption_offsets = np.minimum(cache.caption_offsets, 5)
    with pytest.raises(DataError, match="some images have no caption"):
        make_feed(cache)
    cache.caption_offsets = np.zeros_like(cache.caption_offsets)
    with pytest.raises(DataError, match="has labels but no captions"):
        make_feed(cache)
    assert len(make_feed(cache, needs=Needs(images=(32,), text=False), conditions=Conditions())) == 15
