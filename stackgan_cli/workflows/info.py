"""`info`: the contents of a cache, run, weights file or workspace."""

from __future__ import annotations

from typing import Any

from stackgan_cli.errors import UsageError
from stackgan_cli.runs import Run
from stackgan_cli.workspace import CacheFile, Name, WeightsFile, Workspace


def info(name: Name = "", *, workspace: Workspace | None = None) -> dict[str, Any]:
    """The facts about whatever `name` stands for; without one, the caches and runs of the workspace.

    Raises UsageError, with a suggestion, when it stands for nothing.
    """
    workspace = workspace or Workspace.locate()
    if isinstance(name, str) and not name:
        return {"workspace": str(workspace.root.resolve()), "caches": workspace.cache_names(), "runs": workspace.run_names()}
    match workspace.resolve(name):
        case Run() as run:
            return {"kind": "run", "path": str(run.folder), **run.status()}
        case CacheFile() as cache:
            return cache.open().summary()
        case WeightsFile() as file:
            return _weights(file)
        case other:
            raise UsageError(
                "this is neither a cache, a run nor a weights file", where=other.path, hint="`stackgan info` lists what there is"
            )


def _weights(file: WeightsFile) -> dict[str, Any]:
    weights = file.open()
    encoder = weights.text_encoder
    return {
        "kind": "weights",
        "path": str(file.path),
        "preset": weights.config.name,
        "arch": weights.config.model.arch,
        "step": weights.step,
        "cache": weights.config.data.cache,
        "text_encoder": encoder["hash"] if encoder else None,
        "text_encoder_inside": bool(encoder and "config" in encoder),
        "classes": None if weights.classes is None else len(weights.classes),
        "class_names": weights.classes,
        "bytes": file.path.stat().st_size,
        "config": weights.config.model_dump(mode="json"),
    }
