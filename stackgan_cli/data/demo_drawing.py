"""Draw one demo bird: a background, then the bird in supersampled layers (colour, coverage, relief), shaded and laid over it.

Colours are flat when drawn; light comes afterwards from the slope of the blurred relief, so that the middle of the torso keeps its
palette colour (`PALETTE`, eight sRGB values far apart in CIE Lab) and only edges brighten or darken.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from stackgan_cli.data.demo_geometry import Bird, Scene, compose

Colour = tuple[int, int, int]

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
"""The eight body colours (sRGB)."""

PART_COLOURS: dict[str, Colour] = {**PALETTE, "orange": (240, 132, 32), "pink": (240, 140, 172)}
"""What wings, crown, belly, tail, beak and eye ring may be."""

_SAMPLES = 3  # subpixels along each axis


def draw_bird(attributes: Mapping[str, str], seed: int, index: int, image_size: int) -> np.ndarray:
    """Image `index` of the demo set: uint8 (height, width, 3). The same arguments always give the same bytes."""
    scene = compose(attributes, seed, index, image_size)
    rng = np.random.default_rng((seed, index, 2))
    picture = Image.fromarray(_background(scene, rng))
    _foreground(picture, scene, rng)
    return _lay_bird(np.asarray(picture), scene, attributes, rng)


# ---------------------------------------------------------------------------------------------------------------- the bird


class _Layers:
    """Colour, coverage and relief of a window of the picture, `_SAMPLES` times finer than its pixels."""

    def __init__(self, left: int, top: int, width: int, height: int, unit: float) -> None:
        size = (width * _SAMPLES, height * _SAMPLES)
        self.origin, self.unit = np.array([left, top], dtype=float), unit * _SAMPLES
        self.colour = Image.new("RGB", size)
        self.coverage = Image.new("L", size)
        self.relief = Image.new("L", size)
        self._pens = [ImageDraw.Draw(layer) for layer in (self.colour, self.coverage, self.relief)]

    def scaled(self, points: np.ndarray) -> list[float]:
        """Points in picture pixels as the flat list that Pillow wants, in subpixels."""
        return ((points - self.origin) * _SAMPLES).ravel().tolist()

    def polygon(self, points: np.ndarray, colour: Colour, relief: int) -> None:
        flat = self.scaled(points)
        self._pens[0].polygon(flat, fill=colour)
        self._pens[1].polygon(flat, fill=255)
        self._pens[2].polygon(flat, fill=relief)

    def line(self, points: np.ndarray, colour: Colour, width: float, relief: int | None = None) -> None:
        """A stroke `width` bird units wide; without a relief it is only colour on what is there already."""
        flat, thick = self.scaled(points), max(1, round(width * self.unit))
        self._pens[0].line(flat, fill=colour, width=thick, joint="curve")
        if relief is not None:
            self._pens[1].line(flat, fill=255, width=thick, joint="curve")
            self._pens[2].line(flat, fill=relief, width=thick, joint="curve")

    def disc(self, centre: np.ndarray, radius: float, colour: Colour) -> None:
        """A disc of colour only; `radius` in picture pixels."""
        x, y = self.scaled(centre)
        reach = radius * _SAMPLES
        self._pens[0].ellipse((x - reach, y - reach, x + reach, y + reach), fill=colour)

    def tint(self, points: np.ndarray, colour: Colour, within: list[np.ndarray], soften: float) -> None:
        """Colour the part of a polygon that lies within others, with an edge softened over `soften` bird units."""
        region, bounds = Image.new("L", self.colour.size), Image.new("L", self.colour.size)
        ImageDraw.Draw(region).polygon(self.scaled(points), fill=255)
        for polygon in within:
            ImageDraw.Draw(bounds).polygon(self.scaled(polygon), fill=255)
        if soften > 0:
            region = region.filter(ImageFilter.BoxBlur(soften * self.unit))
        self.colour.paste(colour, mask=ImageChops.multiply(region, bounds))


def _shade(colour: Colour, factor: float) -> Colour:
    """Lighter or darker by a factor; black gains a little so that its feathers can be told apart."""
    lift = 10.0 * (factor - 1.0)
    red, green, blue = (int(min(max(channel * factor + lift, 0), 255)) for channel in colour)
    return red, green, blue


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
    colour = colour * light + np.maximum(light - 1, 0) * 26 * coverage  # the second term is a sheen that black shows too
    if bird.waterline is not None:
        rows = np.arange(top, bottom, dtype=np.float32)[:, None, None]
        columns = np.arange(left, right, dtype=np.float32)[None, :, None]
        above = np.clip(bird.waterline + np.sin(columns / bird.unit * 7) * 0.02 * bird.unit - rows + 0.5, 0, 1)
        coverage, colour = coverage * above, colour * above
    result = picture.copy()
    window = result[top:bottom, left:right]
    window[:] = np.clip(window * (1 - coverage) + colour + 0.5, 0, 255)
    return result


def _paint(layers: _Layers, bird: Bird, ink: dict[str, Colour], attributes: Mapping[str, str], rng: np.random.Generator) -> None:
    """All flat colours, from back to front."""
    body, wing, beak = ink["body"], ink["wing"], ink["beak"]
    for number, feather in enumerate(bird.far_wing):
        layers.polygon(feather, _shade(wing, 0.80 + 0.06 * (number % 2)), 70 + 8 * (number % 2))
    for leg in bird.legs:
        layers.line(leg, _LEG, 0.07, relief=90)
        toe = leg[-1]
        forward = np.sign(bird.eye[0] - toe[0]) * bird.unit
        for x, y in ((0.20, 0.03), (0.10, 0.07), (-0.13, 0.04)):
            layers.line(np.stack([toe, toe + np.array([x * forward, y * bird.unit])]), _LEG, 0.06, relief=90)
    for number, feather in enumerate(bird.tail):
        layers.polygon(feather, _shade(ink["tail"], 0.90 + 0.06 * (number % 3)), 80 + 14 * (number % 2))
    layers.polygon(bird.beak[0], _shade(beak, 0.80), 110)
    layers.polygon(bird.beak[1], beak, 150)
    for polygon in bird.body:
        layers.polygon(polygon, body, 165)
    for chevron, tone in zip(bird.flecks, rng.uniform(0.90, 1.10, size=len(bird.flecks)), strict=True):
        layers.line(chevron, _shade(body, float(tone)), 0.035)
    if attributes["belly"] != attributes["body"]:
        layers.tint(bird.belly, ink["belly"], bird.body[:1], 0.05)
    if attributes["crown"] != attributes["body"]:
        layers.tint(bird.crown, ink["crown"], bird.body[2:], 0.02)
    for number, feather in enumerate(bird.wing):
        tone = 0.92 + 0.10 * (number % 2) + float(rng.uniform(-0.02, 0.02))
        layers.polygon(feather, _shade(wing, tone), 200 + 16 * (number % 2))
        layers.line(np.concatenate([feather, feather[:1]]), _shade(wing, 0.72), 0.018)
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
    """(height, width) factors about 1: brighter where the relief faces the upper left, darker where it faces away."""
    total = np.ones((relief.height, relief.width), dtype=np.float32)
    for radius, strength in ((0.20, 0.0062), (0.035, 0.0011)):
        soft = np.asarray(relief.filter(ImageFilter.GaussianBlur(radius * unit)), dtype=np.float32)
        slope_y, slope_x = np.gradient(soft)
        total += strength * radius * unit * (0.8 * slope_y + 0.6 * slope_x)
    return np.clip(total, 0.66, 1.28)


def _jitter(colour: Colour, rng: np.random.Generator) -> Colour:
    """A slightly different colour: up to 6 levels of light, 4 of hue."""
    moved = np.array(colour) + rng.uniform(-6, 6) + rng.uniform(-4, 4, size=3)
    red, green, blue = np.clip(moved, 0, 255).astype(int).tolist()
    return red, green, blue


# -------------------------------------------------------------------------------------------------------------- backgrounds

_LEG: Colour = (92, 74, 60)
_GRADIENTS: dict[str, tuple[tuple[Colour, Colour], ...]] = {  # top and bottom colours to choose from
    "sky": (((104, 158, 206), (188, 212, 226)), ((132, 172, 208), (208, 216, 220)), ((148, 168, 186), (196, 202, 206))),
    "dusk": (((110, 116, 164), (232, 180, 148)), ((150, 120, 150), (240, 204, 158)), ((88, 110, 140), (206, 178, 170))),
    "foliage": (((108, 142, 96), (142, 158, 108)), ((128, 150, 120), (96, 124, 88)), ((164, 160, 112), (126, 138, 98))),
    "grass": (((186, 204, 206), (168, 186, 138)), ((170, 184, 160), (150, 170, 116)), ((204, 200, 176), (166, 172, 120))),
    "plain": (((196, 186, 168), (176, 164, 144)), ((160, 182, 186), (142, 164, 170)), ((186, 172, 178), (166, 152, 160))),
    "sea": (((168, 190, 206), (206, 214, 214)), ((136, 164, 192), (200, 206, 208))),
    "water": (((128, 162, 172), (88, 128, 146)), ((110, 140, 160), (76, 108, 132)), ((150, 166, 158), (104, 130, 128))),
}


def _noise(rng: np.random.Generator, rows: int, columns: int, width: int, height: int) -> np.ndarray:
    """(height, width) float32 smooth noise of unit spread, with about rows x columns bumps."""
    coarse = Image.fromarray(rng.standard_normal((rows, columns)).astype(np.float32))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


def _background(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """uint8 (height, width, 3): a gradient and what belongs to the kind of place, out of focus (so drawn at half size)."""
    width, height = (scene.width + 1) // 2, (scene.height + 1) // 2
    choices = _GRADIENTS[scene.background]
    top, bottom = (np.array(colour, dtype=np.float32) + rng.uniform(-8, 8) for colour in choices[int(rng.integers(len(choices)))])
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    canvas = np.broadcast_to(top + (bottom - top) * down, (height, width, 3)).copy()
    kind = scene.background
    if kind == "foliage":
        canvas = _bokeh(canvas, rng)
    if kind in ("sky", "dusk", "sea"):
        cloud = _noise(rng, 4, 3, width, height) + 0.5 * _noise(rng, 10, 7, width, height)
        cover = np.clip(cloud - 0.15, 0, 1)[..., None] * 0.55 * (1 - 0.5 * down)
        canvas += (np.array([244, 242, 240], dtype=np.float32) - canvas) * cover
    if kind in ("sea", "water"):
        _ripples(canvas, rng, 0.0 if kind == "water" else float(rng.uniform(0.62, 0.82)))
    if kind in ("grass", "plain", "foliage"):
        canvas += 7 * _noise(rng, 6, 6, width, height)[..., None]
    soft = Image.fromarray(np.clip(canvas, 0, 255).astype(np.uint8)).resize((scene.width, scene.height), Image.Resampling.BILINEAR)
    return np.asarray(soft)


def _bokeh(canvas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Leaves and light far out of focus."""
    height, width = canvas.shape[:2]
    base = canvas.mean(axis=(0, 1))
    image = Image.fromarray(canvas.astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for _ in range(26):
        x, y, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0.05, 0.15) * width
        tone = base * rng.uniform(0.72, 1.30) + rng.uniform(-10, 14, size=3)
        red, green, blue = np.clip(tone, 0, 255).astype(int).tolist()
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(red, green, blue))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(0.025 * width)), dtype=np.float32)


def _ripples(canvas: np.ndarray, rng: np.random.Generator, horizon: float) -> None:
    """Water from `horizon` (a share of the height) downwards: streaks that grow towards the viewer. Changes `canvas`."""
    height, width = canvas.shape[:2]
    first = int(horizon * height)
    deep = height - first
    if horizon > 0:
        canvas[first:] = np.array([92, 128, 146], dtype=np.float32) + rng.uniform(-10, 10)
    fine, broad = _noise(rng, max(deep // 3, 4), 7, width, deep), _noise(rng, max(deep // 9, 3), 4, width, deep)
    canvas[first:] += (6 * fine + 9 * broad)[..., None]


def _foreground(picture: Image.Image, scene: Scene, rng: np.random.Generator) -> None:
    """What a perched bird stands on, drawn into `picture`: a branch, or blades of grass on the ground."""
    bird = scene.bird
    if not bird.legs:
        return
    ground = float(np.mean([leg[-1, 1] for leg in bird.legs])) + 0.02 * bird.unit
    top = max(0, int(ground - 0.6 * bird.unit))
    strip = picture.crop((0, top, scene.width, scene.height)).resize((scene.width * 2, (scene.height - top) * 2), Image.Resampling.BILINEAR)
    pen = ImageDraw.Draw(strip)
    if scene.background == "grass":
        _grass(pen, scene, (ground - top) * 2, rng)
    else:
        _branch(pen, scene, (ground - top) * 2, rng)
    picture.paste(strip.reduce(2), (0, top))


def _branch(pen: ImageDraw.ImageDraw, scene: Scene, ground: float, rng: np.random.Generator) -> None:
    unit, width = scene.bird.unit * 2, scene.width * 2
    x = np.linspace(-10, width + 10, 30)
    foot = float(np.mean([leg[-1, 0] for leg in scene.bird.legs])) * 2
    line = (
        ground + (x - foot) * rng.uniform(-0.10, 0.10) + 0.03 * unit * np.sin(x / unit * 1.7 + rng.uniform(0, 6)) * np.abs(x - foot) / width
    )
    thick = unit * rng.uniform(0.13, 0.22) * (1 + 0.06 * rng.standard_normal(30))
    tone = rng.uniform(0.8, 1.15)
    for share, shade in ((1.0, 0.72), (0.72, 0.92), (0.36, 1.10)):
        colour = _shade((112, 92, 74), tone * shade)
        pen.polygon(
            np.concatenate([np.stack([x, line], 1), np.stack([x, line + thick * share * 2], 1)[::-1]]).ravel().tolist(), fill=colour
        )


def _grass(pen: ImageDraw.ImageDraw, scene: Scene, ground: float, rng: np.random.Generator) -> None:
    unit, width, height = scene.bird.unit * 2, scene.width * 2, scene.height * 2
    pen.rectangle((0, ground - 0.05 * unit, width, height), fill=(122, 142, 84))
    blades = 150
    roots, lean = rng.uniform(0, width, size=blades), rng.normal(0, 0.13, size=blades) * unit
    depth, tall = np.sort(rng.uniform(0, 1, size=blades)), rng.uniform(0.18, 0.42, size=blades) * unit
    tones = rng.uniform(0.75, 1.15, size=blades)
    for root, slant, near, reach, tone in zip(roots, lean, depth, tall, tones, strict=True):
        y = ground + (near * 1.1 + 0.1) * unit
        half = 0.03 * unit
        pen.polygon((root - half, y, root + half, y, root + slant, y - reach * (0.7 + near)), fill=_shade((118, 144, 78), float(tone)))
