"""Where the parts of a demo bird are: outlines, bounding box and the 15 CUB parts, from a seed and without drawing anything.

A bird is built of closed polygons in bird units (half the torso's length is about 1), facing right, with y downwards, and then
mirrored, scaled and moved to pixel coordinates. Two properties matter for measurements. The bounding box is padded until the flank is
near its center, so that after StackGAN's box crop the middle of every image shows the body color. Wings and beak are larger than in
nature, so that their color is still recognizable at 64 px.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

CUB_PARTS = (
    "back",
    "beak",
    "belly",
    "breast",
    "crown",
    "forehead",
    "left eye",
    "left leg",
    "left wing",
    "nape",
    "right eye",
    "right leg",
    "right wing",
    "tail",
    "throat",
)
POSES = ("perched", "flying", "swimming")
BACKGROUNDS = {
    "perched": ("foliage", "sky", "grass", "plain", "dusk"),
    "flying": ("sky", "dusk", "plain", "sea"),
    "swimming": ("water",),
}
_POSE_SHARES = (0.55, 0.83, 1.0)  # cumulative, in the order of POSES
BOX_SCALE = 1.5  # StackGAN's crop: a square of 1.5 times the longer side of the box


@dataclass(slots=True)
class Bird:
    """One bird's outlines. Every polygon is (n, 2) float; lists run from back to front."""

    body: list[np.ndarray] = field(default_factory=list)
    belly: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    crown: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))
    tail: list[np.ndarray] = field(default_factory=list)
    far_wing: list[np.ndarray] = field(default_factory=list)
    wing: list[np.ndarray] = field(default_factory=list)
    beak: list[np.ndarray] = field(default_factory=list)  # lower mandible, upper mandible
    legs: list[np.ndarray] = field(default_factory=list)
    flecks: np.ndarray = field(default_factory=lambda: np.zeros((0, 3, 2)))  # short feather edges on the torso: three points each
    parts: dict[str, np.ndarray] = field(default_factory=dict)
    eye: np.ndarray = field(default_factory=lambda: np.zeros(2))
    eye_radius: float = 0.1
    flank: np.ndarray = field(default_factory=lambda: np.zeros(2))
    waterline: float | None = None  # everything below it is under water
    unit: float = 1.0  # pixels per bird unit; 1 until placed

    def moved(self, matrix: np.ndarray, offset: np.ndarray, unit: float) -> Bird:
        """The bird after `points @ matrix + offset`, where the matrix scales by `unit` (and may mirror x)."""

        def move(points: np.ndarray) -> np.ndarray:
            return points @ matrix + offset

        def each(polygons: list[np.ndarray]) -> list[np.ndarray]:
            return [move(polygon) for polygon in polygons]

        return Bird(
            body=each(self.body),
            belly=move(self.belly),
            crown=move(self.crown),
            tail=each(self.tail),
            far_wing=each(self.far_wing),
            wing=each(self.wing),
            beak=each(self.beak),
            legs=each(self.legs),
            flecks=move(self.flecks),
            parts={name: move(point) for name, point in self.parts.items()},
            eye=move(self.eye),
            eye_radius=self.eye_radius * unit,
            flank=move(self.flank),
            waterline=None if self.waterline is None else float(self.waterline * unit + offset[1]),
            unit=unit,
        )

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Minimum and maximum corner of the visible outlines."""
        points = np.concatenate([*self.body, *self.tail, *self.far_wing, *self.wing, *self.beak, *self.legs])
        least, greatest = points.min(axis=0), points.max(axis=0)
        if self.waterline is not None:
            greatest[1] = min(greatest[1], self.waterline)
        return least, greatest


@dataclass(frozen=True, slots=True)
class Scene:
    """A bird placed in an image of `width` x `height` pixels."""

    bird: Bird
    width: int
    height: int
    pose: str
    background: str
    facing: str
    box: tuple[float, float, float, float]

    def parts(self) -> np.ndarray:
        """(15, 3) float32 in CUB's order: x, y in pixels, and 1 where visible (otherwise all 0)."""
        table = np.zeros((len(CUB_PARTS), 3), dtype=np.float32)
        mirrored = self.facing == "left"
        for name, point in self.bird.parts.items():
            if mirrored:  # a bird that faces left shows its left side
                name = name.replace("right", "LEFT").replace("left", "right").replace("LEFT", "left")
            table[CUB_PARTS.index(name)] = (*point, 1.0)
        return table


def compose(attributes: Mapping[str, str], seed: int, index: int, image_size: int) -> Scene:
    """Lay out image `index` of the demo set: pose, size, position and background depend only on (seed, index).

    `image_size` is the approximate side of StackGAN's box crop of the image in pixels (it varies by a few percent).
    """
    rng = np.random.default_rng((seed, index, 1))
    pose = POSES[int(np.searchsorted(_POSE_SHARES, rng.random()))]
    background = BACKGROUNDS[pose][int(rng.integers(len(BACKGROUNDS[pose])))]
    facing = "left" if rng.random() < 0.5 else "right"
    bird = build(attributes, pose, rng)

    least, greatest = bird.bounds()
    slack = np.array([0.30, 0.06])  # the body extends sideways, and the wing begins above
    least = np.minimum(least, 2 * (bird.flank - slack) - greatest)  # pad the side on which the flank is too near the edge
    greatest = np.maximum(greatest, 2 * (bird.flank + slack) - least)
    crop = image_size * rng.uniform(0.94, 1.06)
    unit = crop / BOX_SCALE / float((greatest - least).max())
    margin = rng.uniform(0.02, 0.12, size=4) * crop
    width, height = (round(crop + margin[0] + margin[1]), round(crop + margin[2] + margin[3]))
    centre = np.array([margin[0], margin[2]]) + crop / 2
    mirror = -1.0 if facing == "left" else 1.0
    matrix = np.diag([mirror * unit, unit])
    offset = centre - (least + greatest) / 2 @ matrix
    placed = bird.moved(matrix, offset, unit)
    size = (greatest - least) * unit
    corner = centre - size / 2
    box = (float(corner[0]), float(corner[1]), float(size[0]), float(size[1]))
    return Scene(placed, width, height, pose, background, facing, box)


# ---------------------------------------------------------------------------------------------------------------- the bird

_PROPORTIONS = {  # torso half length, half height, head radius, neck length
    "small": (1.17, 1.14, 0.63, -0.06),
    "medium": (1.25, 1.11, 0.56, 0.02),
    "large": (1.33, 1.08, 0.49, 0.12),
}


def build(attributes: Mapping[str, str], pose: str, rng: np.random.Generator) -> Bird:
    """The outlines in bird units, facing right. `attributes` needs size, beak_shape and beak_length."""
    length, height, head_radius, neck = _PROPORTIONS[attributes["size"]]
    length, height, head_radius = np.array([length, height, head_radius]) * rng.uniform(0.96, 1.04, size=3)
    pitch = {"perched": rng.uniform(-36, -16), "flying": rng.uniform(-14, 4), "swimming": rng.uniform(-5, 2)}[pose]
    turn = rotation(pitch)
    bird = Bird()

    torso = _TORSO * np.array([length, height]) @ turn
    lift = {"perched": (0.0, -0.36), "flying": (0.14, -0.12), "swimming": (0.0, -0.50)}[pose]
    head = np.array([length * 0.86, -0.30]) @ turn + np.array(lift) + neck * np.array([0.5, -1.0])
    head += rng.uniform(-0.05, 0.05, size=2)
    chest = np.array([0.36 * length, -0.02]) @ turn
    bird.body = [torso, _neck(chest, height * 0.78, head, head_radius), ellipse(head, head_radius * 1.04, head_radius)]

    face = rotation(rng.uniform(-7, 9))  # the head turns on its own
    bird.eye = head + np.array([0.30, -0.14]) * head_radius @ face
    bird.eye_radius = 0.105 * (0.75 + 0.5 * head_radius)
    bird.crown = head + _CAP * head_radius @ face
    bird.beak = _beak(head, head_radius, face, attributes["beak_shape"], attributes["beak_length"])

    bird.belly = _UNDER * np.array([length, height]) @ turn
    bird.tail = _tail(length, turn, rng)
    bird.flank = np.array([0.20 * length, 0.14 * height]) @ turn
    bird.flecks = _FLECKS * np.array([length, height]) @ turn

    right_wing = _wings(bird, pose, length, height, turn, rng)
    bird.parts = {
        "back": np.array([-0.35 * length, -0.80 * height]) @ turn,
        "beak": (bird.beak[1].min(axis=0) + bird.beak[1].max(axis=0)) / 2,
        "belly": np.array([0.05, 0.83 * height]) @ turn,
        "breast": np.array([0.72 * length, 0.25 * height]) @ turn,
        "crown": head + np.array([0.0, -0.85]) * head_radius @ face,
        "forehead": head + np.array([0.72, -0.58]) * head_radius @ face,
        "right eye": bird.eye,
        "nape": head + np.array([-0.88, 0.05]) * head_radius @ face,
        "tail": np.mean([feather.mean(axis=0) for feather in bird.tail], axis=0),
        "throat": head + np.array([0.55, 0.80]) * head_radius @ face,
        "right wing": right_wing,
    }
    if bird.far_wing:
        bird.parts["left wing"] = np.mean([feather.mean(axis=0) for feather in bird.far_wing], axis=0)
    if pose == "perched":
        ground = float(torso[:, 1].max()) + rng.uniform(0.22, 0.32)
        for name, x in (("left leg", 0.30), ("right leg", 0.02)):
            hip = np.array([x, 0.80 * height]) @ turn
            foot = np.array([hip[0] + 0.10, ground])
            bird.legs.append(np.stack([hip, (hip + foot) / 2 + np.array([-0.07, 0.0]), foot]))
            bird.parts[name] = (hip + foot) / 2 + np.array([0.0, 0.1])
    elif pose == "swimming":
        bird.waterline = float(0.74 * height + rng.uniform(0.0, 0.08))
        bird.parts["belly"][1] = min(bird.parts["belly"][1], bird.waterline - 0.05)
    return bird


def _neck(chest: np.ndarray, chest_radius: float, head: np.ndarray, head_radius: float) -> np.ndarray:
    """A tapered tube from the chest to the head, a little slimmer in its middle."""
    along = np.linspace(0, 1, 12)
    axis = chest + (head - chest) * along[:, None]
    direction = (head - chest) / max(float(np.linalg.norm(head - chest)), 1e-6)
    normal = np.array([-direction[1], direction[0]])
    ease = along * along * (3 - 2 * along)
    radius = chest_radius + (head_radius - chest_radius) * ease - 0.05 * np.sin(np.pi * along) * head_radius
    return np.concatenate([axis + normal * radius[:, None], (axis - normal * radius[:, None])[::-1]])


def _beak(head: np.ndarray, radius: float, face: np.ndarray, shape: str, length: str) -> list[np.ndarray]:
    """Lower and upper mandible. Their bases extend under the head, which is drawn over them."""
    size = np.array([{"short": 0.98, "long": 1.24}[length], {"pointed": 0.62, "conical": 0.78, "hooked": 0.70, "curved": 0.62}[shape]])
    if shape == "conical":
        size[0] *= 0.88
    root = head + np.array([0.78, 0.10]) * radius
    lower, upper = (outline * size for outline in _BEAKS[shape])
    if shape == "curved":  # bend both about the base: the longer the beak, the lower the tip
        lower, upper = (outline + np.array([0.0, 0.38]) * np.maximum(outline[:, :1], 0) ** 2 / size[0] for outline in (lower, upper))
    return [head + (root - head + mandible) @ face for mandible in (lower, upper)]


def _tail(length: float, turn: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    reach, spread, droop = rng.uniform(0.36, 0.52), rng.uniform(4, 9), rng.uniform(-8, 8)
    root = np.array([-0.72 * length, -0.02])
    return [feather(root, 180 + droop + spread * k, reach + 0.28 * length, 0.22) @ turn for k in (-2, 2, -1, 1, 0)]


def _wings(bird: Bird, pose: str, length: float, height: float, turn: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Add the near wing (and in flight the far one) to `bird`; returns the center of the near wing."""
    if pose != "flying":
        shoulder = np.array([0.18 * length, -0.64 * height])
        lift = rng.uniform(-2, 6)
        long = [feather(shoulder + np.array([-0.32, 0.02 * k]), 178 - 5 * k + lift, 1.56 - 0.10 * abs(k), 0.32) for k in (3, 2, 1, 0, -1)]
        middle = [feather(shoulder + np.array([-0.10, 0.03 * k]), 174 - 9 * k + lift, 0.98, 0.32) for k in (2, 1, 0, -1)]
        cover = shoulder + _COVER
        bird.wing = [polygon @ turn for polygon in (*long, *middle, cover)]
        return (shoulder + np.array([-0.7, 0.0])) @ turn
    up, sweep = rng.uniform(0.84, 1.0), rng.uniform(-8, 24)
    root = np.array([0.22 * length, -0.50 * height])
    bird.wing = [polygon @ turn for polygon in _open_wing(root, -1.0, up, sweep)]
    if rng.random() < 0.55:  # seen from the side and a little above: the far wing hangs below the body
        bird.far_wing = [polygon @ turn for polygon in _open_wing(root * np.array([1.0, -0.6]), 1.0, up * 0.92, sweep)]
    else:
        bird.far_wing = [polygon @ turn for polygon in _open_wing(root + np.array([0.30, 0.05]), -1.0, up * 0.95, sweep - 34)]
    return np.mean([polygon.mean(axis=0) for polygon in bird.wing], axis=0)


def _open_wing(root: np.ndarray, side: float, size: float, sweep: float) -> list[np.ndarray]:
    """A spread wing: feathers along an arm that rises (side -1) or hangs (side +1) from the root, then the coverts of the arm."""
    elbow, wrist = np.array([0.10, 0.42]), np.array([0.16, 0.95])
    lean = rotation(-sweep)
    polygons = []
    joints: list[tuple[np.ndarray, float, float]] = [(np.array([-0.35, 0.0]), 168, 0.80)]
    joints += [(elbow * t + np.array([-0.25, 0.0]) * (1 - t), 162 - 18 * t, 0.98 + 0.12 * t) for t in (0.33, 0.66, 1.0)]
    joints += [(elbow + (wrist - elbow) * t, 144 - 42 * t, 1.12 + 0.10 * t) for t in (0.25, 0.5, 0.75, 1.0)]
    for at, angle, reach in joints:
        polygons.append(feather(at, angle, reach, 0.40))
    flip = np.array([1.0, side])
    return [root + (polygon @ lean.T) * flip * size for polygon in (*polygons, _ARM)]


# ------------------------------------------------------------------------------------------------------------------- shapes


def rotation(degrees: float) -> np.ndarray:
    """Matrix for row vectors, `points @ rotation(a)`: a turn by `a` degrees from x towards y (clockwise on the screen)."""
    angle = np.deg2rad(degrees)
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def ellipse(centre: np.ndarray, x_radius: float, y_radius: float) -> np.ndarray:
    """(40, 2) points around an axis-parallel ellipse."""
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    return centre + np.stack([x_radius * np.cos(angles), y_radius * np.sin(angles)], axis=1)


def feather(root: np.ndarray, angle: float, length: float, width: float) -> np.ndarray:
    """(19, 2) outline of a feather from `root` in the direction `angle` (degrees; 0 is right, 90 down), with a round tip."""
    return root + _FEATHER * np.array([length, width]) @ rotation(angle)


def smooth(points: np.ndarray, pieces: int = 6) -> np.ndarray:
    """Closed Catmull-Rom curve through (n, 2) points, `pieces` per span."""
    t = (np.arange(pieces) / pieces)[:, None, None]
    before, after, later = np.roll(points, 1, 0), np.roll(points, -1, 0), np.roll(points, -2, 0)
    span = (
        2 * points
        + (after - before) * t
        + (2 * before - 5 * points + 4 * after - later) * t**2
        + (3 * points - before - 3 * after + later) * t**3
    )
    return (span / 2).transpose(1, 0, 2).reshape(-1, 2)


def _feather_outline() -> np.ndarray:
    along = np.array([0.0, 0.15, 0.35, 0.55, 0.72, 0.85, 0.93, 0.98, 1.0])
    half = np.array([0.16, 0.28, 0.38, 0.46, 0.5, 0.44, 0.32, 0.18, 0.0])
    return np.concatenate([np.stack([along, -half], 1), np.stack([along, half], 1)[-2::-1]])


def _torso_outline() -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    across = np.cos(angles)
    taper = np.where(across < 0, 1 - 0.38 * across**2, 1.0)  # slimmer towards the tail
    return np.stack([across, np.sin(angles) * taper], axis=1)


def _fleck_grid() -> np.ndarray:
    """(n, 3, 2): small chevrons in staggered rows, the edges of body feathers, within the unit disc."""
    columns, rows = np.meshgrid(np.arange(-5, 6), np.arange(-5, 6))
    centres = np.stack([(columns + 0.5 * (rows % 2)) * 0.165, rows * 0.165], axis=-1).reshape(-1, 2)
    centres = centres[(centres**2).sum(axis=1) < 0.80] * np.array([1.0, 0.9])
    centres[:, 1] *= np.where(centres[:, 0] < 0, 1 - 0.38 * centres[:, 0] ** 2, 1.0)
    return centres[:, None, :] + np.array([[0.04, -0.065], [-0.04, 0.0], [0.04, 0.065]])


def _beak_outlines() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Lower and upper mandible of each shape, 1 long; the base of the upper one is 1 high."""
    along = np.linspace(0, 1, 14)

    def mandible(edge: np.ndarray, base: float) -> np.ndarray:
        outer, mouth = np.stack([along, edge], 1), np.stack([along, np.zeros_like(along)], 1)[::-1]
        return np.concatenate([outer, mouth, np.array([[-0.25, 0.0], [-0.25, base]])])

    straight = mandible(-((1 - along) ** 0.9), -1.0), mandible(0.65 * np.clip(1 - along / 0.96, 0, None), 0.65)
    cone = mandible(-np.sqrt(1 - along**1.7), -1.0), mandible(0.72 * np.clip(1 - along / 0.92, 0, None), 0.72)
    hook = smooth(
        np.array(
            [[-0.25, -0.9], [0.0, -1.0], [0.45, -0.98], [0.8, -0.66], [1.0, 0.06], [0.97, 0.86], [0.86, 0.40], [0.7, 0.06], [-0.25, 0]]
        )
    )
    jaw = smooth(np.array([[-0.25, 0.0], [0.4, 0.0], [0.78, 0.06], [0.62, 0.48], [0.1, 0.68], [-0.25, 0.66]]))
    uppers_first = {"pointed": straight, "curved": straight, "conical": cone, "hooked": (hook, jaw)}
    return {shape: (lower, upper) for shape, (upper, lower) in uppers_first.items()}


_TORSO = _torso_outline()
_FLECKS = _fleck_grid()
_BEAKS = _beak_outlines()
_CAP = smooth(np.array([[0.98, -0.42], [0.5, -0.36], [0.0, -0.34], [-0.5, -0.12], [-0.85, 0.42], [-1.5, 0.35], [-1.3, -1.4], [1.0, -1.4]]))
_UNDER = smooth(np.array([[0.90, 0.44], [0.50, 0.68], [0.0, 0.73], [-0.5, 0.64], [-0.95, 0.36], [-1.1, 1.2], [0.0, 1.4], [0.9, 1.2]]))
_COVER = smooth(np.array([[0.24, 0.04], [0.05, -0.22], [-0.4, -0.28], [-0.75, -0.08], [-0.45, 0.22], [0.0, 0.26]]))
_ARM = smooth(np.array([[0.16, -0.05], [0.34, 0.5], [0.34, 0.98], [0.18, 1.22], [-0.12, 1.05], [-0.32, 0.6], [-0.62, 0.05], [-0.3, -0.25]]))
_FEATHER = _feather_outline()
