"""`report`: everything about a run in one HTML file."""

from __future__ import annotations

import json
import shlex
import time
from pathlib import Path
from typing import Any

from stackgan_cli.config.presets import diff, dump, load_config, preset_names
from stackgan_cli.errors import DataError, UsageError
from stackgan_cli.files import write_text
from stackgan_cli.runs import Run
from stackgan_cli.viz.report import Gallery, Picture, Report, gif_uri, picture_uri, render_report
from stackgan_cli.workflows.reporter import SILENT, Reporter
from stackgan_cli.workspace import Workspace

MOST_FRAMES = 40
"""Maximum number of sample grids on the slider; evenly spaced ones are chosen."""
FRAME_SIDE = 900
"""Their longer side in pixels."""
LONGEST_FACT = 400
"""Maximum length in characters of a fact that is shown; longer ones and lists are meant for programs."""
GALLERIES = (
    (
        "Interpolation",
        "interpolate",
        "Images between two captions, or between two noise vectors.",
        (
            ("strip.png", "from caption to caption"),
            ("grid.png", "all pairs"),
            ("noise-grid.png", "conditioning noise by row, z by column"),
            ("conditioning.png", "the same z with different conditioning noise"),
            ("walk.gif", "animation"),
        ),
    ),
    (
        "t-SNE",
        "tsne",
        "Samples and real images, placed by the features of a network.",
        (("map.png", "generated"), ("real.png", "real")),
    ),
    (
        "Neighbours",
        "neighbours",
        "Generated images, each with its nearest training images.",
        (("neighbours.png", "generated, then its nearest training images"),),
    ),
)
"""Title, subcommand (also its folder), description, and files with their captions."""


def report(
    run: str | Run = "", *, output: Path | None = None, workspace: Workspace | None = None, reporter: Reporter = SILENT
) -> dict[str, Any]:
    """Write one self-contained page about a run (default: the newest that generates images); returns its path and what it shows."""
    workspace = workspace or Workspace.locate()
    chosen = workspace.find_run(run) if run else workspace.newest_generator()
    path = output or chosen.folder / "report.html"
    if path.is_dir():
        raise UsageError("this is a folder", where=path, hint="give the name of a file, for example report.html")
    found = gather(chosen, workspace, reporter)
    html = render_report(found)
    write_text(path, html)
    sections = [gallery.title for gallery in found.galleries if gallery.pictures]
    return {"run": chosen.name, "path": str(path), "bytes": len(html.encode()), "metrics": len(found.metrics), "pictures": sections}


def gather(run: Run, workspace: Workspace, reporter: Reporter) -> Report:
    """The contents of a run's folder. An image that cannot be read is left out with a warning."""
    config, status = run.config, run.status()
    generates = config.model.GENERATES_IMAGES
    name = shlex.quote(run.name if run.folder.parent.resolve() == workspace.runs.resolve() else str(run.folder))
    steps = f"{status['step']:,}" + (f" of {status['total_steps']:,}" if status["total_steps"] else "")
    facts = {"preset": config.name, "model": config.model.arch, "dataset": config.data.cache, "steps": steps, "paper": config.paper}
    return Report(
        name=run.name,
        summary=config.summary,
        date=time.strftime("%Y-%m-%d %H:%M"),
        facts={key: value for key, value in facts.items() if value},
        preset=config.name,
        changed=diff(load_config(config.name), config) if config.name in preset_names() else None,
        config=dump(config),
        environment={key: shlex.join(value) if key == "argv" else value for key, value in _json(run.folder / "environment.json").items()},
        log=run.log_lines(),
        metrics=_lines(run.folder / "metrics.jsonl"),
        metrics_command=f"stackgan evaluate {name} --metric fid",
        frames=_frames(run, reporter) if generates else None,
        galleries=[_gallery(reporter, run, name, *facts) for facts in GALLERIES] if generates else [],
    )


def _frames(run: Run, reporter: Reporter) -> list[tuple[int, str]]:
    paths = sorted((run.folder / "samples").glob("step-*.png"))
    if len(paths) > MOST_FRAMES:
        paths = [paths[round(index * (len(paths) - 1) / (MOST_FRAMES - 1))] for index in range(MOST_FRAMES)]
    frames = [(int(path.stem.removeprefix("step-")), _picture(path, "", reporter, FRAME_SIDE)) for path in paths]
    return [(step, picture.uri) for step, picture in frames if picture is not None]


def _gallery(reporter: Reporter, run: Run, name: str, title: str, verb: str, what: str, files: tuple[tuple[str, str], ...]) -> Gallery:
    folder = run.folder / verb
    pictures = [_picture(folder / file, about, reporter) for file, about in files if (folder / file).is_file()]
    about: dict[str, Any] = {}
    for path in sorted(folder.glob("*.json")):
        about |= {key: value for key, value in _json(path).items() if not isinstance(value, list) and len(str(value)) <= LONGEST_FACT}
    return Gallery(title, what, f"stackgan {verb} --run {name}", tuple(filter(None, pictures)), about, beside=verb == "tsne")


def _picture(path: Path, title: str, reporter: Reporter, longest: int = 1600) -> Picture | None:
    moving = path.suffix == ".gif"
    try:
        return Picture(title, gif_uri(path) if moving else picture_uri(path, longest), moving)
    except DataError as error:
        reporter.warn(f"{error}; it is left out")
        return None


def _json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; empty if there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _lines(path: Path) -> list[dict[str, Any]]:
    """The objects in a file of JSON lines; other lines are skipped."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return [line for line in found if isinstance(line, dict)]
