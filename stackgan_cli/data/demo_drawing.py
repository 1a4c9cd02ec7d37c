"""Draw one demo bird over its scenery: supersampled layers (color, coverage, relief) are shaded and composited over the image.

Colors are drawn flat; shading is added afterwards from the slope of the blurred relief, so that the middle of the torso keeps its
palette color (`PALETTE`, eight sRGB values far apart in CIE Lab) and only edges brighten or darken.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from stackgan_cli.data.demo_geometry import Bird, Scene, compose
from stackgan_cli.data.demo_scenery import Colour, draw_scenery, shade

PALETTE: dict[str, Colour] = {
    "red": (200, 34, 40),
    "blue": (44, 84, 200),
    "yellow": (246, 212, 44),
    "green": (52, 150, 62),
    "black": (30, 30, 34),
    "white": (243, 243, 240),
    "brown": (126, 80, 44),
    "grey": (136, 140, 145),
}
"""The eight body colors (sRGB)."""

PART_COLOURS: dict[str, Colour] = {**PALETTE, "orange": (238, 120, 24), "pink": (240, 140, 172)}
"""Possible colors of wings, crown, belly, tail, beak and eye ring."""

_SAMPLES = 3  # subpixels along each axis
_LEG: Colour = (92, 74, 60)


def draw_bird(attributes: Mapping[str, str], seed: int, index: int, image_size: int) -> np.ndarray:
    """Image `index` of the demo set: uint8 (height, width, 3). The same arguments always give the same bytes."""
    scene = compose(attributes, seed, index, image_size)
    rng = np.random.default_rng((seed, index, 2))
    return _lay_bird(draw_scenery(scene, rng), scene, attributes, rng)


# ---------------------------------------------------------------------------------------------------------------- the bird


class _Layers:
    """Color, coverage and relief of a window of the image, at `_SAMPLES` times its resolution."""

    def __init__(self, left: int, top: int, width: int, height: int, unit: float) -> None:
        size = (width * _SAMPLES, height * _SAMPLES)
        self.origin, self.unit = np.array([left, top], dtype=float), unit * _SAMPLES
        self.colour = Image.new("RGB", size)
        self.coverage = Image.new("L", size)
        self.relief = Image.new("L", size)
        self._pens = [ImageDraw.Draw(layer) for layer in (self.colour, self.coverage, self.relief)]

    def scaled(self, points: np.ndarray) -> list[float]:
        """Points in image pixels, converted to subpixels as the flat list that Pillow expects."""
        return ((points - self.origin) * _SAMPLES).ravel().tolist()

    def polygon(self, points: np.ndarray, colour: Colour, relief: int) -> None:
        flat = self.scaled(points)
        self._pens[0].polygon(flat, fill=colour)
        self._pens[1].polygon(flat, fill=255)
        self._pens[2].polygon(flat, fill=relief)

    def line(self, points: np.ndarray, colour: Colour, width: float, relief: int) -> None:
        """A stroke `width` bird units wide."""
        flat, thick = self.scaled(points), max(1, round(width * self.unit))
        for pen, ink in ((self._pens[0], colour), (self._pens[1], 255), (self._pens[2], relief)):
            pen.line(flat, fill=ink, width=thick)

    def strokes(self, lines: np.ndarray, colours: list[Colour], width: float, rng: np.random.Generator) -> None:
        """Many strokes (n, points, 2) of random colors, only where something is drawn already."""
        flat = ((lines - self.origin) * _SAMPLES).reshape(len(lines), -1).tolist()
        thick = max(1, round(width * self.unit))
        for line, choice in zip(flat, rng.integers(len(colours), size=len(lines)).tolist(), strict=True):
            self._pens[0].line(line, fill=colours[choice], width=thick)

    def disc(self, centre: np.ndarray, radius: float, colour: Colour) -> None:
        """A disc of color without relief; `radius` in image pixels."""
        x, y = self.scaled(centre)
        reach = radius * _SAMPLES
        self._pens[0].ellipse((x - reach, y - reach, x + reach, y + reach), fill=colour)

    def tint(self, points: np.ndarray, colour: Colour, within: np.ndarray, soften: float) -> None:
        """Color the part of a polygon inside another one, with an edge softened over `soften` bird units."""
        low = np.maximum(points.min(axis=0), within.min(axis=0)) - 1
        high = np.minimum(points.max(axis=0), within.max(axis=0)) + 1
        corner = ((low - self.origin) * _SAMPLES).astype(int)
        size = ((high - low) * _SAMPLES).astype(int).tolist()
        region, bounds = Image.new("L", size), Image.new("L", size)
        for layer, polygon in ((region, points), (bounds, within)):
            ImageDraw.Draw(layer).polygon(((polygon - self.origin) * _SAMPLES - corner).ravel().tolist(), fill=255)
        if soften > 0:
            region = region.filter(ImageFilter.BoxBlur(soften * self.unit))
        self.colour.paste(colour, tuple(corner.tolist()), ImageChops.multiply(region, bounds))


def _lay_bird(picture: np.ndarray, scene: Scene, attributes: Mapping[str, str], rng: np.random.Generator) -> np.ndarray:
    bird = scene.bird
    ink = {part: _jitter(PART_COLOURS[attributes[part]], rng) for part in ("body", "wing", "crown", "belly", "tail", "beak")}
    least, greatest = bird.bounds()
    left, top = np.maximum(np.floor(least - 4), 0).astype(int).tolist()
    right, bottom = np.minimum(np.ceil(greatest + 4), (scene.width, scene.height)).astype(int).tolist()
    layers = _Layers(left, top, right - left, bottom - top, bird.unit)
    _paint(layers, bird, ink, attributes, rng)

    colour = np.asarray(layers.colour.reduce(_SAMPLES), dtype=np.float32)
    coverage = np.asarray(layers.coverage.reduce(_SAMPLES), dtype=np.float32)[..., None] / 255
    light = _light(layers.relief.reduce(_SAMPLES), bird.unit)[..., None]
    colour = colour * light + np.maximum(light - 1, 0) * 26 * coverage  # the second term is a sheen that is visible on black too
    result = picture.copy()
    if bird.waterline is not None:
        _reflect(result, colour, coverage, left, top, bird)
        rows = np.arange(top, bottom, dtype=np.float32)[:, None, None]
        columns = np.arange(left, right, dtype=np.float32)[None, :, None]
        above = np.clip(bird.waterline + np.sin(columns / bird.unit * 7) * 0.02 * bird.unit - rows + 0.5, 0, 1)
        coverage, colour = coverage * above, colour * above
    window = result[top:bottom, left:right]
    window[:] = np.clip(window * (1 - coverage) + colour + 0.5, 0, 255)
    return result


def _reflect(picture: np.ndarray, colour: np.ndarray, coverage: np.ndarray, left: int, top: int, bird: Bird) -> None:
    """Mirror the bird in the water, broken by ripples and fading with depth. Changes `picture`; `colour` is premultiplied."""
    line = round(bird.waterline or 0.0)
    deep = min(line - top, picture.shape[0] - line)
    above = slice(line - top - deep, line - top)
    rows = np.arange(deep, dtype=np.float32)[:, None, None]
    strength = (0.42 - 0.40 * rows / deep) * (0.72 + 0.28 * np.sin(rows * (45 / bird.unit)))
    water = picture[line : line + deep, left : left + colour.shape[1]]
    water[:] = np.clip(water * (1 - coverage[above][::-1] * strength) + colour[above][::-1] * strength, 0, 255)


def _paint(layers: _Layers, bird: Bird, ink: dict[str, Colour], attributes: Mapping[str, str], rng: np.random.Generator) -> None:
    """Draw all flat colors, from back to front."""
    body, wing, beak = ink["body"], ink["wing"], ink["beak"]
    for number, feather in enumerate(bird.far_wing):
        layers.polygon(feather, shade(wing, 0.80 + 0.06 * (number % 2)), 70 + 8 * (number % 2))
    for leg in bird.legs:
        layers.line(leg, _LEG, 0.07, relief=90)
        toe = leg[-1]
        forward = np.sign(bird.eye[0] - toe[0]) * bird.unit
        for x, y in ((0.20, 0.03), (0.10, 0.07), (-0.13, 0.04)):
            layers.line(np.stack([toe, toe + np.array([x * forward, y * bird.unit])]), _LEG, 0.06, relief=90)
    for number, feather in enumerate(bird.tail):
        layers.polygon(feather, shade(ink["tail"], 0.90 + 0.06 * (number % 3)), 80 + 14 * (number % 2))
    layers.polygon(bird.beak[0], shade(beak, 0.86), 110)
    layers.polygon(bird.beak[1], beak, 150)
    for mandible in bird.beak:  # a dark rim sets pale and gray beaks off from sky and water
        layers.line(np.concatenate([mandible, mandible[:1]]), shade(beak, 0.62), 0.034, relief=100)
    for polygon in bird.body:
        layers.polygon(polygon, body, 165)
    layers.strokes(bird.flecks, [shade(body, tone) for tone in (0.90, 0.94, 0.97, 1.03, 1.06, 1.10)], 0.035, rng)
    if attributes["belly"] != attributes["body"]:
        layers.tint(bird.belly, ink["belly"], bird.body[0], 0.05)
    if attributes["crown"] != attributes["body"]:
        layers.tint(bird.crown, ink["crown"], bird.body[2], 0.0)
    for number, feather in enumerate(bird.wing):
        tone = 0.92 + 0.10 * (number % 2) + float(rng.uniform(-0.02, 0.02))
        layers.polygon(feather, shade(wing, tone), 200 + 16 * (number % 2))
        layers.line(np.concatenate([feather, feather[:1]]), shade(wing, 0.72), 0.018, relief=190)
    _eye(layers, bird, attributes["eye_ring"])


def _eye(layers: _Layers, bird: Bird, ring: str) -> None:
    radius = bird.eye_radius
    if ring != "none":
        layers.disc(bird.eye, radius * 1.65, PART_COLOURS[ring])
    else:
        layers.disc(bird.eye, radius * 1.18, (92, 84, 78))
    layers.disc(bird.eye, radius, (18, 14, 14))
    layers.disc(bird.eye + np.array([-0.32, -0.34]) * radius, radius * 0.34, (255, 255, 255))


def _light(relief: Image.Image, unit: float) -> np.ndarray:
    """(height, width) factors around 1: brighter where the relief faces the upper left, darker where it faces away."""
    total = np.ones((relief.height, relief.width), dtype=np.float32)
    for radius, strength in ((0.20, 0.0062), (0.035, 0.0011)):
        soft = np.asarray(relief.filter(ImageFilter.GaussianBlur(radius * unit)), dtype=np.float32)
        slope_y, slope_x = np.gradient(soft)
        total += strength * radius * unit * (0.8 * slope_y + 0.6 * slope_x)
    return np.clip(total, 0.66, 1.28)


def _jitter(colour: Colour, rng: np.random.Generator) -> Colour:
    """A slightly different color: up to 6 levels in lightness, 4 in hue."""
    moved = np.array(colour) + rng.uniform(-6, 6) + rng.uniform(-4, 4, size=3)
    red, green, blue = np.clip(moved, 0, 255).astype(int).tolist()
    return red, green, blue
