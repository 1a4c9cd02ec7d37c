"""`stackgan info`: what a cache, a run or a weights file holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stackgan_cli.cli.common import examples, session_of
from stackgan_cli.cli.ui import table
from stackgan_cli.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from stackgan_cli.runs import Workspace

EPILOG = examples("stackgan info", "stackgan info demo", "stackgan info runs/demo-stage1/weights/latest.safetensors")


def info(
    ctx: typer.Context, path: Annotated[str, typer.Argument(help="A cache, a run or a weights file; nothing lists what is there.")] = ""
) -> None:
    """Describe a cache, a run or a weights file, by name or path."""
    session = session_of(ctx)
    workspace = session.workspace
    if path:
        data = describe(path, workspace)
    else:
        data = {"workspace": str(workspace.root.resolve()), "caches": workspace.cache_names(), "runs": workspace.run_names()}
    session.result(data, table([(key, _plain(value)) for key, value in data.items() if key not in ("config", "class_names")]))


def describe(path: str, workspace: Workspace) -> dict[str, Any]:
    """The facts about whatever `path` names. Raises UsageError, with a suggestion, when it names nothing."""
    from stackgan_cli.data.cache import Cache
    from stackgan_cli.runs import Run, Weights

    place = Path(path).expanduser()
    for folder in (workspace.runs / path, place):
        if (folder / "config.yaml").is_file():
            return {"kind": "run", "path": str(folder), **Run(folder).status()}
    if (workspace.caches / f"{path}.h5").is_file():
        return Cache.open(workspace.caches / f"{path}.h5").summary()
    if not place.is_file():
        names = [*workspace.run_names(), *workspace.cache_names()]
        raise UsageError(f"no cache, run or file {path!r}{did_you_mean(path, names)}", hint="`stackgan info` lists what is there")
    if place.suffix == ".h5":
        return Cache.open(place).summary()
    weights = Weights.open(place)
    encoder = weights.text_encoder
    return {
        "kind": "weights",
        "path": str(place),
        "preset": weights.config.name,
        "arch": weights.config.model.arch,
        "step": weights.step,
        "cache": weights.config.data.cache,
        "text_encoder": encoder["hash"] if encoder else None,
        "text_encoder_inside": bool(encoder and "config" in encoder),
        "classes": None if weights.classes is None else len(weights.classes),
        "class_names": weights.classes,
        "bytes": place.stat().st_size,
        "config": weights.config.model_dump(mode="json"),
    }


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items()) or "-"
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value) or "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.5g}" if isinstance(value, float) else str(value)
