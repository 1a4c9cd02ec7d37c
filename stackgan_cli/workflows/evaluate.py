"""`evaluate`: find the images and the instruments, have them measured, and write the figures down."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from stackgan_cli.data.cache import Cache
from stackgan_cli.data.pixels import load_size
from stackgan_cli.encoders.extractor import Extractor
from stackgan_cli.errors import DataError, UsageError
from stackgan_cli.metrics.evaluation import Evaluation, Result, check
from stackgan_cli.metrics.image_sets import CacheSet, FolderSet, ImageSet
from stackgan_cli.metrics.joint_space import JointSpace
from stackgan_cli.metrics.metric import Metric
from stackgan_cli.metrics.protocols import Protocol, find_protocol
from stackgan_cli.metrics.statistics import Statistics
from stackgan_cli.metrics.table import find_metrics
from stackgan_cli.runs import Run, Weights
from stackgan_cli.runtime import World, pick_device
from stackgan_cli.sampling import Sampler
from stackgan_cli.workflows.generators import generated_set
from stackgan_cli.workflows.instruments import default_extractor, default_judge, pick_extractor, pick_joint, right_outputs
from stackgan_cli.workflows.reporter import SILENT, Reporter
from stackgan_cli.workspace import CacheFile, ImageFolder, Name, Named, StatisticsFile, WeightsFile, Workspace, run_of


@dataclass(frozen=True)
class Settings:
    """How images are measured."""

    protocol: str = "default"
    """default, stackgan-is, ttur, clean, t2i-legacy or cifar."""
    extractor: str = ""
    """See encoders/extractor.py; empty: the classifier of the dataset, else Inception of 2015; for accuracy, one of its labels."""
    cache: str = ""
    """Dataset of captions and real images; empty: the run's."""
    split: str = ""
    """Of the dataset; empty: the protocol's, else test."""
    count: int | None = None
    """Images to generate; None: the protocol's, else one per caption, at most 30,000."""
    scale: int | None = None
    """Side of the generated images in pixels; None: the largest."""
    seed: int = 0
    """Of captions, noise and subsets."""
    splits: int | None = None
    """Splits of the inception score; None: 10."""
    joint: str = ""
    """The vs-similarity or text encoder that scores captions, a run or a file; empty: the newest of the dataset."""
    text_encoder: Path | None = None
    """The text encoder's file, where the weights do not carry it."""
    compat: str | None = None
    """ms-ssim: `hdgan` pairs images as its released script does."""
    weights_folder: Path | None = None
    """Where published weights of extractors lie; None: `extractors/` of the workspace."""
    trust: bool = False
    """Whether a TorchScript file may be opened as extractor: it is a program."""
    save_statistics: Path | None = None
    """Also write the statistics of the subject to this .npz file."""
    batch_size: int | None = None
    """Images at a time; None: chosen for the device."""


@dataclass(frozen=True)
class Measured:
    """The results about one subject; `measured["fid"].value` is a figure."""

    results: list[Result]
    weights: WeightsFile | None = None
    step: int | None = None
    """The training step of the weights."""

    def __getitem__(self, metric: str) -> Result:
        return next(result for result in self.results if result.metric == metric)

    def lines(self) -> list[dict[str, Any]]:
        """The results as lines of `metrics.jsonl`."""
        return [result.line(self.step) for result in self.results]


def evaluate(
    subject: Name = "",
    reference: Name = "",
    *,
    metrics: Sequence[str] = ("fid",),
    workspace: Workspace | None = None,
    device: str = "auto",
    reporter: Reporter = SILENT,
    **settings: Any,
) -> Measured:
    """Measure a run, weights file, folder of images or dataset (default: the newest run that makes images).

    `reference` are the real images: a folder, `CACHE[:SPLIT]` or an .npz file of statistics; by default those of the subject's dataset.
    `settings` are the fields of `Settings`. Results about a run are added to its `metrics.jsonl`. Under torchrun only the first process has
    results. Raises UsageError and DataError for images that cannot be measured so, before any network is opened.
    """
    workspace = workspace or Workspace.locate()
    evaluator = _evaluator(metrics, Settings(**settings), workspace, device, reporter)
    if isinstance(subject, str) and not subject:
        subject = workspace.newest_generator()
        reporter.say(f"measuring {subject.name}")
    return evaluator.measure(workspace.resolve(subject), reference)


def evaluate_weights(
    pattern: str,
    reference: Name = "",
    *,
    metrics: Sequence[str] = ("fid",),
    workspace: Workspace | None = None,
    device: str = "auto",
    reporter: Reporter = SILENT,
    **settings: Any,
) -> list[Measured]:
    """Measure every weights file that the glob `pattern` matches, relative to the current folder or the workspace: a curve."""
    workspace = workspace or Workspace.locate()
    evaluator = _evaluator(metrics, Settings(**settings), workspace, device, reporter)
    files = _generators(_matching(workspace, pattern), reporter)
    if evaluator.settings.save_statistics is not None and len(files) > 1:
        raise UsageError(f"one file cannot hold the statistics of {len(files)} weights files", where="--save-statistics")
    measured = []
    for path in files:
        measured.append(evaluator.measure(WeightsFile(path, run_of(path)), reference))
        figures = "; ".join(f"{result.title} {result.value:.5g}" for result in measured[-1].results)
        reporter.say(f"step {measured[-1].step:,}: {figures}")
    return measured


def _evaluator(metrics: Sequence[str], settings: Settings, workspace: Workspace, device: str, reporter: Reporter) -> Evaluator:
    found = find_metrics(metrics)
    world, chosen = World.from_environment(), pick_device(device)
    world.start(chosen)
    return Evaluator(workspace, reporter, settings, found, chosen, world)


def _matching(workspace: Workspace, pattern: str) -> list[Path]:
    """The weights files that match a pattern, by name, without `latest`, which is a link to one of them.

    Folders that exist under the name in the pattern are meant literally, such as `exp[1]`.
    """
    for start in (Path.cwd(), workspace.root.absolute()):
        wanted = start / Path(pattern).expanduser()
        if wanted.is_file():
            return [wanted]
        folder = next(parent for parent in wanted.parents if parent.exists())
        found = sorted(path for path in folder.glob(str(wanted.relative_to(folder))) if path.suffix == ".safetensors")
        if found:
            return [path for path in found if path.stem != "latest"] or found
    raise UsageError(f"no weights files are called {pattern!r}", where="--weights", hint="for example 'runs/NAME/weights/step-*'")


def _generators(files: list[Path], reporter: Reporter) -> list[Path]:
    """Those of several weights files that generate images: `runs/*` matches encoders and classifiers too. All of them if none does."""
    found = [path for path in files if len(files) == 1 or Weights.open(path).config.model.GENERATES_IMAGES]
    if found and len(found) < len(files):
        reporter.say(f"{len(files) - len(found)} of the {len(files)} weights files do not generate images and are left out")
    return found or files


@dataclass
class Evaluator:
    """Measures subjects one after the other with the same instruments."""

    workspace: Workspace
    reporter: Reporter
    settings: Settings
    metrics: list[Metric]
    device: torch.device
    world: World
    _kept: dict[str, Statistics] = field(default_factory=dict)
    _extractors: dict[str, Extractor] = field(default_factory=dict)
    _joints: dict[str, JointSpace] = field(default_factory=dict)

    def measure(self, subject: Named, reference: Name) -> Measured:
        """The results about one subject, and a line for each in its run's `metrics.jsonl`."""
        settings, protocol = self.settings, self._protocol()
        split = settings.split or protocol.split or "test"
        file = self.workspace.weights(subject) if isinstance(subject, Run | WeightsFile) else None
        weights = None if file is None else file.open()
        cache = self._cache(subject, weights)
        images = self._images(subject, weights, cache, split, protocol)
        if weights is None and protocol.count not in (None, len(images)):
            protocol = replace(protocol, name=self._changed(protocol, "count"))
        whole = weights is not None and weights.config.data.whole
        real, real_path = self._reference(reference, subject, cache, split, images, whole)
        check(self.metrics, images, real, protocol)
        if cache is None and isinstance(real, CacheSet):
            cache = real.cache
        needs_features = settings.save_statistics is not None or any(metric.needs_extractor for metric in self.metrics)
        extractor = self._extractor(cache, protocol) if needs_features else None
        joint = self._joint(cache) if any(metric.pairs for metric in self.metrics) else None
        right = None
        if extractor is not None and extractor.has_logits and any(metric.labels for metric in self.metrics):
            right = right_outputs(images, extractor, weights, self.reporter)
        with self.reporter.progress("measuring", unit="images") as bar:
            evaluation = Evaluation(
                images,
                real,
                protocol,
                extractor,
                joint,
                right,
                seed=settings.seed,
                batch_size=settings.batch_size or default_batch_size(self.device, images.side),
                compat=settings.compat,
                reference_path=real_path,
                world=self.world,
                progress=bar.update,
                warn=self.reporter.warn,
                save_to=settings.save_statistics,
                kept=self._kept,
            )
            results = evaluation.run(self.metrics)
        measured = Measured(results, file, None if weights is None else weights.step)
        if file is not None and file.run is not None:
            for line in measured.lines():
                file.run.append_metric(line)
        return measured

    def _protocol(self) -> Protocol:
        """The named protocol with what the settings change; a changed one says so in its name. Its extractor stays the named one's."""
        named, settings = find_protocol(self.settings.protocol), self.settings
        kind = settings.extractor.partition(":")[0]
        given = {
            "extractor": kind or None,
            "resize": "none" if kind in ("torchscript", "export") else None,  # these bring their own
            "count": settings.count,
            "split": settings.split or None,
            "splits": settings.splits,
        }
        changed: dict[str, Any] = {key: value for key, value in given.items() if value is not None and value != getattr(named, key)}
        if named.name == "default" or not changed:
            return replace(named, **{**changed, "extractor": None})
        return replace(named, **{**changed, "extractor": named.extractor, "name": self._changed(named, *changed)})

    def _changed(self, protocol: Protocol, *keys: str) -> str:
        """The name of a protocol that differs in those points."""
        self.reporter.warn(f"this is no longer the protocol {self.settings.protocol}: {', '.join(keys)} changed")
        return f"{protocol.name}, {'' if ' with other ' in protocol.name else 'with other '}{', '.join(keys)}"

    def _extractor(self, cache: Cache | None, protocol: Protocol) -> Extractor:
        default = default_judge if any(metric.labels for metric in self.metrics) else default_extractor
        if protocol.needs_network and not self.settings.extractor:
            raise UsageError(
                f"{self.settings.protocol} is measured with a network that was fine-tuned on the classes of the test split: name one",
                where="--extractor",
                hint="--extractor finetuned:FILE (with another, such as classifier:RUN, the result's name says so)",
            )
        spec = self.settings.extractor or protocol.extractor or default(cache, str(self.device), self.workspace, self.reporter)
        if spec not in self._extractors:
            self._extractors[spec] = pick_extractor(
                spec,
                cache,
                self.device,
                self.workspace,
                self.reporter,
                weights_folder=self.settings.weights_folder,
                trust=self.settings.trust,
                resize=protocol.resize,
                logits=protocol.logits,
            )
        return self._extractors[spec]

    def _cache(self, subject: Named, weights: Weights | None) -> Cache | None:
        """The dataset whose captions and real images are meant; None for folders without a named one.

        A model without captions can be measured without its dataset.
        """
        if self.settings.cache:
            return self.workspace.open_cache(self.settings.cache)
        if isinstance(subject, CacheFile):
            return subject.open()
        if weights is None:
            return None
        try:
            return self.workspace.open_cache(weights.config.data.cache)
        except DataError as error:
            if weights.text_encoder is None:
                return None
            hint = "name one whose captions to use with --cache, or prepare this one"
            raise DataError(error.message, where=error.where, hint=hint) from None

    def _images(self, subject: Named, weights: Weights | None, cache: Cache | None, split: str, protocol: Protocol) -> ImageSet:
        """The images to measure."""
        settings = self.settings
        if weights is None and settings.count is not None:
            raise UsageError("--count applies to generators only: a folder or dataset is measured whole", where="--count")
        if isinstance(subject, ImageFolder):
            if settings.scale is not None:
                raise UsageError("the images of a folder are measured at their own size", where="--scale")
            return self._folder(subject.path)
        if isinstance(subject, StatisticsFile):
            raise UsageError(
                "a statistics file can only be the reference", where=subject.path, hint="stackgan evaluate IMAGES STATISTICS.npz"
            )
        if isinstance(subject, CacheFile):
            own = subject.open() if cache is None or cache.path != subject.path else cache
            return CacheSet(own, subject.split or split, settings.scale or largest_side(own))
        assert weights is not None
        sampler = Sampler.of(weights, self.device, text_encoder=settings.text_encoder)
        count = protocol.count
        if count is not None and protocol.drop_last is not None:
            count -= count % protocol.drop_last
            if not count:
                raise UsageError(f"{protocol.name} leaves out an incomplete batch of {protocol.drop_last}: raise --count", where="--count")
        return generated_set(sampler, cache, split=split, count=count, side=settings.scale, seed=settings.seed)

    def _reference(
        self, name: Name, subject: Named, cache: Cache | None, split: str, images: ImageSet, whole: bool
    ) -> tuple[ImageSet | Statistics | None, Path | None]:
        """The real images that `name` means; without a name those of the dataset. None when there are none, or none are needed.

        They are seen as the subject's model saw them, `whole` or cropped.
        """
        if isinstance(name, str) and not name:
            own = isinstance(subject, CacheFile) and not self.settings.cache  # images of a dataset are not compared with themselves
            needed = any(metric.reference != "none" for metric in self.metrics)
            if cache is None or own or not needed:
                return None, None
            return CacheSet(cache, split, images.side or largest_side(cache), whole=whole), None
        match self.workspace.resolve(name):
            case StatisticsFile(path):
                return Statistics.load(path), path
            case ImageFolder(path):
                return self._folder(path), None
            case CacheFile() as file:
                real = file.open()
                return CacheSet(real, file.split or split, images.side or largest_side(real), whole=whole), None
            case _:
                raise UsageError("the reference is a folder, a prepared dataset or an .npz file of statistics", where=name)

    def _folder(self, path: Path) -> FolderSet:
        images = FolderSet(path)
        for note in images.notes:
            self.reporter.warn(f"{path}: {note}")
        return images

    def _joint(self, cache: Cache | None) -> JointSpace:
        key = str(cache.path) if cache is not None else ""
        if key not in self._joints:
            self._joints[key] = pick_joint(self.settings.joint, cache, self.device, self.workspace, self.reporter)
        return self._joints[key]


def default_batch_size(device: torch.device, side: int | None) -> int:
    """64 on a GPU; on a CPU as many as have half a million pixels, since larger batches cost more in memory traffic than they save."""
    return 64 if device.type == "cuda" else max(4, min(64, 2**19 // (side or 256) ** 2))


def largest_side(cache: Cache) -> int:
    """The largest resolution at which a cache can be measured: the stored one for datasets without captions, which are used whole."""
    if not cache.num_captions:
        return cache.image_size
    sides = [side for side in (512, 256, 128, 64, 32, 16) if load_size(side) <= cache.image_size]
    if not sides:
        raise DataError(f"images of {cache.image_size} px are too small to be measured", where=cache.path)
    return sides[0]
