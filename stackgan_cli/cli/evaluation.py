"""What `stackgan evaluate` does: finds the pictures and the instruments, has them measured, and writes the figures down."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackgan_cli.cli.features import default_extractor, default_judge, pick_extractor, pick_joint, right_outputs
from stackgan_cli.cli.subjects import Subject, drawn, find_subject, run_of
from stackgan_cli.cli.ui import Session, table
from stackgan_cli.errors import DataError, UsageError

if TYPE_CHECKING:
    import torch

    from stackgan_cli.data.cache import Cache
    from stackgan_cli.encoders.extractor import Extractor
    from stackgan_cli.metrics.evaluation import Metric, Result
    from stackgan_cli.metrics.image_sets import ImageSet
    from stackgan_cli.metrics.joint_space import JointSpace
    from stackgan_cli.metrics.protocols import Protocol
    from stackgan_cli.metrics.statistics import Statistics
    from stackgan_cli.runtime import World


@dataclass(frozen=True)
class Settings:
    """The options of the command, as they were given."""

    metrics: list[str]
    protocol: str
    extractor: str
    cache: str
    split: str
    count: int | None
    side: int | None
    seed: int
    splits: int | None
    joint: str
    text_encoder: Path | None
    compat: str | None
    weights_folder: Path | None
    save_statistics: Path | None
    batch_size: int | None
    device: str


def evaluate_all(session: Session, subject: str, reference: str, pattern: str, settings: Settings) -> tuple[dict[str, Any], str]:
    """Measure one subject, or every weights file that `pattern` names. Returns the JSON document and the text."""
    from stackgan_cli.metrics.evaluation import find_metrics
    from stackgan_cli.runtime import World, pick_device

    metrics = find_metrics(settings.metrics)
    world, device = World.from_environment(), pick_device(settings.device)
    world.start(device)
    evaluator = Evaluator(session, settings, metrics, device, world)
    if not pattern:
        results, step = evaluator.measure(find_subject(session, subject), reference)
        facts: dict[str, Any] = {"results": [result.line(step) for result in results]}
        text = _figures(results)
        if settings.save_statistics is not None:
            facts["statistics"] = str(settings.save_statistics)
            text = "\n".join(filter(None, (text, facts["statistics"])))
        return facts, text
    lines, rows = [], []
    files = _matching(session, pattern)
    several = len({path.parent for path in files}) > 1
    if settings.save_statistics is not None and len(files) > 1:
        raise UsageError(f"one file cannot hold the statistics of {len(files)} weights files", where="--save-statistics")
    for path in files:
        run = run_of(path)
        results, step = evaluator.measure(Subject(weights=path, run=run), reference)
        lines += [result.line(step) for result in results]
        label = f"{path.parent.parent.name if run else path.stem} {step:,}" if several else f"{step:,}"
        rows.append((label, *(f"{result.value:.4g}" for result in results)))
        session.say(f"step {step:,}: {_figures(results)}".replace("\n", "; "))
    return {"results": lines}, table(rows, ("step", *(metric.name for metric in metrics))) if world.is_main else ""


def _matching(session: Session, pattern: str) -> list[Path]:
    """The weights files of a pattern, as seen from here or from the workspace, by name; `latest` is another name of one of them."""
    for start in (Path.cwd(), session.workspace.root.absolute()):
        wanted = start / Path(pattern).expanduser()
        found = sorted(path for path in Path(wanted.anchor).glob(str(wanted.relative_to(wanted.anchor))) if path.suffix == ".safetensors")
        if found:
            return [path for path in found if path.stem != "latest"] or found
    raise UsageError(f"no weights files are called {pattern!r}", where="--weights", hint="for example 'runs/NAME/weights/step-*'")


def _figures(results: list[Result]) -> str:
    rows = []
    for result in results:
        spread = "" if result.std is None else f" ± {result.std:.3g}"
        beside = "  ".join(f"{key.replace('_', ' ')} {value:.4g}" for key, value in result.more.items() if isinstance(value, float))
        rows.append((result.title, f"{result.value:.5g}{spread}", beside))
    return table(rows) if rows else ""


@dataclass
class Evaluator:
    """Measures subjects one after the other with the same instruments."""

    session: Session
    settings: Settings
    metrics: list[Metric]
    device: torch.device
    world: World
    _kept: dict[str, Statistics] = field(default_factory=dict)
    _extractors: dict[str, Extractor] = field(default_factory=dict)
    _joints: dict[str, JointSpace] = field(default_factory=dict)

    def measure(self, subject: Subject, reference: str) -> tuple[list[Result], int | None]:
        """The results about one subject and the step of its weights, and a line each in its run's `metrics.jsonl`."""
        from stackgan_cli.metrics.evaluation import WITHOUT_EXTRACTOR, Evaluation, check
        from stackgan_cli.metrics.image_sets import CacheSet
        from stackgan_cli.runs import Weights

        protocol = self._protocol()
        split = self.settings.split or protocol.split or "test"
        cache = self._cache(subject)
        pictures, step = self._pictures(subject, cache, split, protocol)
        if subject.weights is None and protocol.count not in (None, len(pictures)):
            protocol = replace(protocol, name=self._changed(protocol, "count"))
        whole = subject.weights is not None and Weights.open(subject.weights).config.data.whole
        real, real_path = self._reference(reference, subject, cache, split, pictures, whole)
        check(self.metrics, pictures, real, protocol)
        if cache is None and isinstance(real, CacheSet):
            cache = real.cache
        needs_features = self.settings.save_statistics is not None or any(metric.name not in WITHOUT_EXTRACTOR for metric in self.metrics)
        extractor = self._extractor(cache, protocol) if needs_features else None
        joint = self._joint(cache) if any(metric.joint for metric in self.metrics) else None
        right = None
        if extractor is not None and extractor.has_logits and any(metric.name == "accuracy" for metric in self.metrics):
            right = right_outputs(self.session, pictures, extractor, subject.weights)
        with self.session.progress("measuring", unit="images") as bar:
            evaluation = Evaluation(
                pictures,
                real,
                protocol,
                extractor,
                joint,
                right,
                seed=self.settings.seed,
                batch_size=self.settings.batch_size or default_batch_size(self.device, pictures.side),
                compat=self.settings.compat,
                reference_path=real_path,
                world=self.world,
                progress=bar.update,
                warn=self.session.warn,
                save_to=self.settings.save_statistics,
                kept=self._kept,
            )
            results = evaluation.run(self.metrics)
        if subject.run is not None:
            for result in results:
                subject.run.append_metric(result.line(step))
        return results, step

    def _protocol(self) -> Protocol:
        """The named protocol with what the options change; a changed one says so in its name. Its extractor stays the named one's."""
        from stackgan_cli.metrics.protocols import find_protocol

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
        """What a protocol is called that differs in those points."""
        self.session.warn(f"this is no longer the protocol {self.settings.protocol}: {', '.join(keys)} changed")
        return f"{protocol.name}, {'' if ' with other ' in protocol.name else 'with other '}{', '.join(keys)}"

    def _extractor(self, cache: Cache | None, protocol: Protocol) -> Extractor:
        default = default_judge if any(metric.name == "accuracy" for metric in self.metrics) else default_extractor
        spec = self.settings.extractor or protocol.extractor or default(self.session, cache, str(self.device))
        if spec not in self._extractors:
            self._extractors[spec] = pick_extractor(
                self.session,
                spec,
                cache,
                self.device,
                weights_folder=self.settings.weights_folder,
                resize=protocol.resize,
                logits=protocol.logits,
            )
        return self._extractors[spec]

    def _cache(self, subject: Subject) -> Cache | None:
        """The dataset whose captions and real pictures are meant; None for folders without --cache.

        A model without captions can be measured without its dataset.
        """
        from stackgan_cli.data.cache import Cache
        from stackgan_cli.runs import Weights

        name = self.settings.cache or subject.cache
        if name:
            return Cache.open(self.session.workspace.cache_path(name))
        if subject.weights is None:
            return None
        weights = Weights.open(subject.weights)
        try:
            return Cache.open(self.session.workspace.cache_path(weights.config.data.cache))
        except DataError as error:
            if weights.text_encoder is None:
                return None
            hint = "name one whose captions are to be drawn with --cache, or prepare this one"
            raise DataError(error.message, where=error.where, hint=hint) from None

    def _pictures(self, subject: Subject, cache: Cache | None, split: str, protocol: Protocol) -> tuple[ImageSet, int | None]:
        from stackgan_cli.data.cache import Cache
        from stackgan_cli.metrics.image_sets import CacheSet, FolderSet
        from stackgan_cli.sampling import Sampler

        if subject.weights is None and self.settings.count is not None:
            raise UsageError("only of a generator pictures are drawn: what is there is measured whole", where="--count")
        if subject.folder is not None:
            if self.settings.side is not None:
                raise UsageError("the pictures of a folder are measured at their own size", where="--scale")
            return FolderSet(subject.folder), None
        if subject.statistics is not None:
            raise UsageError(
                "statistics can only be compared with", where=subject.statistics, hint="stackgan evaluate PICTURES STATISTICS.npz"
            )
        if subject.weights is None:
            own = Cache.open(self.session.workspace.cache_path(subject.cache))
            return CacheSet(own, subject.split or split, self.settings.side or largest_side(own)), None
        sampler = Sampler.load(subject.weights, self.device, text_encoder=self.settings.text_encoder)
        count = protocol.count
        if count is not None and protocol.drop_last is not None:
            count -= count % protocol.drop_last
            if not count:
                raise UsageError(f"{protocol.name} leaves out an incomplete batch of {protocol.drop_last}: draw more", where="--count")
        found = drawn(
            self.session,
            sampler,
            cache,
            split=split,
            count=count,
            side=self.settings.side,
            seed=self.settings.seed,
            device=self.device,
        )
        return found, sampler.weights.step

    def _reference(
        self, name: str, subject: Subject, cache: Cache | None, split: str, pictures: ImageSet, whole: bool
    ) -> tuple[ImageSet | Statistics | None, Path | None]:
        """The real pictures that `name` means; without a name those of the dataset. None when there are none, or none are needed.

        They are seen as the subject's model saw them, `whole` or cropped.
        """
        from stackgan_cli.data.cache import Cache
        from stackgan_cli.metrics.image_sets import CacheSet, FolderSet
        from stackgan_cli.metrics.statistics import Statistics

        if not name:
            own = subject.cache and not self.settings.cache  # pictures of a dataset are not compared with themselves
            needed = any(metric.reference or metric.name == "vs-similarity" for metric in self.metrics)
            if cache is None or own or not needed:
                return None, None
            return CacheSet(cache, split, pictures.side or largest_side(cache), whole=whole), None
        found = find_subject(self.session, name)
        if found.statistics is not None:
            return Statistics.load(found.statistics), found.statistics
        if found.folder is not None:
            return FolderSet(found.folder), None
        if not found.cache:
            raise UsageError("real pictures are a folder, a prepared dataset or an .npz file of statistics", where=name)
        real = Cache.open(self.session.workspace.cache_path(found.cache))
        return CacheSet(real, found.split or split, pictures.side or largest_side(real), whole=whole), None

    def _joint(self, cache: Cache | None) -> JointSpace:
        key = str(cache.path) if cache is not None else ""
        if key not in self._joints:
            self._joints[key] = pick_joint(self.session, self.settings.joint, cache, self.device)
        return self._joints[key]


def default_batch_size(device: torch.device, side: int | None) -> int:
    """64 on a GPU; on a CPU as many as have half a million pixels, since larger batches cost more in memory traffic than they save."""
    return 64 if device.type == "cuda" else max(4, min(64, 2**19 // (side or 256) ** 2))


def largest_side(cache: Cache) -> int:
    """The largest side at which a dataset can be seen: its own where it has no captions, as models of labels see it whole."""
    from stackgan_cli.data.pixels import load_size

    if not cache.num_captions:
        return cache.image_size
    sides = [side for side in (512, 256, 128, 64, 32, 16) if load_size(side) <= cache.image_size]
    if not sides:
        raise DataError(f"images of {cache.image_size} px are too small to be measured", where=cache.path)
    return sides[0]
