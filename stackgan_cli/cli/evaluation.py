"""What `stackgan evaluate` does: finds the pictures and the instruments, has them measured, and writes the figures down."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackgan_cli.cli.features import pick_extractor
from stackgan_cli.cli.subjects import Subject, drawn, find_subject, run_of
from stackgan_cli.cli.ui import Session, table
from stackgan_cli.errors import DataError, MismatchError, UsageError

if TYPE_CHECKING:
    import torch

    from stackgan_cli.data.cache import Cache
    from stackgan_cli.metrics.evaluation import Metric, Result
    from stackgan_cli.metrics.joint import JointSpace
    from stackgan_cli.metrics.protocols import Protocol
    from stackgan_cli.metrics.sets import ImageSet
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
        return {"results": [result.line(step) for result in results]}, _figures(results)
    wanted = Path(pattern).expanduser().absolute()
    files = sorted(Path(wanted.anchor).glob(str(wanted.relative_to(wanted.anchor))))
    files = [path for path in files if path.suffix == ".safetensors" and path.stem != "latest"]
    if not files:
        raise UsageError("no weights files of this pattern", where="--weights", hint="for example 'runs/NAME/weights/step-*'")
    lines, rows = [], []
    for path in files:
        results, step = evaluator.measure(Subject(weights=path, run=run_of(path)), reference)
        lines += [result.line(step) for result in results]
        rows.append((f"{step:,}", *(f"{result.value:.4g}" for result in results)))
        session.say(f"step {step:,}: {_figures(results)}".replace("\n", "; "))
    return {"results": lines}, table(rows, ("step", *(metric.name for metric in metrics))) if world.is_main else ""


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

    def measure(self, subject: Subject, reference: str) -> tuple[list[Result], int | None]:
        """The results about one subject and the step of its weights, and a line each in its run's `metrics.jsonl`."""
        from stackgan_cli.metrics.evaluation import WITHOUT_EXTRACTOR, Evaluation

        protocol = self._protocol()
        split = self.settings.split or protocol.split or "test"
        cache = self._cache(subject)
        pictures, step = self._pictures(subject, cache, split, protocol)
        real, real_path = self._reference(reference, subject, cache, split, pictures)
        names = [metric.name for metric in self.metrics]
        needs_features = self.settings.save_statistics is not None or any(name not in WITHOUT_EXTRACTOR for name in names)
        extractor = None
        if needs_features:
            extractor = pick_extractor(
                self.session,
                self.settings.extractor or protocol.extractor or "",
                cache,
                self.device,
                weights_folder=self.settings.weights_folder,
                resize=protocol.resize,
                logits=protocol.logits,
            )
        joint = self._joint(cache) if {"vs-similarity", "r-precision"} & set(names) else None
        with self.session.progress("measuring", unit="images") as bar:
            evaluation = Evaluation(
                pictures,
                real,
                protocol,
                extractor,
                joint,
                seed=self.settings.seed,
                batch_size=self.settings.batch_size or default_batch_size(self.device, pictures.side),
                compat=self.settings.compat,
                reference_path=real_path,
                world=self.world,
                progress=bar.update,
                warn=self.session.warn,
                save_to=self.settings.save_statistics,
            )
            results = evaluation.run(self.metrics)
        if subject.run is not None:
            for result in results:
                subject.run.append_metric(result.line(step))
        return results, step

    def _protocol(self) -> Protocol:
        """The named protocol with what the options change; a changed one says so in its name."""
        from stackgan_cli.metrics.protocols import find_protocol

        named, settings = find_protocol(self.settings.protocol), self.settings
        given = {
            "extractor": settings.extractor or None,
            "count": settings.count,
            "split": settings.split or None,
            "splits": settings.splits,
        }
        changed: dict[str, Any] = {key: value for key, value in given.items() if value is not None and value != getattr(named, key)}
        if named.name != "default" and changed:
            name = f"{named.name}, with other {', '.join(changed)}"
            self.session.warn(f"this is no longer the protocol {named.name}: {', '.join(changed)} changed")
            return replace(named, name=name, **changed)
        return replace(named, **changed)

    def _cache(self, subject: Subject) -> Cache | None:
        """The dataset whose captions and real pictures are meant; None for folders without --cache."""
        from stackgan_cli.data.cache import Cache
        from stackgan_cli.runs import Weights

        name = self.settings.cache or subject.cache
        if name:
            return Cache.open(self.session.workspace.cache_path(name))
        if subject.weights is None:
            return None
        return Cache.open(self.session.workspace.cache_path(Weights.open(subject.weights).config.data.cache))

    def _pictures(self, subject: Subject, cache: Cache | None, split: str, protocol: Protocol) -> tuple[ImageSet, int | None]:
        from stackgan_cli.metrics.sets import CacheSet, FolderSet
        from stackgan_cli.sampling import Sampler

        if subject.folder is not None:
            return FolderSet(subject.folder), None
        if subject.statistics is not None:
            raise UsageError(
                "statistics can only be compared with", where=subject.statistics, hint="stackgan evaluate PICTURES STATISTICS.npz"
            )
        if subject.weights is None:
            assert cache is not None
            return CacheSet(cache, subject.split or split, self.settings.side or largest_side(cache)), None
        sampler = Sampler.load(subject.weights, self.device)
        count = protocol.count
        if count is not None and protocol.drop_last is not None:
            count -= count % protocol.drop_last
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
        self, name: str, subject: Subject, cache: Cache | None, split: str, pictures: ImageSet
    ) -> tuple[ImageSet | Statistics | None, Path | None]:
        """The real pictures that `name` means; without a name those of the dataset. None when there are none."""
        from stackgan_cli.data.cache import Cache
        from stackgan_cli.metrics.sets import CacheSet, FolderSet
        from stackgan_cli.metrics.statistics import Statistics

        if not name:
            own = subject.cache and not self.settings.cache  # pictures of a dataset are not compared with themselves
            if cache is None or own or pictures.side is None:
                return None, None
            return CacheSet(cache, split, pictures.side), None
        found = find_subject(self.session, name)
        if found.statistics is not None:
            return Statistics.load(found.statistics), found.statistics
        if found.folder is not None:
            return FolderSet(found.folder), None
        if not found.cache:
            raise UsageError("real pictures are a folder, a prepared dataset or an .npz file of statistics", where=name)
        real = Cache.open(self.session.workspace.cache_path(found.cache))
        return CacheSet(real, found.split or split, pictures.side or largest_side(real)), None

    def _joint(self, cache: Cache | None) -> JointSpace:
        """The judge of captions: --joint, else the newest vs-similarity, else the newest text encoder, that was trained on the dataset."""
        from stackgan_cli.metrics.joint import JointSpace
        from stackgan_cli.runs import Run

        workspace = self.session.workspace
        if self.settings.joint:
            path = Path(self.settings.joint).expanduser()
            found = path if path.is_file() else workspace.find_run(self.settings.joint).latest_weights()
            if found is None:
                raise MismatchError("this run has no weights yet", where=self.settings.joint)
            return JointSpace.open(found, self.device)
        for arch in ("vs-similarity", "char-cnn-rnn"):
            for name in workspace.run_names():
                run = Run(workspace.runs / name)
                weights = run.latest_weights()
                mine = cache is not None and run.config.data.cache in (cache.path.stem, str(cache.path))
                if run.config.model.arch == arch and weights is not None and mine:
                    self.session.say(f"captions are judged by {name}")
                    return JointSpace.open(weights, self.device)
        raise MismatchError(
            "nothing here can compare pictures with captions", hint="stackgan train --preset vs-similarity, or --joint FILE"
        )


def default_batch_size(device: torch.device, side: int | None) -> int:
    """64 on a GPU; on a CPU as many as have half a million pixels, since larger batches cost more in memory traffic than they save."""
    return 64 if device.type == "cuda" else max(4, min(64, 2**19 // (side or 256) ** 2))


def largest_side(cache: Cache) -> int:
    """The largest side at which a dataset can be seen."""
    from stackgan_cli.data.feed import load_size

    sides = [side for side in (512, 256, 128, 64, 32, 16) if load_size(side) <= cache.image_size]
    if not sides:
        raise DataError(f"images of {cache.image_size} px are too small to be measured", where=cache.path)
    return sides[0]
