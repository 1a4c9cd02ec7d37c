"""The workspace: the folder of caches, runs, encoders and extractors, and the only place where names are resolved.

    ROOT/  caches/NAME.h5  runs/NAME/  encoders/HASH.safetensors  extractors/  samples/  downloads/

A name means the same everywhere: a run in the workspace, else a prepared cache in the workspace, else a path.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from stackgan_cli.data.cache import Cache
from stackgan_cli.data.caption_vectors import OF_VECTORS
from stackgan_cli.errors import DataError, UsageError, did_you_mean
from stackgan_cli.runs import Run, Weights


@dataclass(frozen=True)
class WeightsFile:
    """A weights file, and the run whose folder contains it, if any."""

    path: Path
    run: Run | None = None

    def open(self) -> Weights:
        """Open the file. Raises MismatchError if it is not a weights file of this package."""
        return Weights.open(self.path)


@dataclass(frozen=True)
class CacheFile:
    """A prepared cache, and the split that was given (`CACHE:SPLIT`), if any."""

    path: Path
    split: str = ""

    def open(self) -> Cache:
        """Open the cache. Raises DataError if it is damaged."""
        return Cache.open(self.path)


@dataclass(frozen=True)
class ImageFolder:
    """A folder of images that is not a run."""

    path: Path


@dataclass(frozen=True)
class StatisticsFile:
    """An `.npz` file with statistics of images (a reference for FID)."""

    path: Path


MOST_BYTES = 120
"""Length of a name in UTF-8, so that the files named after it fit into a folder entry."""


def checked_name(name: str, what: str = "name") -> str:
    """`name` if it can be the name of a cache or a run. Raises UsageError (exit 2) otherwise.

    Letters of any alphabet, digits, spaces and punctuation are allowed, dots inside the name too. A name may not be empty, contain `/`,
    `\\`, `:` or characters that cannot be printed, begin with a dot, a dash or a tilde, begin or end with a
    space, end with a dot or with `.h5`, or end like a file of text embeddings (a dot and 8 hexadecimal digits).
    """
    reason = ""
    if not name:
        reason = "it is empty"
    elif bad := [character for character in name if character in "/\\:" or not character.isprintable()]:
        reason = f"it contains {bad[0]!r}"
    elif name[0] in ".-~":
        reason = f"it begins with {name[0]!r}"
    elif name != name.strip() or name.endswith("."):
        reason = "it begins or ends with a space, or ends with a dot"
    elif name.endswith(".h5") or re.search(OF_VECTORS + "$", name):
        reason = f"the ending {name[name.rindex('.') :]!r} has another meaning"
    elif len(name.encode()) > MOST_BYTES:
        reason = f"it is longer than {MOST_BYTES} bytes"
    if reason:
        raise UsageError(
            f"{name!r} cannot be the {what}: {reason}", hint="use letters, digits, '-', '_' and dots inside, for example birds-2"
        )
    return name


Named = Run | WeightsFile | CacheFile | ImageFolder | StatisticsFile
"""Whatever a name can stand for."""
Name = str | Path | Run | WeightsFile | CacheFile | ImageFolder | StatisticsFile
"""A name as typed, or what it stands for."""


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
        """The folder of published weights of extractors."""
        return self.root / "extractors"

    def encoder_path(self, encoder_hash: str) -> Path:
        """The path of the text encoder with this hash, kept so that runs trained with its embeddings can include it."""
        return self.encoders / f"{encoder_hash[:8]}.safetensors"

    def cache_path_for(self, name: str) -> Path:
        """The path of the cache called `name`, whether it exists or not. Raises UsageError if no cache can be called that."""
        return self.caches / f"{checked_name(name, 'name of a cache')}.h5"

    def run_folder(self, name: str) -> Path:
        """The folder of the run called `name`, whether it exists or not. Raises UsageError if no run can be called that."""
        return self.runs / checked_name(name, "name of a run")

    def new_folder(self, parent: str, prefix: str = "") -> Path:
        """The first of `PARENT/PREFIX001`, `PARENT/PREFIX002`, ... that does not exist; it is not created."""
        return next(path for number in range(1, 1_000_000) if not (path := self.root / parent / f"{prefix}{number:03d}").exists())

    # -- caches ---------------------------------------------------------------------------------------------------------------

    def cache_names(self) -> list[str]:
        """Names of the prepared caches, newest first (without the files of text embeddings next to them)."""
        paths = [path for path in self.caches.glob("*.h5") if not path.name.startswith(".") and not re.search(OF_VECTORS + "$", path.stem)]
        return [path.stem for path in _newest_first(paths)]

    def newest_cache(self) -> str:
        """The name of the newest cache. Raises UsageError if no dataset has been prepared."""
        names = self.cache_names()
        if not names:
            raise UsageError("no dataset has been prepared yet", where=self.caches, hint="stackgan prepare demo")
        return names[0]

    def cache_path(self, name: str) -> Path:
        """The path of the cache called `name`, or `name` if it is a path. Raises DataError, naming existing caches, if there is none."""
        path = Path(name).expanduser()
        if path.suffix == ".h5" or len(path.parts) > 1:
            if path.is_file():
                return path
            raise DataError("no such cache", where=path, hint="stackgan prepare --help")
        path = self.cache_path_for(name)
        if path.is_file():
            return path
        existing = self.cache_names()
        if existing:
            raise DataError(
                f"the cache {name!r} has not been prepared; existing caches: {', '.join(existing)}",
                where=self.caches,
                hint=f"stackgan prepare {shlex.quote(name)}, or use an existing cache with data.cache={shlex.quote(existing[0])}",
            )
        raise DataError(f"the cache {name!r} has not been prepared", where=self.caches, hint=f"stackgan prepare {shlex.quote(name)}")

    def open_cache(self, name: str) -> Cache:
        """Open the cache called `name`, or at the path `name`. Raises DataError if there is none or it is damaged."""
        return Cache.open(self.cache_path(name))

    def name_of(self, cache: Cache) -> str:
        """The value of `data.cache` for a cache: its name if it is in the workspace, else its path."""
        return cache.path.stem if cache.path.parent.resolve() == self.caches.resolve() else str(cache.path)

    # -- runs -----------------------------------------------------------------------------------------------------------------

    def run_names(self) -> list[str]:
        """Names of the runs, newest first."""
        names = {_weights_or_config(path.parent): path.parent.name for path in self.runs.glob("*/config.yaml")}
        return [names[path] for path in _newest_first(list(names))]

    def all_runs(self) -> list[Run]:
        """The runs, newest first."""
        return [Run(self.runs / name) for name in self.run_names()]

    def run_at(self, name: str) -> Run | None:
        """The run called `name`, or in the folder `name`; None if there is none."""
        folders = (self.runs / name, Path(name).expanduser())
        return next((Run(folder) for folder in folders if (folder / "config.yaml").is_file()), None)

    def find_run(self, name: str | Run) -> Run:
        """The run called `name`, or in the folder `name`. Raises UsageError, with a suggestion, if there is none."""
        if isinstance(name, Run):
            return name
        run = self.run_at(name)
        if run is None:
            names = self.run_names()
            hint = f"existing runs: {', '.join(names)}" if names else "there are no runs yet: stackgan train --preset demo-stage1"
            raise UsageError(f"no run called {name!r}{did_you_mean(name, names)}", where=self.runs, hint=hint)
        return run

    def newest_run(self, arch: str | None = None, *, generates: bool = False) -> Run | None:
        """The newest run that has weights and, if given, the architecture `arch`; with `generates`, only runs that generate images. None if
        there is none."""
        for run in self.all_runs():
            model = run.config.model
            if run.latest_weights() and (model.GENERATES_IMAGES or not generates) and arch in (None, model.arch):
                return run
        return None

    def newest_generator(self) -> Run:
        """The newest run that generates images and has weights. Raises UsageError if there is none."""
        run = self.newest_run(generates=True)
        if run is None:
            raise UsageError("no run has weights yet", where=self.runs, hint="stackgan train --preset demo-stage1")
        return run

    # -- names ----------------------------------------------------------------------------------------------------------------

    def resolve(self, name: Name) -> Named:
        """What `name` stands for: a run, a cache (`CACHE` or `CACHE:SPLIT`), a folder of images, statistics, or a weights file.

        Names in the workspace take precedence over paths; to mean a folder called like a cache, write `./demo`. Raises UsageError, with a
        suggestion, if there is nothing by that name.
        """
        if not isinstance(name, (str, Path)):
            return name
        name = str(name)
        run = self.run_at(name)
        if run is not None:
            return run
        cache, colon, split = name.rpartition(":")  # a path may contain colons, a split does not
        if not colon:
            cache, split = name, ""
        if cache in self.cache_names():
            return CacheFile(self.caches / f"{cache}.h5", split)
        path = Path(name).expanduser()
        if path.is_dir():
            return ImageFolder(path)
        if path.is_file() and path.suffix == ".npz":
            return StatisticsFile(path)
        if path.is_file() and path.suffix == ".h5":
            return CacheFile(path)
        if path.is_file():
            return WeightsFile(path, run_of(path))
        if Path(cache).suffix == ".h5" and Path(cache).expanduser().is_file():
            return CacheFile(Path(cache).expanduser(), split)
        names = [*self.run_names(), *self.cache_names()]
        raise UsageError(
            f"no run, weights file, folder or cache {name!r}{did_you_mean(name, names)}",
            hint="`stackgan info` lists the runs and caches in the workspace",
        )

    def weights(self, name: Name = "") -> WeightsFile:
        """The weights file at the path `name`, or the newest of the run `name`; without a name, of the newest run that generates images.

        Raises UsageError if there is none.
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
    """The run whose folder contains a weights file, if any."""
    folder = weights.resolve().parent.parent
    return Run(folder) if weights.parent.name == "weights" and (folder / "config.yaml").is_file() else None


def _weights_or_config(run: Path) -> Path:
    """The file that says how new a run is."""
    latest = run / "weights" / "latest.safetensors"
    return latest if latest.exists() else run / "config.yaml"


def _newest_first(paths: list[Path]) -> list[Path]:
    """The paths by time of modification; those that another process has removed meanwhile are left out."""
    times: dict[Path, float] = {}
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            times[path] = path.stat().st_mtime
    return sorted(times, key=lambda path: times[path], reverse=True)
