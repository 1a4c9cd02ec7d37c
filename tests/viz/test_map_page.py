"""The page of maps: the contents of the file, and what a browser shows under the pointer."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from browser import Browser, find_browser

from stackgan_cli.viz.map_page import MapPanel, map_page

NASTY = 'a </script><b>red</b> bird & "more"'
COLOURS = np.array([[255, 0, 0], [0, 160, 0], [0, 0, 255], [255, 255, 255]], np.uint8)

PIXEL = """(() => { const copy = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    copy.drawImage(document.querySelector("#near canvas"), 0, 0); return [...copy.getImageData(112, 112, 1, 1).data]; })()"""
BOX = "(() => { const b = document.getElementById('near').getBoundingClientRect(); return [b.left, b.top, b.right, b.bottom]; })()"


def page() -> str:
    """Two maps: 2 x 2 tiles of one color each, with the last place empty; and a single tile."""
    tiles = np.repeat(np.repeat(COLOURS.reshape(2, 2, 3), 16, 0), 16, 1)
    panels = [
        MapPanel("generated images", "2 of 3 images repeat", tiles, [["a red bird", NASTY], ["a blue bird", None]]),
        MapPanel("real images", "none", tiles[:16, :16], [["a real bird"]]),
    ]
    return map_page(NASTY, [("weights", NASTY), ("seed", "3")], panels)


def test_the_file_holds_pictures_and_captions_and_nothing_from_elsewhere() -> None:
    text = page()
    assert "<b>" not in text and len(re.findall(r'src="data:image/jpeg;base64,', text)) == 2
    assert not re.search(r"(src|href)=\"?(https?:|//)", text)
    match = re.search(r'<script type="application/json" id="maps">(.*?)</script>', text)
    assert match
    generated, real = json.loads(match[1])
    assert (generated["rows"], generated["columns"], generated["side"], generated["texts"][1]) == (2, 2, 16, NASTY)
    assert real["texts"] == ["a real bird"]


def test_under_the_pointer_the_tile_is_shown_large_with_its_caption(tmp_path: Path) -> None:
    program = find_browser()
    if program is None:
        pytest.skip("no Chromium is installed")
    (tmp_path / "map.html").write_text(page(), encoding="utf-8")
    with Browser(program, tmp_path / "browser") as browser:
        tab = browser.open(tmp_path / "map.html")
        assert tab.value("document.getElementById('near').hidden")
        for selector, x, y, caption, colour in (
            ("#map-0", 0.1, 0.2, "a red bird", COLOURS[0]),
            ("#map-0", 0.9, 0.1, NASTY, COLOURS[1]),
            ("#map-0", 0.3, 0.9, "a blue bird", COLOURS[2]),
            ("#map-1", 0.98, 0.98, "a real bird", COLOURS[0]),
        ):
            tab.mouse(selector, x, y)
            assert tab.text("#near p") == caption
            assert np.abs(np.array(tab.value(PIXEL))[:3] - colour).max() < 12
            left, top, right, bottom = tab.value(BOX)
            assert left >= 0 and top >= 0 and right <= 1280 and bottom <= 900, "it stays inside the window"
        tab.mouse("#map-0", 0.9, 0.9)
        assert tab.value("document.getElementById('near').hidden"), "an empty place shows nothing"
        tab.mouse("#map-0", 0.1, 0.1)
        tab.mouse("h1")
        assert tab.value("document.getElementById('near').hidden")
        assert tab.problems() == []
