"""Scores on real photographs that anyone can check: halves of one set are close, drawings are far, noise has no classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from stackgan_cli.data.cache import Cache
from stackgan_cli.data.demo_birds import demo_records
from stackgan_cli.data.prepare import prepare
from stackgan_cli.data.sources.cub import cub_records
from stackgan_cli.encoders.extractor import Extractor, open_extractor
from stackgan_cli.metrics.evaluation import Evaluation
from stackgan_cli.metrics.image_sets import CacheSet, GeneratedSet, ImageSet
from stackgan_cli.metrics.protocols import find_protocol
from stackgan_cli.metrics.table import find_metrics

SIDE = 128


def measure(extractor: Extractor, subject: ImageSet, reference: ImageSet | None, metric: str) -> float:
    evaluation = Evaluation(subject, reference, find_protocol("default"), extractor, batch_size=16)
    return evaluation.run(find_metrics([metric]))[0].value


@pytest.mark.slow
def test_photographs_drawings_and_noise(shared: Path, tmp_path: Path) -> None:
    extractor = open_extractor(f"torchscript:{shared / 'weights' / 'bird_mobilenetv2_ts.pt'}", trust=True)
    prepare(cub_records(shared / "data" / "cub"), tmp_path / "cub.h5", dataset="cub", image_size=152)
    prepare(demo_records(500, 500, image_size=152), tmp_path / "demo.h5", dataset="demo", image_size=152)
    cub = Cache.open(tmp_path / "cub.h5")
    rows = np.random.default_rng(0).permutation(cub.rows("test"))
    first, second = (CacheSet(cub, "test", SIDE, np.sort(part)) for part in (rows[:491], rows[491:]))
    drawings = CacheSet(Cache.open(tmp_path / "demo.h5"), "all", SIDE)

    halves, far = measure(extractor, first, second, "fid"), measure(extractor, first, drawings, "fid")
    assert halves <= 40 and halves <= far / 3, f"{halves:.1f} between halves, {far:.1f} to drawings"
    assert measure(extractor, CacheSet(cub, "test", SIDE), None, "is") >= 10
    noise = np.random.default_rng(0).integers(0, 256, (200, SIDE, SIDE, 3)).astype(np.uint8)
    assert measure(extractor, GeneratedSet(lambda indices: noise[indices], 200, SIDE, description={}), None, "is") <= 1.1
