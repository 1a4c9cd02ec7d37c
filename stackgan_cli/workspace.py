"""The workspace: the folder of caches, runs, encoders and extractors, and the one place where a name becomes an object.

    ROOT/  caches/NAME.h5  runs/NAME/  encoders/HASH.safetensors  extractors/  samples/  downloads/

A name means the same everywhere: a run of the workspace, else a prepared cache of it, else a path.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from stackgan_cli.data.cache import Cache
from stackgan_cli.errors import DataError, UsageError, did_you_mean
from stackgan_cli.runs import Run, Weights


@dataclass(frozen=True)
class WeightsFile:
    """A weights file, and the run whose folder it lies in, if any."""

    path: Path
    run: Run | None = None

    def open(self) -> Weights:
        """The open file. Raises MismatchError when it is not a weights file of ours."""
        return Weights.open(self.path)


@dataclass(frozen=True)
class CacheFile:
    """A prepared cache, and the split of it that was named (`CACHE:SPLIT`), if any."""

    path: Path
    split: str = ""

    def open(self) -> Cache:
        """The open cache. Raises DataError for a damaged one."""
        return Cache.open(self.path)


@dataclass(frozen=True)
class ImageFolder:
    """A folder that is not a run: images to measure."""

    path: Path


@dataclass(frozen=True)
class StatisticsFile:
    """An `.npz` file with statistics of images."""

    path: Path


Named = Run | WeightsFile | CacheFile | ImageFolder | StatisticsFile
"""Whatever a name can stand for."""
Name = str | Path | Run | WeightsFile | CacheFile | ImageFolder | StatisticsFile
"""A name as it was typed, or what it stands for."""


@dataclass(frozen=True)
class Workspace:
    """The folder that holds `caches/` and `runs/`."""

    root: Path

    def __init__(self, root: str | Path = ".") -> None:
        object.__setattr__(self, "root", Path(root).expanduser())

    @classmethod
    def locate(cls, root: str | Path | None = None) -> Workspace:
        """`root`, else $STACKGAN_HOME, else the current folder."""
        return cls(root or os.environ.get("STACKGAN_HOME") or ".")

    # -- places ---------------------------------------------------------------------------------------------------------------

    @property
    def caches(self) -> Path:
        return self.root / "caches"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def encoders(self) -> Path:
        return self.root / "encoders"

    @property
    def extractors(self) -> Path:
        """Where published weights of extractors are kept."""
        return self.root / "extractors"

    def encoder_path(self, encoder_hash: str) -> Path:
        """Where the text encoder of this hash is kept, so that runs trained on its vectors can carry it."""
        return self.encoders / f"{encoder_hash[:8]}.safetensors"

    def cache_path_for(self, name: str) -> Path:
        """Where the cache called `name` belongs, whether it exists or not."""
        return self.caches / f"{name}.h5"

    def new_folder(self, parent: str, prefix: str = "") -> Path:
        """The first of `PARENT/PREFIX001`, `PARENT/PREFIX002`, ... that does not exist; it is not made."""
        return next(path for number in range(1, 1_000_000) if not (path := self.root / parent / f"{prefix}{number:03d}").exists())

    # -- caches ---------------------------------------------------------------------------------------------------------------

    def cache_names(self) -> list[str]:
        """Names of the prepared caches (caption vectors, which are their siblings, left out), newest first."""
        paths = [path for path in self.caches.glob("*.h5") if "." not in path.stem]
        return [path.stem for path in sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True)]

    def newest_cache(self) -> str:
        """The name of the newest cache. Raises UsageError when none has been prepared."""
        names = self.cache_names()
        if not names:
            raise UsageError("no dataset has been prepared yet", where=self.caches, hint="stackgan prepare demo")
        return names[0]

    def cache_path(self, name: str) -> Path:
        """The cache called `name`, or at the path `name`. Raises DataError, with the names of existing ones, when it is absent."""
        path = Path(name).expanduser()
        if path.suffix == ".h5" or len(path.parts) > 1:
            if path.is_file():
                return path
            raise DataError("no such cache", where=path, hint="stackgan prepare --help")
        path = self.cache_path_for(name)
        if path.is_file():
            return path
        there = self.cache_names()
        if there:
            raise DataError(
                f"the cache {name!r} has not been prepared; {', '.join(there)} {'is' if len(there) == 1 else 'are'} there",
                where=self.caches,
                hint=f"stackgan prepare {name}, or use what is there with data.cache={there[0]}",
            )
        raise DataError(f"the cache {name!r} has not been prepared", where=self.caches, hint=f"stackgan prepare {name}")

    def open_cache(self, name: str) -> Cache:
        """The cache called `name`, or at the path `name`. Raises DataError."""
        return Cache.open(self.cache_path(name))

    def name_of(self, cache: Cache) -> str:
        """What `data.cache` calls a cache: its name in the workspace, else its path."""
        return cache.path.stem if cache.path.parent.resolve() == self.caches.resolve() else str(cache.path)

    # -- runs -----------------------------------------------------------------------------------------------------------------

    def run_names(self) -> list[str]:
        """Names of the runs, newest first."""
        paths = [path.parent for path in self.runs.glob("*/config.yaml")]
        return [path.name for path in sorted(paths, key=_touched, reverse=True)]

    def all_runs(self) -> list[Run]:
        """The runs, newest first."""
        return [Run(self.runs / name) for name in self.run_names()]

    def run_at(self, name: str) -> Run | None:
        """The run called `name`, or in the folder `name`; None when there is none."""
        folders = (self.runs / name, Path(name).expanduser())
        return next((Run(folder) for folder in folders if (folder / "config.yaml").is_file()), None)

    def find_run(self, name: str | Run) -> Run:
        """The run called `name`, or in the folder `name`. Raises UsageError with a suggestion."""
        if isinstance(name, Run):
            return name
        run = self.run_at(name)
        if run is None:
            names = self.run_names()
            hint = f"runs here: {', '.join(names)}" if names else "no runs here yet: stackgan train --preset demo-stage1"
            raise UsageError(f"no run called {name!r}{did_you_mean(name, names)}", where=self.runs, hint=hint)
        return run

    def newest_run(self, arch: str | None = None, *, generates: bool = False) -> Run | None:
        """The newest run that has weights and is of an architecture, or (with `generates`) makes images."""
        for run in self.all_runs():
            model = run.config.model
            if run.latest_weights() and (model.GENERATES_IMAGES or not generates) and arch in (None, model.arch):
                return run
        return None

    def newest_generator(self) -> Run:
        """The newest run that makes images and has weights. Raises UsageError when there is none."""
        run = self.newest_run(generates=True)
        if run is None:
            raise UsageError("no run has weights yet", where=self.runs, hint="stackgan train --preset demo-stage1")
        return run

    # -- names ----------------------------------------------------------------------------------------------------------------

    def resolve(self, name: Name) -> Named:
        """What `name` stands for: a run, a cache (`CACHE` or `CACHE:SPLIT`), a folder of images, statistics, or a weights file.

        Names of the workspace come before paths, so `./demo` is a folder even where a cache is called demo. Raises UsageError, with a
        suggestion, for a name that stands for nothing.
        """
        if not isinstance(name, (str, Path)):
            return name
        name = str(name)
        run = self.run_at(name)
        if run is not None:
            return run
        cache, _, split = name.partition(":")
        if cache in self.cache_names():
            return CacheFile(self.cache_path_for(cache), split)
        path = Path(name).expanduser()
        if path.is_dir():
            return ImageFolder(path)
        if path.is_file() and path.suffix == ".npz":
            return StatisticsFile(path)
        if path.is_file() and path.suffix != ".h5":
            return WeightsFile(path, run_of(path))
        if Path(cache).suffix == ".h5" and Path(cache).expanduser().is_file():
            return CacheFile(Path(cache).expanduser(), split)
        names = [*self.run_names(), *self.cache_names()]
        raise UsageError(
            f"no run, weights file, folder or cache {name!r}{did_you_mean(name, names)}",
            hint="`stackgan info` lists the runs and caches here",
        )

    def weights(self, name: Name = "") -> WeightsFile:
        """The weights file that `name` is, or the newest of the run that it names; without a name, of the newest run that makes images.

        Raises UsageError when there are none.
        """
        if isinstance(name, str):
            is_file = name != "" and Path(name).expanduser().is_file()
            name = Path(name).expanduser() if is_file else self.find_run(name) if name else self.newest_generator()
        found = self.resolve(name) if not isinstance(name, Path) or name.is_dir() else WeightsFile(name, run_of(name))
        if isinstance(found, WeightsFile):
            return found
        if not isinstance(found, Run):
            raise UsageError("this is neither a run nor a weights file", where=name)
        path = found.latest_weights()
        if path is None:
            raise UsageError(f"the run {found.name!r} has no weights yet", where=self.runs, hint=f"stackgan train --name {found.name}")
        return WeightsFile(path, found)


def run_of(weights: Path) -> Run | None:
    """The run whose folder a weights file lies in."""
    folder = weights.resolve().parent.parent
    return Run(folder) if weights.parent.name == "weights" and (folder / "config.yaml").is_file() else None


def _touched(folder: Path) -> float:
    latest = folder / "weights" / "latest.safetensors"
    return (latest if latest.exists() else folder / "config.yaml").stat().st_mtime
