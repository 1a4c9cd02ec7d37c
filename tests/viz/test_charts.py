"""Curves: round numbers on the axes, lines that follow the data, nothing lost or invented by thinning."""

from __future__ import annotations

import json
import math
import re

import numpy as np
import pytest

from stackgan_cli.viz.charts import MOST_POINTS, SIDE, Series, line_chart, log_ticks, number, ticks


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 10, [0, 2, 4, 6, 8, 10]), (0.12, 0.31, [0.15, 0.2, 0.25, 0.3]), (-1, 1, [-1, -0.5, 0, 0.5, 1]), (3, 3, [3]), (0, 150_000, None)],
)
def test_ticks(low: float, high: float, expected: list[float] | None) -> None:
    assert expected is None or ticks(low, high) == expected
    assert all(low <= tick <= high for tick in ticks(low, high))


@pytest.mark.parametrize("seed", range(30))
def test_there_are_always_a_few_ticks(seed: int) -> None:
    low, width = np.random.default_rng(seed).normal(0, 100), 10.0 ** np.random.default_rng(seed).uniform(-6, 8)
    found = ticks(low, low + width)
    assert 2 <= len(found) <= 7 and np.all(np.diff(found) > 0)


def test_log_ticks() -> None:
    assert log_ticks(0.5, 20) == [0.5, 1, 2, 5, 10, 20]
    assert log_ticks(1e-6, 1e3) == [10.0**power for power in range(-6, 4)]
    assert log_ticks(3, 4) == [3, 4]


def test_numbers_for_people() -> None:
    assert [number(value) for value in (0, 1, -0.25, 0.123456, 1234.5, 150_000, 1e-7, 3e12)] == [
        "0", "1", "−0.25", "0.1235", "1,234", "150,000", "1e−07", "3e+12"
    ]  # fmt: skip


def test_thinning_keeps_the_mean_and_the_last_step() -> None:
    random = np.random.default_rng(0)
    series = Series("a", tuple(range(1, 1601)), tuple(random.random(1600)))
    thin = series.thinned()
    assert len(thin.xs) == MOST_POINTS and thin.xs[-1] == 1600
    assert np.mean(thin.ys) == pytest.approx(np.mean(series.ys))
    short = Series("a", tuple(range(7)), tuple(range(7)))
    assert short.thinned() is short
    odd = Series("a", tuple(range(7)), (0, 1, 1, 2, 2, 3, 3)).thinned(4)
    assert odd.xs == (0, 2, 4, 6) and odd.ys == (0, 1, 2, 3)


def test_points_that_are_no_numbers_are_left_out() -> None:
    assert Series("a", (1, 2, 3), (1.0, math.nan, math.inf)).finite() == Series("a", (1,), (1.0,))
    assert line_chart("x", "t", [Series("a", (1, 2), (math.nan, math.nan))]) == ""
    assert line_chart("x", "t", []) == ""


def path_of(svg: str, index: int = 0) -> list[tuple[float, float]]:
    found = re.findall(r'<path class="line [^"]*" d="M([^"]*)"', svg)[index]
    return [tuple(map(float, pair.split())) for pair in found.split("L")]  # type: ignore[misc]


def test_a_line_goes_where_the_data_go() -> None:
    svg = line_chart("x", "t", [Series("a", (0, 50, 100), (1.0, 10.0, 100.0)), Series("b", (0, 100), (1.0, 1.0))])
    linear, log = svg.split('data-kind="log"')
    assert path_of(linear)[0] == (0, pytest.approx(SIDE / 1.08 * 1.04, abs=0.1)) and path_of(linear)[2][0] == SIDE
    assert path_of(log) == [(0, SIDE), (SIDE / 2, SIDE / 2), (SIDE, 0)]
    assert "hidden" in log and path_of(log, 1) == [(0, SIDE), (SIDE, SIDE)]
    data = json.loads(re.search(r'id="x-data">(.*?)</script>', svg)[1])  # type: ignore[index]
    assert data["series"][0] == {"x": [0, 50, 100], "y": [1, 10, 100]}


@pytest.mark.parametrize(("ys", "offered"), [((1.0, 100.0), True), ((1.0, 2.0), False), ((0.0, 100.0), False), ((-1.0, 100.0), False)])
def test_a_log_scale_is_offered_where_it_helps(ys: tuple[float, ...], offered: bool) -> None:
    assert ("log scale" in line_chart("x", "t", [Series("a", (1, 2), ys)])) is offered


def test_one_point_many_lines_and_strange_names() -> None:
    svg = line_chart("x", "<t>", [Series(f"<{index}>", (5,), (2.0,)) for index in range(10)])
    assert "<t>" not in svg and "<3>" not in svg and "&lt;3&gt;" in svg
    assert "nan" not in svg and svg.count("dashed") == 4 and "h10" in svg
