"""The surroundings of a demo bird. Behind it: sky, foliage, grass, water or a plain wall; under it: a branch, grass or ripples.

Backgrounds are out of focus, in medium tones against which every palette color is visible.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from stackgan_cli.data.demo_geometry import Scene

Colour = tuple[int, int, int]


def draw_scenery(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """The image without its bird: uint8 (height, width, 3)."""
    picture = Image.fromarray(_background(scene, rng))
    _foreground(picture, scene, rng)
    return np.asarray(picture)


def shade(colour: Colour, factor: float) -> Colour:
    """Lighter or darker by a factor; black gains a little so that its feathers can be told apart."""
    lift = 10.0 * (factor - 1.0)
    red, green, blue = (int(min(max(channel * factor + lift, 0), 255)) for channel in colour)
    return red, green, blue


_GRADIENTS: dict[str, tuple[tuple[Colour, Colour], ...]] = {  # top and bottom colors to choose from
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
    """uint8 (height, width, 3): a gradient and the details of the scene, out of focus (hence drawn at half size)."""
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
    """Leaves and light, far out of focus."""
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
    """Water from `horizon` (a fraction of the height) downwards: streaks that widen toward the viewer. Changes `canvas`."""
    height, width = canvas.shape[:2]
    first = int(horizon * height)
    deep = height - first
    if horizon > 0:
        canvas[first:] = np.array([92, 128, 146], dtype=np.float32) + rng.uniform(-10, 10)
    fine, broad = _noise(rng, max(deep // 3, 4), 7, width, deep), _noise(rng, max(deep // 9, 3), 4, width, deep)
    canvas[first:] += (6 * fine + 9 * broad)[..., None]


def _foreground(picture: Image.Image, scene: Scene, rng: np.random.Generator) -> None:
    """What the bird stands on or swims in, drawn into `picture` at twice its resolution: a branch, grass, or rings on the water."""
    bird = scene.bird
    if bird.waterline is not None:
        level = bird.waterline
    elif bird.legs:
        level = float(np.mean([leg[-1, 1] for leg in bird.legs])) + 0.02 * bird.unit
    else:
        return
    top = max(0, int(level - 0.6 * bird.unit))
    strip = picture.crop((0, top, scene.width, scene.height)).resize((scene.width * 2, (scene.height - top) * 2), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(strip)
    level = (level - top) * 2
    if bird.waterline is not None:
        red, green, blue = np.asarray(strip)[int(level)].mean(axis=0).astype(int).tolist()
        _rings(pen, scene, level, (red, green, blue), rng)
    elif scene.background == "grass":
        _grass(pen, scene, level, rng)
    else:
        _branch(pen, scene, level, rng)
    picture.paste(strip.reduce(2), (0, top))


def _rings(pen: ImageDraw.ImageDraw, scene: Scene, level: float, water: Colour, rng: np.random.Generator) -> None:
    unit = scene.bird.unit * 2
    middle = float(scene.bird.body[0][:, 0].mean()) * 2
    for reach in (1.75, 1.45, 1.15):
        wide, high = reach * unit * rng.uniform(0.92, 1.08), (reach - 0.95) * 0.42 * unit
        for start, end, tone in ((15, 165, 1.22), (20, 120, 0.86)):
            lower = 0.0 if tone > 1 else 0.035 * unit
            arc = (middle - wide, level - high + lower, middle + wide, level + high + lower)
            pen.arc(arc, start, end, fill=shade(water, tone), width=max(1, round(0.022 * unit)))


def _branch(pen: ImageDraw.ImageDraw, scene: Scene, ground: float, rng: np.random.Generator) -> None:
    unit, width = scene.bird.unit * 2, scene.width * 2
    x = np.linspace(-10, width + 10, 30)
    foot = float(np.mean([leg[-1, 0] for leg in scene.bird.legs])) * 2
    slope, phase = rng.uniform(-0.10, 0.10), rng.uniform(0, 6)
    line = ground + (x - foot) * slope + 0.03 * unit * np.sin(x / unit * 1.7 + phase) * np.abs(x - foot) / width
    thick = unit * rng.uniform(0.26, 0.44) * (1 + 0.06 * rng.standard_normal(30))
    tone = rng.uniform(0.8, 1.15)
    for share, light in ((1.0, 0.72), (0.72, 0.92), (0.36, 1.10)):
        outline = np.concatenate([np.stack([x, line], 1), np.stack([x, line + thick * share], 1)[::-1]])
        pen.polygon(outline.ravel().tolist(), fill=shade((112, 92, 74), tone * light))


def _grass(pen: ImageDraw.ImageDraw, scene: Scene, ground: float, rng: np.random.Generator) -> None:
    """A meadow that darkens toward the viewer, with blades drawn from far to near."""
    unit, width, height = scene.bird.unit * 2, scene.width * 2, scene.height * 2
    bands = 24
    deep = 1.5 * unit
    for band in range(bands):
        tint = shade((140, 160, 100), 1.06 - 0.34 * band / bands)
        pen.rectangle((0, ground + (band / bands - 0.08) * deep, width, height), fill=tint)
    blades = 260
    depth = np.sort(rng.uniform(-0.08, 1.1, size=blades))
    roots, lean = rng.uniform(0, width, size=blades), rng.normal(0, 0.15, size=blades) * unit
    tall = rng.uniform(0.16, 0.34, size=blades) * unit * (0.55 + depth)
    tones = rng.uniform(0.80, 1.16, size=blades) * (1.06 - 0.26 * depth)
    for root, slant, near, reach, tone in zip(roots, lean, depth, tall, tones, strict=True):
        y = ground + near * deep + 0.6 * reach
        half = (0.018 + 0.016 * near) * unit
        pen.polygon((root - half, y, root + half, y, root + slant, y - reach), fill=shade((128, 152, 86), float(tone)))
