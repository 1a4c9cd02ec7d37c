"""The page of t-SNE maps: a picture a map, and under the pointer the tile large with its caption. One file without a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stackgan_cli.viz.assets import asset
from stackgan_cli.viz.pages import embedded_json, escape, image_uri, page

QUALITY = 85
"""Of the JPEG that holds all tiles of a map."""
LARGE = 224
"""Pixels of the tile under the pointer."""


@dataclass(frozen=True)
class MapPanel:
    """One map: uint8 `picture` (rows * S, columns * S, 3) of tiles of side S, and what is said of each tile, None of an empty place."""

    title: str
    note: str
    picture: np.ndarray
    texts: Sequence[Sequence[str | None]]


def map_page(title: str, facts: Sequence[tuple[str, str]], panels: Sequence[MapPanel]) -> str:
    """The document: the panels beside one another, and `facts` as a table below."""
    figures, data = [], []
    for number, panel in enumerate(panels):
        rows, columns = len(panel.texts), len(panel.texts[0])
        texts = [text for row in panel.texts for text in row]
        data.append({"rows": rows, "columns": columns, "side": panel.picture.shape[0] // rows, "texts": texts})
        figures.append(
            f'<figure><figcaption><h2>{escape(panel.title)}</h2><span class="soft">{escape(panel.note)}</span></figcaption>'
            f'<img class="map" id="map-{number}" alt="{escape(panel.title)}" src="{image_uri(panel.picture, "jpeg", quality=QUALITY)}">'
            "</figure>"
        )
    rows_of_facts = "".join(f"<tr><th>{escape(key)}</th><td>{escape(value)}</td></tr>" for key, value in facts)
    body = f"""<h1>{escape(title)}</h1>
<p class="soft">Move the pointer over a map: the image under it is shown large, with its caption.</p>
<div class="maps">{"".join(figures)}</div>
<h2>How it was made</h2>
<table>{rows_of_facts}</table>
<div id="near" hidden><canvas width="{LARGE}" height="{LARGE}"></canvas><p></p></div>
{embedded_json(data, "maps")}"""
    return page(title, body, style=asset("base.css") + asset("map.css"), script=asset("map.js"))
