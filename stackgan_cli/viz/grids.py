"""Grids of images with their captions, and PNG files written atomically."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from stackgan_cli.files import replacing

GAP = 2
"""Pixels between images."""
MARGIN = 4
"""Pixels around a caption."""
MIN_WIDTH = 240
"""A captioned grid is at least this wide, so that captions of small images stay readable."""
PAPER, INK = (255, 255, 255), (20, 20, 20)


def to_uint8(images: np.ndarray) -> np.ndarray:
    """uint8 unchanged; floats in [-1, 1] (clipped) scaled to 0..255. Any shape."""
    if images.dtype == np.uint8:
        return images
    return np.rint((np.clip(images, -1, 1) + 1) * 127.5).astype(np.uint8)


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def wrap(text: str, width: float, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    """`text` in lines no wider than `width` pixels; a single word that is wider is split."""
    lines, line = [], ""
    for word in text.split():
        longer = f"{line} {word}" if line else word
        if font.getlength(longer) <= width:
            line = longer
            continue
        if line:
            lines.append(line)
        while len(word) > 1 and font.getlength(word) > width:
            fits = next((n for n in range(len(word) - 1, 1, -1) if font.getlength(word[:n]) <= width), 1)
            lines.append(word[:fits])
            word = word[fits:]
        line = word
    return [*lines, line] if line else lines


def grid(images: np.ndarray, columns: int, captions: Sequence[str] | None = None, *, font_size: int = 12) -> np.ndarray:
    """uint8 (height, width, 3): `images` (N, S, S, 3) in rows of `columns`, with a caption above each row, if given.

    The last row may be incomplete. Images are uint8, or floats in [-1, 1].
    """
    images = to_uint8(images)
    count, height, width = images.shape[:3]
    rows = -(-count // columns)
    if captions is not None and len(captions) != rows:
        raise ValueError(f"{rows} rows of images need {rows} captions, not {len(captions)}")
    font = _font(font_size)
    line_height = round(font_size * 1.3)
    page_width = columns * (width + GAP) - GAP
    if captions is not None:
        page_width = max(page_width, MIN_WIDTH)
    texts = [wrap(caption, page_width - 2 * MARGIN, font) for caption in captions] if captions is not None else [[]] * rows
    heads = [len(lines) * line_height + 2 * MARGIN if lines else 0 for lines in texts]
    page = Image.new("RGB", (page_width, sum(heads) + rows * (height + GAP) - GAP), PAPER)
    draw = ImageDraw.Draw(page)
    top = 0
    for row, (lines, head) in enumerate(zip(texts, heads, strict=True)):
        for number, line in enumerate(lines):
            draw.text((MARGIN, top + MARGIN + number * line_height), line, fill=INK, font=font)
        top += head
        for column, image in enumerate(images[row * columns : (row + 1) * columns]):
            page.paste(Image.fromarray(image), (column * (width + GAP), top))
        top += height + GAP
    return np.asarray(page)


def save_png(path: Path, image: np.ndarray) -> None:
    """Atomically write uint8 (or [-1, 1]) (H, W, 3) as PNG. Raises EnvironmentProblem when the disk is full."""
    with replacing(path) as temporary:
        Image.fromarray(to_uint8(image)).save(temporary, format="PNG")
