"""Sets, collectors and results, with an extractor whose features are known: the mean color."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from picture_files import folder_of, pictures
from PIL import Image
from torch import Tensor

from stackgan_cli.config.schema import DataConfig
from stackgan_cli.data.batch import Needs
from stackgan_cli.data.cache import Cache
from stackgan_cli.data.feed import Feed
from stackgan_cli.data.stores import centre_views
from stackgan_cli.encoders.extractor import Extracted, Extractor
from stackgan_cli.errors import DataError, MismatchError, UsageError, UserError
from stackgan_cli.metrics.collectors import FeatureCollector, ImageCollector, pick_per_class, stream
from stackgan_cli.metrics.evaluation import Evaluation
from stackgan_cli.metrics.image_sets import CacheSet, FolderSet, GeneratedSet, read_picture
from stackgan_cli.metrics.protocols import PROTOCOLS, find_protocol
from stackgan_cli.metrics.statistics import Statistics
from stackgan_cli.metrics.table import find_metrics
from stackgan_cli.workspace import Workspace


class MeanColour(Extractor):
    """Features (N, 4): the mean of each channel and a constant; classes: which channel is the strongest."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.name, self.sha256, self.resize, self.side, self.classes = "mean-colour", "0" * 64, "none", None, ("r", "g", "b")
        self.logits, self.num_classes, self.feature_dim, self.path = None, 3, 4, Path("mean-colour")
        self.device, self.seen = torch.device("cpu"), 0

    def forward(self, images: Tensor) -> Extracted:
        self.seen += len(images)
        means = images.float().mean((2, 3)) / 255
        return Extracted(torch.cat([means, torch.ones(len(means), 1)], 1), torch.log_softmax(means * 25, 1))


def generated(images: np.ndarray, **facts: object) -> GeneratedSet:
    return GeneratedSet(lambda indices: images[indices], len(images), images.shape[1], description={}, **facts)  # type: ignore[arg-type]


def run(subject: object, reference: object, *names: str, **settings: object) -> dict[str, float]:
    evaluation = Evaluation(subject, reference, find_protocol("default"), MeanColour(), **settings)  # type: ignore[arg-type]
    return {result.metric: result.value for result in evaluation.run(find_metrics(names))}


def test_a_pass_collects_what_a_loop_would(tmp_path: Path) -> None:
    images = pictures(23)
    extractor = MeanColour()
    found, kept = FeatureCollector(extractor, features=True, logits=True), ImageCollector(np.array([3, 1, 20]))
    seen: list[tuple[int, int]] = []
    stream(generated(images), [found, kept], batch_size=5, progress=lambda done, total: seen.append((done, total)))
    means = images.mean((1, 2)) / 255
    assert np.allclose(found.features[:, :3], means, atol=1e-5) and found.moments is not None and found.moments.n == 23
    assert np.allclose(found.moments.covariance[:3, :3], np.cov(means.T), rtol=1e-5)
    assert (found.logits.argmax(1) == means.argmax(1)).all()
    assert (kept.images == images[[1, 3, 20]]).all()
    assert seen[-1] == (23, 23) and extractor.seen == 23
    from_folder = FeatureCollector(MeanColour(), features=True)
    stream(FolderSet(folder_of(images, tmp_path / "a")), [from_folder], batch_size=7)
    assert np.array_equal(from_folder.features, found.features)


def test_the_same_pictures_have_no_distance_and_others_do(tmp_path: Path) -> None:
    images = pictures(40)
    same = FolderSet(folder_of(images, tmp_path / "same"))
    found = run(generated(images), same, "fid", "kid", "precision-recall", "fid-64")
    assert found["fid"] == pytest.approx(0, abs=1e-6) and found["fid-64"] == pytest.approx(0, abs=1e-6)
    assert found["precision-recall"] == 1 and abs(found["kid"]) < 0.05
    brighter = np.clip(images.astype(int) // 2 + 120, 0, 255).astype(np.uint8)
    assert run(generated(brighter), same, "fid")["fid"] > 1e-3


def test_one_pass_serves_all_metrics() -> None:
    images = pictures(30)
    evaluation = Evaluation(generated(images), generated(pictures(30, seed=1)), find_protocol("default"), extractor := MeanColour())
    results = evaluation.run(find_metrics(["fid,kid", "is", "precision-recall", "ms-ssim"]))
    assert [result.metric for result in results] == ["fid", "kid", "is", "precision-recall", "ms-ssim"]
    assert extractor.seen == 60
    for result in results:
        line = json.loads(json.dumps(result.line(7)))
        assert line["step"] == 7 and line["protocol"]["n_fake"] == 30 and line["protocol"]["name"] == "default"
        if result.metric != "ms-ssim":
            assert line["protocol"]["extractor"] == "mean-colour" and "mean-colour" in result.title and line["protocol"]["sha256"]


def test_statistics_of_a_dataset_are_kept_and_are_those_of_their_protocol(workspace: Workspace, tmp_path: Path) -> None:
    cache = Cache.open(workspace.cache_path("demo"))
    first = MeanColour()
    reference = CacheSet(cache, "test", 32)
    subject = generated(pictures(20))
    evaluation = Evaluation(subject, reference, find_protocol("default"), first)
    value = evaluation.run(find_metrics(["fid"]))[0].value
    kept = list(workspace.caches.glob("demo.stats-*.npz"))
    assert len(kept) == 1 and first.seen == 20 + len(reference)
    again = MeanColour()
    assert Evaluation(subject, reference, find_protocol("default"), again).run(find_metrics(["fid"]))[0].value == pytest.approx(value)
    assert again.seen == 20
    assert workspace.cache_names() == ["demo"]
    other = CacheSet(cache, "train", 32)
    assert Evaluation(subject, other, find_protocol("default"), again).run(find_metrics(["fid"]))[0].value != pytest.approx(value)
    assert len(list(workspace.caches.glob("demo.stats-*.npz"))) == 2

    statistics = Statistics.load(kept[0])
    assert run(subject, statistics, "fid", reference_path=kept[0])["fid"] == pytest.approx(value)
    with pytest.raises(DataError, match="no feature vectors"):
        run(subject, statistics, "kid", reference_path=kept[0])
    changed = MeanColour()
    changed.resize = "area"
    with pytest.raises(MismatchError, match="another protocol"):
        Evaluation(subject, statistics, find_protocol("default"), changed, reference_path=kept[0]).run(find_metrics(["fid"]))
    foreign = tmp_path / "theirs.npz"
    np.savez(foreign, mu=statistics.mean, sigma=statistics.covariance)
    assert run(subject, Statistics.load(foreign), "fid", reference_path=foreign)["fid"] == pytest.approx(value)


@pytest.mark.parametrize("content", [b"", b"text", None], ids=["empty", "text", "other arrays"])
def test_files_that_are_no_statistics(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.npz"
    if content is None:
        np.savez(path, mu=np.zeros(3), sigma=np.zeros((2, 2)))
    else:
        path.write_bytes(content)
    with pytest.raises(DataError):
        Statistics.load(path)


@pytest.mark.parametrize("fit", ["squash", "keep"])
def test_views_are_the_crops_that_training_sees(workspace: Workspace, tmp_path: Path, fit: str) -> None:
    from stackgan_cli.data.demo_birds import demo_records
    from stackgan_cli.data.prepare import prepare

    path = tmp_path / "views.h5"
    prepare(demo_records(60, 50, image_size=76), path, dataset="demo", image_size=76, workers=1, fit=fit)
    cache = Cache.open(path)
    rows = cache.rows("train")[:9]
    data = DataConfig(flip=False, random_crop=False)
    batch = Feed(cache, Needs(images=(32,), text=False), data, batch_size=9, rows=rows).batch(0)
    assert batch.rows is not None
    seen = np.empty((9, 32, 32, 3))
    seen[np.searchsorted(rows, batch.rows.numpy())] = ((batch.images[32].permute(0, 2, 3, 1).numpy() + 1) * 127.5).round()
    assert np.abs(centre_views(cache, rows, 32).astype(float) - seen).max() <= 1
    with pytest.raises(DataError, match="taken from images of 304 px"):
        CacheSet(cache, "test", 256)


def test_folders_of_all_sorts(tmp_path: Path) -> None:
    folder = folder_of(pictures(4), tmp_path / "mixed")
    Image.new("L", (20, 30), 200).save(folder / "grey.png")
    Image.new("RGBA", (32, 32), (255, 0, 0, 0)).save(folder / "clear.png")
    mixed = FolderSet(folder)
    assert mixed.side is None and mixed.description["converted_to_rgb"] == 2 and len(mixed.description["sizes"]) == 2
    assert (read_picture(folder / "clear.png") == 255).all() and read_picture(folder / "grey.png").shape == (30, 20, 3)
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(tmp_path / "deep.png")
    assert (read_picture(tmp_path / "deep.png") == 40_000 >> 8).all()
    assert run(mixed, mixed, "fid")["fid"] == pytest.approx(0, abs=1e-6)
    with pytest.raises(DataError, match="several sizes"):
        run(mixed, None, "ms-ssim")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images"):
        FolderSet(tmp_path / "empty")
    with pytest.raises(DataError, match="no such folder"):
        FolderSet(tmp_path / "absent")
    (folder / "broken.png").write_bytes(b"\x89PNG nothing")
    with pytest.raises(DataError, match="cannot be decoded") as caught:
        FolderSet(folder)
    assert "broken.png" in str(caught.value.where)
    cut = folder_of(pictures(2), tmp_path / "cut")
    whole = (cut / "001.png").read_bytes()
    (cut / "001.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="cannot be decoded"):
        run(FolderSet(cut), FolderSet(cut), "fid")


def test_what_cannot_be_measured_is_said() -> None:
    few, images = generated(pictures(3)), generated(pictures(20))
    for names, subject, reference, kind in (
        (["is"], few, None, DataError),
        (["precision-recall"], few, images, DataError),
        (["fid"], images, None, UsageError),
        (["vs-similarity"], images, None, UsageError),
        (["fid"], generated(pictures(1)), images, DataError),
    ):
        with pytest.raises(kind):
            run(subject, reference, *names)
    for name in ("fdi", "is64"):
        with pytest.raises(UsageError, match="did you mean"):
            find_metrics([name])
    with pytest.raises(UserError, match="did you mean"):
        find_protocol("cleen")
    assert len({protocol.name for protocol in PROTOCOLS}) == len(PROTOCOLS)


def test_pictures_kept_for_pairs_are_of_whole_classes() -> None:
    classes = np.repeat(np.arange(50), 100)
    kept = pick_per_class(classes, len(classes), per_class=30, total=600, seed=0)
    assert (np.unique(classes[kept], return_counts=True)[1] == 30).all() and len(kept) == 600 and (np.diff(kept) > 0).all()
    assert len(pick_per_class(None, 5000, per_class=30, total=600, seed=0)) == 600
