"""The folder of a run, its weights files and its resumable state.

    runs/NAME/  config.yaml  environment.json  log.jsonl  metrics.jsonl  samples/  weights/  state/

Weights files are safetensors with the resolved configuration in the metadata, and contain everything that sampling needs. The state is
what resuming needs in addition (live networks, optimizers, averages, step, memory); it is loaded with `weights_only=True`.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from stackgan_cli import __version__
from stackgan_cli.config.presets import diff, dump, load_config
from stackgan_cli.config.schema import RunConfig
from stackgan_cli.errors import DataError, MismatchError, UsageError
from stackgan_cli.files import replacing, write_json, write_text, writing
from stackgan_cli.locks import exclusive
from stackgan_cli.safety import check_torch

WEIGHTS_FORMAT = "stackgan-weights-1"
STATE_FORMAT = "stackgan-state-1"


def environment() -> dict[str, Any]:
    """What the results of a run may depend on besides its configuration."""
    return {
        "stackgan": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda if torch.cuda.is_available() else None,
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        "argv": sys.argv,
    }


SAME_NUMBERS = ("train.cuda_graphs", "train.log_steps")
"""Keys that do not affect the results: a run may be continued with other values of them."""


class Run:
    """The folder of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._config: RunConfig | None = None

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def config(self) -> RunConfig:
        if self._config is None:
            self._config = load_config(str(self.folder / "config.yaml"))
        return self._config

    @property
    def log_path(self) -> Path:
        return self.folder / "log.jsonl"

    @property
    def state_path(self) -> Path:
        return self.folder / "state" / "latest.pt"

    @property
    def inputs_path(self) -> Path:
        return self.folder / "inputs.json"

    def made_from(self) -> dict[str, Any]:
        """What the run was made from, by content: the identity of its cache, the hash of its text encoder, and the like. Empty before
        the first step. Raises DataError if the file is damaged."""
        try:
            found = json.loads(self.inputs_path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise DataError("is not the record of what a run was made from", where=self.inputs_path, hint="give the new run another --name")
        return found

    def made_on(self, cache: str) -> bool:
        """Whether the run was made from the cache with this identity."""
        return bool(self.made_from().get("cache") == cache)

    @classmethod
    def open_or_create(cls, folder: Path, config: RunConfig) -> Run:
        """The run in `folder`, created if it does not exist. Raises MismatchError (exit 5) if it was started with another configuration."""
        run = cls(folder)
        if (folder / "config.yaml").is_file():
            changed = [line for line in diff(run.config, config) if line.partition(":")[0] not in SAME_NUMBERS]
            if changed:
                raise MismatchError(
                    f"this run was started with another configuration: {'; '.join(changed)}",
                    where=folder,
                    hint="give the new run a different name with --name, or undo the change",
                )
            return run
        (folder / "samples").mkdir(parents=True, exist_ok=True)
        (folder / "weights").mkdir(exist_ok=True)
        (folder / "state").mkdir(exist_ok=True)
        write_json(folder / "environment.json", environment())
        write_text(folder / "config.yaml", dump(config))
        run._config = config
        return run

    def lock(self) -> AbstractContextManager[None]:
        """Keep other processes from training this run. Raises MismatchError (exit 5), naming the process, if one is training it."""
        return exclusive(self.folder / "lock", "run")

    # -- log ----------------------------------------------------------------------------------------------------------------

    def log_lines(self) -> list[dict[str, Any]]:
        """The lines of the training log; an incomplete last line (from a killed process) is left out."""
        try:
            text = self.log_path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        lines = []
        for line in text.splitlines():
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return lines

    def rewind_log(self, step: int) -> None:
        """Remove lines after `step`: they belong to steps that were lost when the process was killed and are repeated."""
        kept = [line for line in self.log_lines() if line["step"] <= step]
        write_text(self.log_path, "".join(json.dumps(line) + "\n" for line in kept))

    def append_log(self, line: Mapping[str, Any]) -> None:
        _append(self.log_path, line)

    def append_metric(self, line: Mapping[str, Any]) -> None:
        """Add a line to `metrics.jsonl`."""
        _append(self.folder / "metrics.jsonl", line)

    # -- state --------------------------------------------------------------------------------------------------------------

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Atomically replace the resumable state."""
        with replacing(self.state_path) as temporary:
            torch.save({"format": STATE_FORMAT, **state}, temporary)

    def load_state(self, device: torch.device | str = "cpu") -> dict[str, Any] | None:
        """The last saved state, or None if there is none yet. Never executes code from the file. Raises DataError if it is damaged."""
        if not self.state_path.is_file():
            return None
        check_torch()
        try:
            state = torch.load(self.state_path, map_location=device, weights_only=True)
        except Exception as error:
            raise DataError(
                f"the resumable state cannot be read ({type(error).__name__})",
                where=self.state_path,
                hint="delete it to start this run again from the beginning",
            ) from error
        if state.get("format") != STATE_FORMAT:
            raise DataError(f"not a {STATE_FORMAT} file", where=self.state_path)
        return state

    # -- weights ------------------------------------------------------------------------------------------------------------

    def latest_weights(self) -> Path | None:
        """The newest weights file, or None if there is none yet."""
        path = self.folder / "weights" / "latest.safetensors"
        return path if path.is_file() else None

    def save_weights(
        self,
        tensors: Mapping[str, Tensor],
        *,
        step: int,
        text_encoder: Mapping[str, Any] | None,
        classes: Sequence[str] | None,
        keep: int,
    ) -> Path:
        """Write `weights/step-STEP.safetensors`, link (or copy) it to `latest.safetensors`, and keep only the newest `keep` files."""
        path = self.folder / "weights" / f"step-{step:08d}.safetensors"
        write_weights(path, tensors, config=self.config, step=step, text_encoder=text_encoder, classes=classes)
        latest = path.with_name("latest.safetensors")
        with replacing(latest) as temporary:
            try:
                os.link(path, temporary)
            except OSError:  # a file system without hard links
                shutil.copyfile(path, temporary)
        for old in sorted(path.parent.glob("step-*.safetensors"))[:-keep]:
            old.unlink(missing_ok=True)
        return path

    def status(self) -> dict[str, Any]:
        """The progress of this run, from its log and files (without reading the networks)."""
        lines = self.log_lines()
        last = lines[-1] if lines else {}
        step, total = last.get("step", 0), last.get("total_steps")
        weights = self.latest_weights()
        return {
            "name": self.name,
            "preset": self.config.name,
            "arch": self.config.model.arch,
            "cache": self.config.data.cache,
            "step": step,
            "total_steps": total,
            "finished": total is not None and step >= total,
            "weights": str(weights) if weights else None,
            "losses": last.get("losses", {}),
        }


def _append(path: Path, line: Mapping[str, Any]) -> None:
    with writing(path), path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def write_weights(
    path: Path,
    tensors: Mapping[str, Tensor],
    *,
    config: RunConfig,
    step: int,
    text_encoder: Mapping[str, Any] | None,
    classes: Sequence[str] | None = None,
) -> None:
    """Atomically write a weights file. Tensors are stored contiguously, from the CPU; `classes` names the outputs of a classifier."""
    header = {
        "format": WEIGHTS_FORMAT,
        "stackgan": __version__,
        "step": step,
        "config": config.model_dump(mode="json"),
        "text_encoder": dict(text_encoder) if text_encoder else None,
        "classes": None if classes is None else list(classes),
    }
    # One metadata key, because the library writes several in no fixed order, and equal weights should give equal files.
    metadata = {"stackgan": json.dumps(header)}
    with replacing(path) as temporary:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary, metadata=metadata)


@dataclass(frozen=True)
class Weights:
    """A weights file: its configuration, the step at which it was written, and what is known about its text encoder and classes."""

    path: Path
    config: RunConfig
    step: int
    text_encoder: dict[str, Any] | None
    """`{"hash", "config"}`; if the file contains the tensors of the encoder, they are under `text_encoder.`."""
    classes: tuple[str, ...] | None = None
    """The names of the outputs of a classifier, in order."""
    _file: Any = field(default=None, repr=False, compare=False)
    """The open file. It is opened once, so header and tensors belong together even if the file is replaced meanwhile."""

    @classmethod
    def open(cls, path: Path) -> Weights:
        """Open the file and read its header.

        Raises UsageError if there is no such file, and MismatchError if it is not a weights file of this package, or its configuration is
        not valid in this version.
        """
        if not path.is_file():
            raise UsageError("no such weights file", where=path)
        try:
            file = safe_open(path, "pt")
            metadata = file.metadata() or {}
        except SafetensorError as error:
            raise MismatchError(
                f"not a readable safetensors file ({error})", where=path, hint="convert published checkpoints with `stackgan import`"
            ) from None
        header = json.loads(metadata.get("stackgan", "{}"))
        if header.get("format") != WEIGHTS_FORMAT:
            raise MismatchError(f"not a {WEIGHTS_FORMAT} file", where=path, hint="weights files are in runs/NAME/weights")
        missing = [key for key in ("config", "step", "text_encoder") if key not in header]
        if missing:
            raise MismatchError(f"its header lacks {', '.join(missing)}", where=path, hint="try another weights file of the run")
        try:
            config = RunConfig.model_validate(header["config"])
        except ValidationError as error:
            key, problem = ".".join(map(str, error.errors()[0]["loc"])), error.errors()[0]["msg"]
            raise MismatchError(
                f"its configuration is not valid in this version ({key}: {problem})",
                where=path,
                hint=f"it was written by another version of stackgan; this is version {__version__}",
            ) from None
        classes = header.get("classes")  # absent in files of earlier versions
        return cls(path, config, header["step"], header["text_encoder"], None if classes is None else tuple(classes), file)

    @property
    def label(self) -> str:
        """The name of these weights in `inputs.json`: their run and step."""
        return f"{self.path.parent.parent.name} at step {self.step}"

    def tensors(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose names begin with `prefix.`, by the rest of the name."""
        names = [key for key in self._file.keys() if key.startswith(f"{prefix}.")]  # noqa: SIM118 - not a mapping
        return {name[len(prefix) + 1 :]: self._file.get_tensor(name) for name in names}
