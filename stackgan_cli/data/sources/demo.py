"""The demo birds (data/demo_birds.py) as a dataset: nothing to download."""

from __future__ import annotations

from stackgan_cli.data.demo_birds import demo_records
from stackgan_cli.data.sources.base import Dataset, Gathered, SourceOptions, refuse_source


def _gather(options: SourceOptions) -> Gathered:
    refuse_source(options, "the demo dataset is drawn, not read from a folder")
    count = 3000 if options.count is None else options.count
    species = min(1000, count) if options.species is None else options.species
    return Gathered(demo_records(count, species, options.seed, options.image_size))


DATASET = Dataset(
    "demo",
    "drawn birds with captions, boxes and parts; nothing to download",
    _gather,
    preset="demo-stage2",
    text_encoder="demo-encoder",
    classifier="demo-classifier",
    judge="sgan-encoder-demo",
)
