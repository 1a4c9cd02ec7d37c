"""The page of t-SNE maps: one image per map; the tile under the pointer is enlarged, with its caption. One self-contained file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stackgan_cli.viz.assets import asset
from stackgan_cli.viz.pages import embedded_json, escape, image_uri, page

QUALITY = 85
"""Quality of the JPEG that contains all tiles of a map."""
LARGE = 224
"""Side of the enlarged tile in pixels."""


@dataclass(frozen=True)
class MapPanel:
    """One map: uint8 `picture` (rows * S, columns * S, 3) of tiles of side S, and a text for each tile, None for an empty place."""

    title: str
    note: str
    picture: np.ndarray
    texts: Sequence[Sequence[str | None]]


def map_page(title: str, facts: Sequence[tuple[str, str]], panels: Sequence[MapPanel]) -> str:
    """The document: the panels side by side, and `facts` as a table below."""
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
<p class="soft">Move the pointer over a map to enlarge the image under it and read its caption.</p>
<div class="maps">{"".join(figures)}</div>
<h2>How it was made</h2>
<table>{rows_of_facts}</table>
<div id="near" hidden><canvas width="{LARGE}" height="{LARGE}"></canvas><p></p></div>
{embedded_json(data, "maps")}"""
    return page(title, body, style=asset("base.css") + asset("map.css"), script=asset("map.js"))
