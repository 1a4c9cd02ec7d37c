"""Self-contained HTML pages: images are embedded, all text is escaped, and nothing is loaded from elsewhere.

A page can be opened from disk without a network; its content security policy enforces that. This file is about pages in general.
"""

from __future__ import annotations

import base64
import html
import io
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

POLICY = "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
STYLE = """:root { color-scheme: light dark; --ink: #1a1a1a; --soft: #666; --paper: #fff; --line: #ccc; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e6; --soft: #999; --paper: #161616; --line: #444; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto; max-width: 75rem;
  padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
img { max-width: 100%; } table { border-collapse: collapse; } td, th { text-align: left; padding: .15rem .8rem .15rem 0;
  border-bottom: 1px solid var(--line); vertical-align: top; }
code, pre { font: 13px/1.4 ui-monospace, monospace; } pre { overflow-x: auto; } .soft { color: var(--soft); }
"""


def escape(value: object) -> str:
    """Any value as text that is safe between tags and inside quoted attributes."""
    return html.escape(str(value), quote=True)


def bytes_uri(data: bytes, media: str) -> str:
    """A `data:` URI of bytes of a media type such as image/png."""
    return f"data:{media};base64,{base64.b64encode(data).decode('ascii')}"


def image_uri(image: np.ndarray, kind: Literal["png", "jpeg"] = "png", *, quality: int = 85) -> str:
    """A `data:` URI of a uint8 image (H, W, 3)."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format=kind, **({"quality": quality} if kind == "jpeg" else {}))
    return bytes_uri(buffer.getvalue(), f"image/{kind}")


def file_uri(path: Path) -> str:
    """A `data:` URI of a PNG, GIF or JPEG file, unchanged."""
    media = {".png": "png", ".gif": "gif", ".jpg": "jpeg", ".jpeg": "jpeg"}[path.suffix.lower()]
    return bytes_uri(path.read_bytes(), f"image/{media}")


def embedded_json(value: Any, name: str) -> str:
    """`value` for a script on the page: `JSON.parse(document.getElementById(name).textContent)`. No text can end the element early."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return f'<script type="application/json" id="{escape(name)}">{text}</script>'


def page(title: str, body: str, *, style: str = "", script: str = "") -> str:
    """A whole document. `title` is escaped here; `body`, `style` and `script` are markup, in which text is already escaped."""
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>
{STYLE}{style}</style>
</head>
<body>
{body}
{f"<script>{script}</script>" if script else ""}
</body>
</html>
"""
