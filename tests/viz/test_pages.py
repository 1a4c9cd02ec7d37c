"""Self-contained pages, whose markup no text can break."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from stackgan_cli.viz.grids import save_png
from stackgan_cli.viz.pages import embedded_json, escape, file_uri, image_uri, page

NASTY = ["</script><script>alert(1)</script>", "<!-- <script>", "a & b \"c\" 'd'", "\u2028\u2029", "ünï 🐦"]


class Reader(HTMLParser):
    """Collects tags and the text of elements, as a browser would see them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def decoded(uri: str) -> tuple[str, bytes]:
    match = re.fullmatch(r"data:([a-z/]+);base64,(.*)", uri)
    assert match
    return match[1], base64.b64decode(match[2], validate=True)


@pytest.mark.parametrize("text", NASTY)
def test_no_text_breaks_out(text: str) -> None:
    reader = Reader()
    reader.feed(page(text, f'<p title="{escape(text)}">{escape(text)}</p>' + embedded_json({"caption": text}, "data")))
    assert reader.tags == ["html", "head", "meta", "meta", "meta", "title", "style", "body", "p", "script"]
    data = next(piece for piece in reader.texts if piece.startswith("{"))
    assert json.loads(data) == {"caption": text}
    assert text in reader.texts


def test_pictures_come_back(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    media, data = decoded(image_uri(image))
    assert media == "image/png" and np.array_equal(Image.open(io.BytesIO(data)), image)
    media, data = decoded(image_uri(image, "jpeg", quality=95))
    assert media == "image/jpeg" and Image.open(io.BytesIO(data)).size == (7, 5)
    save_png(tmp_path / "a.png", image)
    assert decoded(file_uri(tmp_path / "a.png")) == ("image/png", (tmp_path / "a.png").read_bytes())


def test_numbers_that_json_does_not_know_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        embedded_json(float("nan"), "x")
