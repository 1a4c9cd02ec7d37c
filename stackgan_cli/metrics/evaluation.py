"""Runs metrics: collects what they need from the images and turns their scores into results that say how they were computed.

Everything that the metrics of the table need is collected in one pass over the images (`collectors.stream`). The statistics of a prepared
dataset are stored beside it. A result is never just a number: its protocol names the extractor, the resizing, both image sets, counts and
the seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stackgan_cli.encoders.extractor import Extractor
from stackgan_cli.errors import DataError, MismatchError, UsageError
from stackgan_cli.metrics.collectors import FeatureCollector, ImageCollector, VectorCollector, pick_per_class, stream
from stackgan_cli.metrics.image_sets import CacheSet, ImageSet
from stackgan_cli.metrics.joint_space import JointSpace
from stackgan_cli.metrics.metric import Inputs, Metric, Pairs, Score
from stackgan_cli.metrics.protocols import Protocol
from stackgan_cli.metrics.statistics import Statistics, digest
from stackgan_cli.runtime import World

PER_CLASS, MOST_IMAGES = 30, 2000
"""Images kept for metrics that compare them pairwise: 30 per class form 435 pairs, of which MS-SSIM takes the HDGAN draft's 400."""


@dataclass(frozen=True)
class Result:
    """`value` is the score, `std` its spread (None for metrics without one), `more` contains further values that belong with it."""

    metric: str
    title: str
    value: float
    std: float | None
    protocol: dict[str, Any]
    more: dict[str, Any] = field(default_factory=dict)

    def line(self, step: int | None = None) -> dict[str, Any]:
        """A line of `metrics.jsonl`."""
        facts: dict[str, Any] = {"metric": self.metric, "title": self.title, "value": self.value, "std": self.std, **self.more}
        return {**facts, **({} if step is None else {"step": step}), "protocol": self.protocol}


def check(metrics: Sequence[Metric], subject: ImageSet, reference: ImageSet | Statistics | None, protocol: Protocol) -> None:
    """Check that the metrics can be computed on these sets, before any network is loaded. Raises UsageError or DataError."""
    for metric in metrics:
        if metric.reference == "required" and reference is None:
            raise UsageError(
                f"{metric.name} needs real images to compare with, and none were given",
                hint="stackgan evaluate IMAGES REAL_IMAGES, or name a prepared dataset with --cache",
            )
        if metric.pairs and subject.captions is None:
            raise UsageError(
                f"{metric.name} needs a caption for every image, but these images have none",
                hint="evaluate a model that generates images from captions",
            )
        if metric.labels and subject.labels is None:
            raise UsageError(
                f"{metric.name} needs a label for every image, but these images have none",
                hint="evaluate a model that generates images from class labels, or a prepared dataset with classes",
            )
        if metric.needs_one_size and subject.side is None:
            raise DataError(
                "these images have several sizes or are not square",
                hint=f"{metric.name} needs square images of one size: leave it out",
            )
        needed = metric.minimum_for(protocol)
        real = len(reference) if isinstance(reference, ImageSet) else None if reference is None else reference.count
        for which, count in (("", len(subject)), ("real ", real if metric.reference == "required" else None)):
            if count is not None and count < needed:
                words = f"{metric.name} needs at least {needed} {which}images, but there are {count}"
                raise DataError(words, hint="generate more with --count, if the images come from a generator")


@dataclass
class _Collected:
    """The collectors of one pass over the subject."""

    features: dict[int | None, FeatureCollector]
    """By the side to which images are resized first."""
    images: ImageCollector | None
    vectors: VectorCollector | None


@dataclass
class Evaluation:
    """The sets, the networks and the settings of one evaluation. `reference` may also be statistics from a file."""

    subject: ImageSet
    reference: ImageSet | Statistics | None
    protocol: Protocol
    extractor: Extractor | None = None
    joint: JointSpace | None = None
    right: np.ndarray | None = None
    """For metrics that need labels: the extractor output that is right for each image, (N,) int64."""
    seed: int = 0
    batch_size: int = 64
    compat: str | None = None
    reference_path: Path | None = None
    """Path of the statistics file, if the user gave one."""
    world: World = field(default_factory=World)
    progress: Callable[[int, int], None] = lambda done, total: None
    warn: Callable[[str], None] = lambda text: None
    save_to: Path | None = None
    """Where to write the statistics of the subject, if anywhere."""
    kept: dict[str, Statistics] = field(default_factory=dict)
    """Statistics of real images, which several evaluations may share."""
    _real: dict[int | None, Statistics] = field(default_factory=dict)
    """Statistics for this evaluation, by the side to which images are resized first."""

    def run(self, metrics: Sequence[Metric]) -> list[Result]:
        """The results of all metrics, in order, on the first process; an empty list on the others.

        Raises UsageError, DataError or MismatchError when a metric cannot be computed.
        """
        check(metrics, self.subject, self.reference, self.protocol)
        if self.extractor is not None and not self.extractor.has_logits and any(metric.logits for metric in metrics):
            asked = ", ".join(metric.name for metric in metrics if metric.logits)
            raise UsageError("this extractor has no class probabilities", where=self.extractor.name, hint=f"leave out {asked}")
        collected = self._collect(metrics)
        if not self.world.is_main:
            return []
        if self.save_to is not None:
            moments = collected.features[None].moments
            assert moments is not None
            Statistics.of(moments, None, {**self._manifest(None), **self.subject.description}).save(self.save_to)
        pairs, real_pairs = self._pairs(metrics, collected)
        results = []
        for metric in metrics:
            score = metric.function(self._inputs(metric, collected, pairs, real_pairs))
            if score.warning:
                self.warn(f"{metric.title} {score.warning}")
            results.append(self._result(metric, score))
        return results

    # -- collecting -----------------------------------------------------------------------------------------------------------

    def _collect(self, metrics: Sequence[Metric]) -> _Collected:
        """Statistics of the reference, then one pass over the subject with a collector for each thing that a metric needs."""
        # In a list, so that all processes go through the sides in the same order: they gather one side at a time.
        sides = list(dict.fromkeys(metric.side for metric in metrics if metric.needs_extractor))
        if self.save_to is not None and None not in sides:
            sides.append(None)
        features = {}
        for side in sides:
            assert self.extractor is not None
            at_side = [metric for metric in metrics if metric.needs_extractor and metric.side == side]
            if any(metric.reference == "required" for metric in at_side):
                self._real[side] = self._reference_statistics(side, any(metric.features for metric in at_side))
            features[side] = FeatureCollector(
                self.extractor,
                side=side,
                features=any(metric.features for metric in at_side),
                logits=any(metric.logits for metric in at_side),
            )
        images = vectors = None
        if any(metric.images for metric in metrics):
            images = ImageCollector(
                pick_per_class(self.subject.class_ids, len(self.subject), per_class=PER_CLASS, total=MOST_IMAGES, seed=self.seed)
            )
        if any(metric.pairs for metric in metrics):
            assert self.joint is not None
            vectors = VectorCollector(self.joint.image_vectors)
        collectors = [*features.values(), *(one for one in (images, vectors) if one is not None)]
        stream(self.subject, collectors, batch_size=self.batch_size, world=self.world, progress=self.progress)
        return _Collected(features, images, vectors)

    def _pairs(self, metrics: Sequence[Metric], collected: _Collected) -> tuple[Pairs | None, Pairs | None]:
        """Image and caption vectors of the subject and, if a metric compares with them and they have captions, of the real images."""
        if collected.vectors is None:
            return None, None
        assert self.joint is not None and self.subject.captions is not None
        pairs = Pairs(collected.vectors.vectors, self.joint.text_vectors(self.subject.captions))
        real = self.reference
        wanted = any(metric.pairs and metric.reference != "none" for metric in metrics)
        if not wanted or not isinstance(real, ImageSet) or real.captions is None or real.side is None:
            return pairs, None
        collector = VectorCollector(self.joint.image_vectors)
        stream(real, [collector], batch_size=self.batch_size)
        return pairs, Pairs(collector.vectors, self.joint.text_vectors(real.captions))

    def _inputs(self, metric: Metric, collected: _Collected, pairs: Pairs | None, real_pairs: Pairs | None) -> Inputs:
        seen = collected.features[metric.side] if metric.needs_extractor else None
        return Inputs(
            count=len(self.subject),
            class_ids=self.subject.class_ids,
            seed=self.seed,
            splits=self.protocol.splits,
            compat=self.compat,
            moments=seen.moments if seen is not None and metric.moments else None,
            features=seen.features if seen is not None and metric.features else None,
            logits=seen.logits if seen is not None and metric.logits else None,
            images=collected.images.images if collected.images is not None and metric.images else None,
            image_indices=collected.images.indices if collected.images is not None and metric.images else None,
            real=self._real[metric.side] if seen is not None and metric.reference == "required" else None,
            pairs=pairs if metric.pairs else None,
            real_pairs=real_pairs if metric.pairs and metric.reference != "none" else None,
            right=self.right if metric.labels else None,
            outputs=self.extractor.classes if self.extractor is not None and metric.labels else None,
        )

    # -- real images ----------------------------------------------------------------------------------------------------------

    def _manifest(self, side: int | None) -> dict[str, Any]:
        assert self.extractor is not None
        return {**self.extractor.identity, "first_resized_to": side}

    def _reference_statistics(self, side: int | None, features: bool) -> Statistics:
        """Moments (and, on request, feature vectors) of the real images; read from the file beside the dataset where there is one."""
        assert self.reference is not None and self.extractor is not None
        manifest = self._manifest(side)
        if isinstance(self.reference, Statistics):
            self._check_statistics(self.reference, manifest, features)
            return self.reference
        key = digest(manifest, self.reference.identity)
        path = None
        if isinstance(self.reference, CacheSet):
            cache = self.reference.cache.path
            path = cache.with_name(f"{cache.stem}.stats-{key}.npz")
        found = self.kept.get(key)
        if found is None and path is not None and path.is_file() and self.world.is_main:
            found = Statistics.load(path)
        absent = self.world.is_main and (found is None or (features and found.features is None))
        if self.world.any(absent, self.extractor.device):
            collector = FeatureCollector(self.extractor, side=side, features=features)
            stream(self.reference, [collector], batch_size=self.batch_size, world=self.world, progress=self.progress)
            if self.world.is_main:
                assert collector.moments is not None
                vectors = collector.features if features else None
                found = Statistics.of(collector.moments, vectors, {**manifest, **self.reference.description})
                if path is not None:
                    found.save(path)
        if found is not None:
            self.kept[key] = found
        return found  # type: ignore[return-value]

    def _check_statistics(self, statistics: Statistics, manifest: dict[str, Any], features: bool) -> None:
        """Check that a statistics file suits the extractor. Raises MismatchError, or DataError when it lacks feature vectors."""
        assert self.extractor is not None
        statistics.require_same(manifest, self.reference_path)
        if features and statistics.features is None:
            raise DataError(
                "this file has no feature vectors, only their mean and covariance",
                where=self.reference_path,
                hint="compare with the images themselves",
            )
        if len(statistics.mean) != self.extractor.feature_dim:
            raise MismatchError(
                f"these statistics have {len(statistics.mean):,} dimensions, but the extractor has {self.extractor.feature_dim:,}",
                where=self.reference_path,
            )

    # -- results --------------------------------------------------------------------------------------------------------------

    def _result(self, metric: Metric, score: Score) -> Result:
        protocol: dict[str, Any] = {"name": self.protocol.name}
        if metric.needs_extractor:
            protocol |= self._manifest(metric.side)
        if metric.reference == "required":
            is_set = isinstance(self.reference, ImageSet)
            protocol["real"] = self.reference.description if is_set else {"statistics": str(self.reference_path), **self.reference.manifest}  # type: ignore[union-attr]
        protocol |= {"fake": self.subject.description, "n_fake": len(self.subject), "seed": self.seed}
        if metric.pairs:
            assert self.joint is not None
            protocol["joint_space"] = self.joint.identity
        std = None if score.std is None else float(score.std)
        return Result(metric.name, self._title(metric), float(score.value), std, {**protocol, **score.facts}, score.more)

    def _title(self, metric: Metric) -> str:
        """The metric's title with what sets this value apart from others of the metric: protocol, or the network that was used."""
        if not metric.needs_extractor:
            return metric.title
        assert self.extractor is not None
        if metric.labels:
            return f"{metric.title} (by {self.extractor.label})"
        if self.protocol.extractor == self.extractor.name:
            return f"{metric.title} ({self.protocol.name})"
        return f"{metric.title} (features of {self.extractor.label})"
