"""What `stackgan tsne` does: looks at a set of images, places it on a map, counts what repeats, and writes it down."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackgan_cli.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from stackgan_cli.cli.extract import Extract
    from stackgan_cli.cli.ui import Session
    from stackgan_cli.data.cache import Cache
    from stackgan_cli.metrics.image_sets import CacheSet, ImageSet
    from stackgan_cli.viz.map_page import MapPanel
    from stackgan_cli.viz.maps import Repeats

TILE = 64
"""Largest side of an image on the map."""
LEAST = 9
"""Images that make a map."""
BATCH = 64


@dataclass(frozen=True)
class Settings:
    """How images become a map, as the options say; `grid` 0 chooses by their number."""

    components: int
    perplexity: float
    grid: int
    snap: str
    seed: int


@dataclass(frozen=True)
class ImageMap:
    """A set of N images on a map: `tiles` (N, S, S, 3) uint8, `positions` (N, 2) in the unit square, `cells` (grid, grid) row numbers."""

    tiles: np.ndarray
    texts: Sequence[str]
    positions: np.ndarray
    divergence: float
    cells: np.ndarray
    repeats: Repeats

    @classmethod
    def of(cls, session: Session, what: str, images: ImageSet, texts: Sequence[str], extract: Extract, settings: Settings) -> ImageMap:
        """Look at all images, a batch at a time, and place them. Raises UsageError when they are too few for a map or the grid."""
        import numpy as np

        from stackgan_cli.viz import maps

        count = len(images)
        if count < LEAST:
            raise UsageError(f"{count} {what} images make no map; {LEAST} do", where="--count")
        grid = settings.grid or maps.default_grid(count)
        if settings.snap == "assign" and grid * grid > count:
            raise UsageError(
                f"{count} {what} images do not fill {grid} x {grid} places",
                where="--grid",
                hint=f"--grid {int(count**0.5)} or less, a larger --count, or --snap nearest",
            )
        tiles, pixels, features = [], [], []
        with session.progress(f"looking at {what} images", unit="images") as bar:
            for start in range(0, count, BATCH):
                batch = np.asarray(images.read(np.arange(start, min(start + BATCH, count))))
                tiles.append(maps.reduced(batch, TILE))
                pixels.append(maps.pixel_features(batch).astype(np.uint8))
                features.append(extract(batch))
                bar.update(start + len(batch), count)
        session.say(f"placing {count:,} {what} images")
        repeats = maps.find_repeats(np.concatenate(pixels).astype(np.float32))
        positions, divergence = maps.embed(
            np.concatenate(features), components=settings.components, perplexity=settings.perplexity, seed=settings.seed
        )
        cells = (maps.snap_assign if settings.snap == "assign" else maps.snap_nearest)(positions, grid)
        return cls(np.concatenate(tiles), texts, positions, divergence, cells, repeats)

    @property
    def picture(self) -> np.ndarray:
        from stackgan_cli.viz.maps import draw_map

        return draw_map(self.tiles, self.cells, self.repeats.groups)

    @property
    def facts(self) -> dict[str, Any]:
        repeats = self.repeats
        return {
            "images": len(self.tiles),
            "grid": len(self.cells),
            "shown": int((self.cells >= 0).sum()),
            "divergence": round(self.divergence, 4),
            "repeats": {"groups": repeats.num_groups, "images": repeats.num_images, "sizes": repeats.sizes[:20]},
        }

    @property
    def repeats_line(self) -> str:
        """What repeats, in words."""
        repeats = self.repeats
        if not repeats.num_groups:
            return f"none of {len(self.tiles):,} images repeats another"
        groups = "one group" if repeats.num_groups == 1 else f"{repeats.num_groups} groups"
        return f"{repeats.num_images:,} of {len(self.tiles):,} images repeat others, in {groups}; the largest has {repeats.sizes[0]:,}"

    def panel(self, title: str) -> MapPanel:
        """The map for the page."""
        from stackgan_cli.viz.map_page import MapPanel

        texts = [[self._text(index) if index >= 0 else None for index in row] for row in self.cells.tolist()]
        return MapPanel(title, self.repeats_line, self.picture, texts)

    def _text(self, index: int) -> str:
        group = int(self.repeats.groups[index])
        return self.texts[index] + (f" (one of {self.repeats.sizes[group]:,} repeats)" if group >= 0 else "")


def write_coordinates(path: Path, maps: dict[str, ImageMap], seeds: Sequence[int]) -> None:
    """A line an image: set, number, position, place on the grid (empty when not shown), group of repeats, seed, and text."""
    from stackgan_cli.files import replacing

    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(("set", "index", "x", "y", "row", "column", "repeats", "seed", "text"))
        for name, one in maps.items():
            places = {index: divmod(place, len(one.cells)) for place, index in enumerate(one.cells.ravel().tolist()) if index >= 0}
            for index, ((x, y), text) in enumerate(zip(one.positions.tolist(), one.texts, strict=True)):
                row, column = places.get(index, ("", ""))
                group = int(one.repeats.groups[index])
                seed = seeds[index] if name == "generated" else ""
                table.writerow((name, index, f"{x:.6f}", f"{y:.6f}", row, column, group if group >= 0 else "", seed, text))


def real_images(cache: Cache, split: str, count: int, side: int, *, whole: bool = False) -> tuple[CacheSet, list[str]]:
    """`count` images of a split, evenly spaced, or all where there are fewer; and their first captions, or names."""
    import numpy as np

    from stackgan_cli.metrics.image_sets import CacheSet

    rows = cache.rows(split)
    if len(rows) > count:
        rows = rows[np.linspace(0, len(rows) - 1, count).astype(np.int64)]
    images = CacheSet(cache, split, side, rows, whole=whole)
    return images, list(images.captions or (cache.names[row] for row in rows))
