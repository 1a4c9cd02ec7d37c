"""Curves for a page: inline SVG that works without a script; a script adds a readout under the pointer and a logarithmic scale.

The SVG contains only lines and is stretched to the width of the page; all text is HTML beside it, so that letters keep their size on
a phone. `assets/charts.js` switches between the scales and shows the values under the pointer, using the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from stackgan_cli.viz.pages import embedded_json, escape

MOST_POINTS = 400
"""Maximum number of points of a curve; longer ones are averaged."""
COLOURS = 8
"""The style sheet has colors --c0 to --c7; further lines are dashed."""
LOG_RATIO = 5
"""A logarithmic scale is offered if the largest value is at least this many times the smallest."""
SIDE = 1000
"""Width and height of the stretched SVG in its own units."""


@dataclass(frozen=True)
class Series:
    """A named curve: `ys[i]` at `xs[i]`, ascending."""

    name: str
    xs: tuple[float, ...]
    ys: tuple[float, ...]

    def finite(self) -> Series:
        """The curve without points that are not finite."""
        kept = [(x, y) for x, y in zip(self.xs, self.ys, strict=True) if math.isfinite(x) and math.isfinite(y)]
        return Series(self.name, tuple(x for x, _ in kept), tuple(y for _, y in kept))

    def thinned(self, most: int = MOST_POINTS) -> Series:
        """At most `most` points, each the mean of equally many consecutive points; the last one is at the last x."""
        size = -(-len(self.xs) // most)
        if size <= 1:
            return self
        ends = list(range(len(self.xs), 0, -size))[::-1]
        parts = [slice(max(0, end - size), end) for end in ends]
        ys = tuple(sum(self.ys[part]) / len(self.ys[part]) for part in parts)
        return Series(self.name, tuple(self.xs[end - 1] for end in ends), ys)


def number(value: float) -> str:
    """A number as text: four significant digits, with thousands separators."""
    if value == 0 or 1e-4 <= abs(value) < 1e9:
        text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
        return text.replace("-", "−")
    return f"{value:.3g}".replace("-", "−")


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers inside low..high, about `count` of them, spaced by 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{index * step:.12g}") for index in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten inside low..high; only the powers if there are many."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(powers) <= 4 else (1,)
    found = [float(f"{factor}e{power}") for power in powers for factor in factors]
    return [value for value in found if low * 0.999 <= value <= high * 1.001] or [low, high]


def line_chart(name: str, title: str, series: Sequence[Series], *, x_label: str = "step") -> str:
    """A figure with one line per series. `name` is its id in the page. An empty string when no series has a point."""
    whole = [one.finite() for one in series]
    lines = [one.thinned() for one in whole if one.xs]
    if not lines:
        return ""
    averaged = any(len(one.xs) > MOST_POINTS for one in whole)
    x_low, x_high = min(one.xs[0] for one in lines), max(one.xs[-1] for one in lines)
    values = [y for one in lines for y in one.ys]
    scales = [_scale("linear", lines, x_low, x_high, min(values), max(values))]
    logarithmic = min(values) > 0 and max(values) >= LOG_RATIO * min(values)
    if logarithmic:
        scales.append(_scale("log", lines, x_low, x_high, min(values), max(values)))
    button = '<button type="button" class="log" aria-pressed="false">log scale</button>' if logarithmic else ""
    legend = "".join(
        f'<li><span class="swatch {_style(index)}"></span>{escape(one.name)} <output></output></li>' for index, one in enumerate(lines)
    )
    about = f"{title}: {', '.join(one.name for one in lines)}, {x_label} {number(x_low)} to {number(x_high)}. Arrow keys read the values."
    below = "".join(_below(tick, x_low, x_high) for tick in ticks(x_low, x_high, 4))
    note = " (points are averages)" if averaged else ""
    data = {"low": x_low, "high": x_high, "series": [{"x": one.xs, "y": [float(f"{y:.5g}") for y in one.ys]} for one in lines]}
    return f"""<figure class="chart" id="{escape(name)}">
<figcaption><b>{escape(title)}</b>{button}</figcaption>
<ul class="legend">{legend}</ul>
<div class="plot" role="img" tabindex="0" aria-label="{escape(about)}">{"".join(scales)}<div class="cross" hidden></div></div>
<div class="below" aria-hidden="true">{below}</div>
<p class="reads soft"><span class="at" aria-live="polite"></span><span>{escape(x_label)}{note}</span></p>
{embedded_json(data, f"{name}-data")}
</figure>"""


def _style(index: int) -> str:
    return f"c{index % COLOURS}{' dashed' if index >= COLOURS else ''}"


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 0.5


def _percent(value: float, low: float, high: float) -> str:
    return f"{100 * _share(value, low, high):.2f}%"


def _below(tick: float, low: float, high: float) -> str:
    """A number under the horizontal axis; at both ends it is not centered, so that it stays inside the page."""
    share = _share(tick, low, high)
    edge = ' class="first"' if share < 0.04 else ' class="last"' if share > 0.94 else ""
    return f'<span{edge} style="left:{_percent(tick, low, high)}">{number(tick)}</span>'


def _scale(kind: str, lines: Sequence[Series], x_low: float, x_high: float, low: float, high: float) -> str:
    """The plot on one scale: grid, labels of the vertical axis, lines."""
    if kind == "log":
        marks, move = log_ticks(low, high), math.log10
    else:
        room = (high - low) * 0.04 or abs(high) * 0.1 or 1.0
        low, high = low - room, high + room
        marks, move = ticks(low, high), float
    bottom, top = move(low), move(high)
    grid = "".join(f"M0 {SIDE * (1 - _share(move(mark), bottom, top)):.1f}H{SIDE}" for mark in marks)
    paths = []
    for index, one in enumerate(lines):
        points = [
            f"{SIDE * _share(x, x_low, x_high):.1f} {SIDE * (1 - _share(move(y), bottom, top)):.1f}"
            for x, y in zip(one.xs, one.ys, strict=True)
        ]
        alone = f"h{SIDE / 100:.0f}" if len(points) == 1 else ""
        paths.append(f'<path class="line {_style(index)}" d="M{"L".join(points)}{alone}"/>')
    labels = "".join(f'<span style="bottom:{_percent(move(mark), bottom, top)}">{number(mark)}</span>' for mark in marks)
    return (
        f'<div class="scale" data-kind="{kind}"{"" if kind == "linear" else " hidden"}><div class="left" aria-hidden="true">{labels}</div>'
        f'<svg viewBox="0 0 {SIDE} {SIDE}" preserveAspectRatio="none" aria-hidden="true"><path class="grid" d="{grid}"/>'
        f"{''.join(paths)}</svg></div>"
    )
