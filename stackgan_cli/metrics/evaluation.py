"""From two sets of pictures to results that say how they were made.

Whatever the metrics need is collected in one pass over the subject (`taps.stream`); the moments of a prepared dataset are kept beside
it. A result is never a bare number: its protocol names extractor, resizing, both sets, counts and seeds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from stackgan_cli.encoders.extractor import Extractor
from stackgan_cli.errors import DataError, MismatchError, UsageError, did_you_mean
from stackgan_cli.metrics.accuracy import accuracy_facts, agreement
from stackgan_cli.metrics.collectors import FeatureTap, PictureTap, Tap, VectorTap, pick_per_class, stream
from stackgan_cli.metrics.image_sets import CacheSet, ImageSet
from stackgan_cli.metrics.joint_space import JointSpace, similarity
from stackgan_cli.metrics.ms_ssim import ms_ssim_diversity
from stackgan_cli.metrics.protocols import Protocol
from stackgan_cli.metrics.scores import frechet_distance, inception_score, kernel_distance, precision_recall, r_precision
from stackgan_cli.metrics.statistics import Statistics, digest
from stackgan_cli.runtime import World

SMALL = 64
"""Side to which fid-64 and is-64 (FID* and IS* of StackGAN++ Table 2) bring every picture first."""
PER_CLASS, MOST_PICTURES = 30, 2000
"""Pictures that MS-SSIM keeps: 30 of a class have 435 pairs, of which the draft takes 400."""
FEW = 10_000
"""Below so many pictures FID depends much on their number (TTUR)."""


@dataclass(frozen=True)
class Metric:
    """What a metric needs. `side`: the side to which pictures are resized first."""

    name: str
    title: str
    reference: bool = False
    features: bool = False
    logits: bool = False
    side: int | None = None
    joint: bool = False


METRICS: tuple[Metric, ...] = (
    Metric("fid", "FID", reference=True),
    Metric("fid-64", "FID*", reference=True, side=SMALL),
    Metric("is", "IS", logits=True),
    Metric("is-64", "IS*", logits=True, side=SMALL),
    Metric("kid", "KID", reference=True, features=True),
    Metric("precision-recall", "precision, recall", reference=True, features=True),
    Metric("ms-ssim", "MS-SSIM"),
    Metric("vs-similarity", "VS similarity", joint=True),
    Metric("r-precision", "R-precision", joint=True),
    Metric("accuracy", "accuracy", logits=True),
)
LEAST = {"precision-recall": 4, "r-precision": 100, "accuracy": 1}
"""Pictures that a metric needs; for the others two, or one a split of the inception score."""
WITHOUT_EXTRACTOR = ("ms-ssim", "vs-similarity", "r-precision")


def find_metrics(names: Sequence[str]) -> list[Metric]:
    """The metrics of those names, commas understood. Raises UsageError, with a suggestion."""
    known = {metric.name: metric for metric in METRICS}
    wanted = [part.strip() for name in names for part in name.split(",") if part.strip()]
    for name in wanted:
        if name not in known:
            raise UsageError(f"unknown metric {name!r}{did_you_mean(name, known)}", where="--metric", hint=f"one of: {', '.join(known)}")
    if names and not wanted:
        raise UsageError("no metric is named", where="--metric", hint=f"one of: {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(wanted)]


@dataclass(frozen=True)
class Result:
    """`value` is the figure itself, `std` its spread where the metric has one, `more` what belongs beside it."""

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
    """Whether these sets can be measured at all, before any network is looked for. Raises UsageError or DataError."""
    for metric in metrics:
        if metric.reference and reference is None:
            raise UsageError(
                f"{metric.name} compares with real pictures, and none are given",
                hint="stackgan evaluate PICTURES REAL_PICTURES, or name a prepared dataset with --cache",
            )
        if metric.joint and subject.captions is None:
            raise UsageError(
                f"{metric.name} needs the caption of every picture, and here are none", hint="evaluate a model that draws from captions"
            )
        if metric.name == "accuracy" and subject.labels is None:
            raise UsageError(
                "accuracy needs the label that every picture was drawn for, and here are none",
                hint="evaluate a model that draws from class labels, or a prepared dataset with classes",
            )
        if (metric.joint or metric.name == "ms-ssim") and subject.side is None:
            raise DataError(
                "these pictures are of several sizes, or not square", hint=f"{metric.name} is of pictures of one size: leave it out"
            )
        needed = LEAST.get(metric.name, protocol.splits if metric.logits else 2)
        real = len(reference) if isinstance(reference, ImageSet) else None if reference is None else reference.count
        for which, count in (("", len(subject)), ("real ", real if metric.reference else None)):
            if count is not None and count < needed:
                words = f"{metric.name} needs at least {needed} {which}pictures, and there are {count}"
                raise DataError(words, hint="of a generator, draw more with --count")


@dataclass
class Evaluation:
    """One evaluation: sets, instruments and how it is done. `reference` may be statistics from a file."""

    subject: ImageSet
    reference: ImageSet | Statistics | None
    protocol: Protocol
    extractor: Extractor | None = None
    joint: JointSpace | None = None
    right: np.ndarray | None = None
    """For accuracy: the output of the extractor that is right for each picture, (N,) int64."""
    seed: int = 0
    batch_size: int = 64
    compat: str | None = None
    reference_path: Path | None = None
    """Where a statistics file given by the user lies."""
    world: World = field(default_factory=World)
    progress: Callable[[int, int], None] = lambda done, total: None
    warn: Callable[[str], None] = lambda text: None
    save_to: Path | None = None
    """Where to write the statistics of the subject, if anywhere."""
    kept: dict[str, Statistics] = field(default_factory=dict)
    """Statistics of real pictures, which several evaluations may share."""
    _real: dict[int | None, Statistics] = field(default_factory=dict)
    """Those of this evaluation, by the side to which pictures are resized first."""

    def run(self, metrics: Sequence[Metric]) -> list[Result]:
        """All results, on the first process (the others return nothing)."""
        check(metrics, self.subject, self.reference, self.protocol)
        if self.extractor is not None and not self.extractor.has_logits and any(metric.logits for metric in metrics):
            asked = ", ".join(metric.name for metric in metrics if metric.logits)
            raise UsageError("this extractor has no class probabilities", where=self.extractor.name, hint=f"leave out {asked}")
        # A list, for all processes are to go through the views in one order: what they gather belongs together by it.
        views = list(dict.fromkeys(metric.side for metric in metrics if metric.name not in WITHOUT_EXTRACTOR))
        if self.save_to is not None and None not in views:
            views.append(None)
        for side in views:
            if any(metric.reference and metric.side == side for metric in metrics):
                self._real[side] = self._reference_statistics(side, any(metric.features and metric.side == side for metric in metrics))
        taps: dict[Any, Tap] = {side: self._feature_tap(side, metrics) for side in views}
        names = {metric.name for metric in metrics}
        if "ms-ssim" in names:
            taps["pictures"] = PictureTap(
                pick_per_class(self.subject.class_ids, len(self.subject), per_class=PER_CLASS, total=MOST_PICTURES, seed=self.seed)
            )
        if names & {"vs-similarity", "r-precision"}:
            assert self.joint is not None
            taps["joint"] = VectorTap(self.joint.image_vectors)
        stream(self.subject, list(taps.values()), batch_size=self.batch_size, world=self.world, progress=self.progress)
        if not self.world.is_main:
            return []
        if self.save_to is not None:
            moments = taps[None].moments  # type: ignore[attr-defined]
            Statistics.of(moments, None, {**self._manifest(None), **self.subject.description}).save(self.save_to)
        return [result for metric in metrics for result in self._score(metric, taps)]

    def _feature_tap(self, side: int | None, metrics: Sequence[Metric]) -> FeatureTap:
        assert self.extractor is not None
        mine = [metric for metric in metrics if metric.side == side]
        return FeatureTap(
            self.extractor, side=side, features=any(metric.features for metric in mine), logits=any(metric.logits for metric in mine)
        )

    # -- real pictures --------------------------------------------------------------------------------------------------------

    def _manifest(self, side: int | None) -> dict[str, Any]:
        assert self.extractor is not None
        return {**self.extractor.identity, "first_resized_to": side}

    def _reference_statistics(self, side: int | None, features: bool) -> Statistics:
        """Moments (and feature vectors) of the real pictures, from beside the dataset where they are there already."""
        assert self.reference is not None and self.extractor is not None
        manifest = self._manifest(side)
        if isinstance(self.reference, Statistics):
            self.reference.require_same(manifest, self.reference_path)
            if features and self.reference.features is None:
                raise DataError(
                    "this file has no feature vectors, only their mean and covariance",
                    where=self.reference_path,
                    hint="kid and precision-recall need them: compare with the pictures themselves",
                )
            if len(self.reference.mean) != self.extractor.feature_dim:
                raise MismatchError(
                    f"these statistics have {len(self.reference.mean):,} dimensions, and the extractor {self.extractor.feature_dim:,}",
                    where=self.reference_path,
                )
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
            tap = FeatureTap(self.extractor, side=side, features=features)
            stream(self.reference, [tap], batch_size=self.batch_size, world=self.world, progress=self.progress)
            if self.world.is_main:
                assert tap.moments is not None
                found = Statistics.of(tap.moments, tap.features if features else None, {**manifest, **self.reference.description})
                if path is not None:
                    found.save(path)
        if found is not None:
            self.kept[key] = found
        return found  # type: ignore[return-value]

    # -- scores ---------------------------------------------------------------------------------------------------------------

    def _score(self, metric: Metric, taps: dict[Any, Any]) -> list[Result]:
        match metric.name:
            case "fid" | "fid-64":
                return [self._fid(metric, taps[metric.side])]
            case "is" | "is-64":
                logits = taps[metric.side].logits
                order = np.random.default_rng(self.seed).permutation(len(logits))  # sets in the order of their classes split badly
                mean, std = inception_score(logits[order], self.protocol.splits)
                return [self._result(metric, mean, std, {"splits": self.protocol.splits, "shuffled": True})]
            case "kid":
                real = self._real[metric.side]
                assert real.features is not None
                size = min(1000, len(real.features), len(self.subject))
                mean, std = kernel_distance(real.features, taps[metric.side].features, size=size, seed=self.seed)
                return [self._result(metric, mean, std, {"n_real": real.count, "subsets": 100, "subset_size": size})]
            case "precision-recall":
                real = self._real[metric.side]
                assert real.features is not None
                precision, recall = precision_recall(real.features, taps[metric.side].features, k=3)
                more = {"precision": precision, "recall": recall}
                return [self._result(metric, precision, None, {"n_real": real.count, "k": 3}, more)]
            case "ms-ssim":
                return [self._ms_ssim(metric, taps["pictures"])]
            case "vs-similarity":
                return [self._vs_similarity(metric, taps["joint"].vectors)]
            case "r-precision":
                return [self._r_precision(metric, taps["joint"].vectors)]
            case "accuracy":
                assert self.right is not None and self.extractor is not None
                share, by_output = agreement(taps[metric.side].logits, self.right)
                result = self._result(metric, share, None, {}, accuracy_facts(by_output, self.extractor.classes))
                return [replace(result, title=f"{metric.title} (by {self.extractor.label})")]
        raise AssertionError(metric.name)

    def _fid(self, metric: Metric, tap: FeatureTap) -> Result:
        real, fake = self._real[metric.side], tap.moments
        assert fake is not None
        count, dimensions = fake.n, len(real.mean)
        least = min(count, real.count or count)
        if least <= dimensions:
            self.warn(f"{metric.title} of {least:,} pictures with {dimensions:,}-dimensional features: fewer pictures than dimensions")
        elif least < FEW:
            self.warn(f"{metric.title} of {least:,} pictures: compare it only with others of as many")
        value = frechet_distance(fake.mean, fake.covariance, real.mean, real.covariance)
        return self._result(metric, value, None, {"n_real": real.count})

    def _ms_ssim(self, metric: Metric, tap: PictureTap) -> Result:
        classes = None if self.subject.class_ids is None else self.subject.class_ids[tap.indices]
        found = ms_ssim_diversity(tap.pictures, classes, seed=self.seed, compat=self.compat)
        more = {key: value for key, value in found.items() if value is not None}
        value = found["overall"]
        assert value is not None
        return self._result(metric, value, None, {"pictures": len(tap.indices), "compat": self.compat}, more)

    def _vs_similarity(self, metric: Metric, images: np.ndarray) -> Result:
        assert self.joint is not None and self.subject.captions is not None
        each = similarity(images, self.joint.text_vectors(self.subject.captions))
        more: dict[str, Any] = {}
        if isinstance(self.reference, ImageSet) and self.reference.captions is not None and self.reference.side is not None:
            tap = VectorTap(self.joint.image_vectors)
            stream(self.reference, [tap], batch_size=self.batch_size)
            real = similarity(tap.vectors, self.joint.text_vectors(self.reference.captions))
            more = {"real": float(real.mean()), "real_std": float(real.std()), "n_real": len(real)}
        return self._result(metric, float(each.mean()), float(each.std()), {"joint_space": self.joint.identity}, more)

    def _r_precision(self, metric: Metric, images: np.ndarray) -> Result:
        assert self.joint is not None and self.subject.captions is not None
        mean, std = r_precision(images, self.joint.text_vectors(self.subject.captions), self.subject.class_ids, seed=self.seed)
        return self._result(metric, mean, std, {"joint_space": self.joint.identity, "candidates": 100, "folds": 10})

    def _result(self, metric: Metric, value: float, std: float | None, facts: dict[str, Any], more: dict[str, Any] | None = None) -> Result:
        protocol: dict[str, Any] = {"name": self.protocol.name}
        if metric.name not in WITHOUT_EXTRACTOR:
            protocol |= self._manifest(metric.side)
        if metric.reference:
            is_set = isinstance(self.reference, ImageSet)
            protocol["real"] = self.reference.description if is_set else {"statistics": str(self.reference_path), **self.reference.manifest}  # type: ignore[union-attr]
        protocol |= {"fake": self.subject.description, "n_fake": len(self.subject), "seed": self.seed, **facts}
        label = metric.title if metric.name in WITHOUT_EXTRACTOR else f"{metric.title} ({self._label()})"
        return Result(metric.name, label, float(value), None if std is None else float(std), protocol, more or {})

    def _label(self) -> str:
        """What tells this figure from others of the same name: the protocol, or the features it is of."""
        assert self.extractor is not None
        if self.protocol.extractor == self.extractor.name:
            return self.protocol.name
        return f"features of {self.extractor.label}"
