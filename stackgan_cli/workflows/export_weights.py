"""`export`: the networks of a run as the published code reads them."""

from __future__ import annotations

from pathlib import Path

import torch

from stackgan_cli import registry
from stackgan_cli.errors import MismatchError
from stackgan_cli.files import replacing
from stackgan_cli.workspace import Name, Workspace


def export_weights(model: Name = "", *, output: Path | None = None, workspace: Workspace | None = None) -> list[Path]:
    """Write the networks of a run or weights file in the layout of its authors' code; returns the files.

    Raises MismatchError for architectures and configurations that were never published.
    """
    workspace = workspace or Workspace.locate()
    weights = workspace.weights(model).open()
    config = weights.config.model
    spec = registry.find(config.arch)
    if spec.export is None:
        raise MismatchError(f"these weights are a {config.arch}, which has no published layout", where=weights.path)
    with torch.device("meta"):
        names = list(spec.build(config))
    states = {name: state for name in names if (state := weights.tensors(name))}
    files = spec.export(config, states, weights.step)
    folder = output or workspace.root / "exported"
    for name, state in files.items():
        with replacing(folder / name) as temporary:
            torch.save(state, temporary)
    return [folder / name for name in files]
