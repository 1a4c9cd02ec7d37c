"""The report of a run: one self-contained HTML file with its configuration, curves, samples, metrics and images.

Built from plain data; the contents of the run folder are gathered elsewhere. Equal data give equal pages.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from stackgan_cli.errors import DataError
from stackgan_cli.viz.assets import asset
from stackgan_cli.viz.charts import Series, line_chart, number
from stackgan_cli.viz.pages import bytes_uri, embedded_json, escape, file_uri, page

AS_IT_IS = 200_000
"""Largest size in bytes of an image that is embedded unchanged; larger ones become JPEG."""
LONGEST_GIF = 6_000_000
"""Largest size in bytes of an animation that is embedded."""
APART = ("weights", "step")
"""Keys of a protocol that differ between weights of one run; results that differ only in these form one curve."""


def picture_uri(path: Path, longest: int = 1600) -> str:
    """A `data:` URI of an image file, at most `longest` px on its longer side. Raises DataError when it cannot be read."""
    try:
        with Image.open(path) as picture:
            if max(picture.size) <= longest and path.stat().st_size <= AS_IT_IS:
                picture.load()
                return file_uri(path)
            small = picture.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"cannot be read as an image ({error})", where=path) from None
    small.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=88, subsampling=0)
    return bytes_uri(buffer.getvalue(), "image/jpeg")


def gif_uri(path: Path) -> str:
    """A `data:` URI of an animation. Raises DataError when it is too large for a page."""
    if path.stat().st_size > LONGEST_GIF:
        raise DataError(f"is too large for the page ({path.stat().st_size / 1e6:.0f} MB)", where=path)
    return file_uri(path)


@dataclass(frozen=True)
class Picture:
    """`moving`: an animation, which is shown on request."""

    title: str
    uri: str
    moving: bool = False


@dataclass(frozen=True)
class Gallery:
    """A section of images, with the command that makes them if there are none. `about` says how they were made; `beside` places two
    images side by side for comparison."""

    title: str
    what: str
    command: str
    pictures: tuple[Picture, ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    beside: bool = False


@dataclass(frozen=True)
class Report:
    """Everything that the page shows. `log` and `metrics` are the lines of the run's files; `frames` are (step, data URI), ascending."""

    name: str
    summary: str
    date: str
    facts: Mapping[str, str]
    preset: str
    changed: Sequence[str] | None
    """`key: the preset's value -> the run's`; None when the preset is not available."""
    config: str
    environment: Mapping[str, Any]
    log: Sequence[Mapping[str, Any]]
    metrics: Sequence[Mapping[str, Any]]
    metrics_command: str
    frames: Sequence[tuple[int, str]] | None
    """None for a run that generates no images."""
    galleries: Sequence[Gallery]


def render_report(report: Report) -> str:
    """The whole document; the date is on a separate line."""
    sections = [
        ("Configuration", _configuration(report)),
        ("Training", _training(report.log)),
        *([("Samples over time", _samples(report.frames))] if report.frames is not None else []),
        ("Metrics", _metrics(report.metrics, report.metrics_command)),
        *((gallery.title, _gallery(gallery)) for gallery in report.galleries),
    ]
    marks = [title.lower().replace(" ", "-").replace("-in-", "-") for title, _ in sections]
    links = "".join(f'<li><a href="#{mark}">{escape(title)}</a></li>' for mark, (title, _) in zip(marks, sections, strict=True))
    parts = "\n".join(
        f'<section id="{mark}" aria-labelledby="{mark}-title">\n<h2 id="{mark}-title">{escape(title)}</h2>\n{body}\n</section>'
        for mark, (title, body) in zip(marks, sections, strict=True)
    )
    body = f"""<header>
<h1>{escape(report.name)}</h1>
<p>{escape(report.summary)}</p>
{_definitions(report.facts, "facts")}
<p class="soft date">Created on {escape(report.date)}</p>
<nav aria-label="Sections"><ul>{links}</ul></nav>
</header>
<main>
{parts}
</main>"""
    style = asset("base.css") + asset("charts.css") + asset("report.css")
    return page(f"{report.name} – report", body, style=style, script=asset("charts.js") + asset("report.js"))


def _definitions(facts: Mapping[str, Any], kind: str) -> str:
    items = "".join(f"<div><dt>{escape(key)}</dt><dd>{escape(_plain(value))}</dd></div>" for key, value in facts.items())
    return f'<dl class="{kind}">{items}</dl>'


def _plain(value: Any) -> str:
    """A JSON value as readable text."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "–"
    if isinstance(value, float):
        return number(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(map(_plain, value)) or "–"
    if isinstance(value, dict):
        return ", ".join(f"{key.replace('_', ' ')} {_plain(item)}" for key, item in value.items()) or "–"
    return str(value)


def _details(summary: str, body: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>\n{body}\n</details>"


def _configuration(report: Report) -> str:
    if report.changed is None:
        changes = f"<p>From {escape(report.preset)}, which is not a preset, so there is nothing to compare it with.</p>"
    elif report.changed:
        items = "".join(f"<li><code>{escape(line)}</code></li>" for line in report.changed)
        changes = f'<p>Changes from the preset {escape(report.preset)}:</p>\n<ul class="changes">{items}</ul>'
    else:
        changes = f"<p>The preset {escape(report.preset)}, unchanged.</p>"
    whole = _details("All keys", f'<pre tabindex="0">{escape(report.config)}</pre>')
    return "\n".join([changes, whole, _details("Machine and versions", _definitions(report.environment, "rows"))])


def loss_series(log: Sequence[Mapping[str, Any]]) -> dict[str, list[Series]]:
    """Curves by the title of their chart: the losses, the parts of each loss (named `loss/part`), images per second."""
    points: dict[str, list[tuple[float, float]]] = {}
    for line in log:
        speed = {"images per second": line["images_per_second"]} if "images_per_second" in line else {}
        for name, value in {**line.get("losses", {}), **speed}.items():
            points.setdefault(name, []).append((line["step"], value))
    charts: dict[str, list[Series]] = {}
    for name, pairs in points.items():
        whole, _, part = name.partition("/")
        title = "Speed" if name == "images per second" else f"Parts of {whole}" if part else "Losses"
        xs, ys = zip(*pairs, strict=True)
        charts.setdefault(title, []).append(Series(part or whole, xs, ys))
    order = sorted(charts, key=lambda title: (title != "Losses", title == "Speed"))
    return {title: charts[title] for title in order}


def _training(log: Sequence[Mapping[str, Any]]) -> str:
    charts = loss_series(log)
    figures = [line_chart(f"loss-{index}", title, series) for index, (title, series) in enumerate(charts.items())]
    figures = [figure for figure in figures if figure]
    return '<div class="charts">\n' + "\n".join(figures) + "\n</div>" if figures else "<p>Nothing has been logged yet.</p>"


def _samples(frames: Sequence[tuple[int, str]]) -> str:
    if not frames:
        return "<p>No samples have been generated yet.</p>"
    step, last = frames[-1]
    picture = f'<img id="film-picture" src="{escape(last)}" alt="samples at step {step:,}">'
    if len(frames) == 1:
        return f"{picture}\n<p>Step {step:,}</p>"
    return f"""<div class="film">
<p><label for="film">Step <output id="film-step" for="film">{step:,}</output></label>
<input type="range" id="film" min="0" max="{len(frames) - 1}" value="{len(frames) - 1}" aria-valuetext="step {step:,}"></p>
{picture}
</div>
{embedded_json([{"step": step, "uri": uri} for step, uri in frames], "film-data")}"""


@dataclass
class Measured:
    """A metric under one protocol, at one or several steps of the run."""

    metric: str
    protocol: Mapping[str, Any]
    lines: dict[int, Mapping[str, Any]]
    """By step (0 if a line has none); the last one if a step has several."""

    @property
    def newest(self) -> Mapping[str, Any]:
        return self.lines[max(self.lines)]

    @property
    def title(self) -> str:
        """The title recorded with the result; the name of the metric if there is none."""
        return str(self.newest.get("title") or self.metric)

    @property
    def way(self) -> str:
        """How it was measured, in short: values on the features of different networks are not comparable."""
        words = [self.protocol.get(key) for key in ("name", "extractor")]
        return ", ".join(str(word) for word in words if word)


def measured(lines: Sequence[Mapping[str, Any]]) -> list[Measured]:
    """The lines of `metrics.jsonl` by metric and protocol, in order of first appearance (other lines are left out)."""
    found: dict[str, Measured] = {}
    for line in lines:
        metric, protocol, step = line.get("metric"), line.get("protocol"), line.get("step")
        if not isinstance(metric, str):
            continue
        protocol = protocol if isinstance(protocol, dict) else {}
        key = json.dumps([metric, _comparable(protocol)], sort_keys=True)
        group = found.setdefault(key, Measured(metric, protocol, {}))
        group.lines[step if isinstance(step, int) else 0] = {**line, "protocol": protocol}
    return list(found.values())


def _comparable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _comparable(item) for key, item in value.items() if key not in APART}
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _figure(line: Mapping[str, Any]) -> str:
    """The value of a line with its spread and any further values."""
    numbers = {key: number(value) for key, value in line.items() if _is_number(value)}
    spread = f" ± {numbers['std']}" if "std" in numbers else ""
    words = [numbers["value"] + spread] if "value" in numbers else []
    words += [f"{key.replace('_', ' ')} {value}" for key, value in numbers.items() if key not in ("value", "std", "step")]
    return ", ".join(words) or "–"


def _metrics(lines: Sequence[Mapping[str, Any]], command: str) -> str:
    groups = measured(lines)
    if not groups:
        return _absent("No metrics have been computed yet.", command)
    rows = []
    for group in groups:
        newest = group.newest
        protocol = {key: value for key, value in newest["protocol"].items() if key != "name"}
        told = _details(f"Protocol: {group.way}".strip(": "), _definitions(protocol, "rows")) if protocol else ""
        step = f"{max(group.lines):,}" if max(group.lines) else "–"
        rows.append(f'<tr><th scope="row">{escape(group.title)}</th><td>{escape(_figure(newest))}</td><td>{step}</td></tr>')
        rows.append(f'<tr class="told"><td colspan="3">{told}</td></tr>' if told else "")
    table = (
        '<div class="wide" tabindex="0" role="group" aria-label="Table of metrics"><table>\n<thead><tr><th scope="col">Metric</th>'
        '<th scope="col">Value</th><th scope="col">Step</th></tr></thead>\n<tbody>' + "\n".join(rows) + "</tbody></table></div>"
    )
    curves: dict[str, list[Series]] = {}
    for group in groups:
        points = [(step, line["value"]) for step, line in sorted(group.lines.items()) if _is_number(line.get("value"))]
        if len(points) > 1:
            xs, ys = zip(*points, strict=True)
            curves.setdefault(group.metric, []).append(Series(group.way or group.metric, xs, ys))
    figures = [line_chart(f"metric-{index}", metric, series) for index, (metric, series) in enumerate(curves.items())]
    return table + ('\n<div class="charts">\n' + "\n".join(figures) + "\n</div>" if figures else "")


def _absent(text: str, command: str) -> str:
    return f"<p>{escape(text)}</p>\n<pre>{escape(command)}</pre>"


def _gallery(gallery: Gallery) -> str:
    if not gallery.pictures:
        return _absent(f"{gallery.what} None have been made yet. To make them, run:", gallery.command)
    figures = []
    for picture in gallery.pictures:
        image = f'<img src="{escape(picture.uri)}" alt="{escape(picture.title)}" decoding="async">'
        shown = f'<figure class="picture">{image}<figcaption class="soft">{escape(picture.title)}</figcaption></figure>'
        figures.append(_details(f"Play: {picture.title}", shown) if picture.moving else shown)
    about = _details("How they were made", _definitions(gallery.about, "rows")) if gallery.about else ""
    return (
        f'<p class="soft">{escape(gallery.what)}</p>\n<div class="gallery{" beside" * gallery.beside}">'
        + "\n".join(figures)
        + f"</div>\n{about}"
    )
