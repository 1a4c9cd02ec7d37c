"""`tsne`: a map of many images, with similar ones next to each other and repeats marked."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stackgan_cli.data.cache import Cache
from stackgan_cli.errors import UsageError, UserError
from stackgan_cli.files import replacing, write_json, write_text
from stackgan_cli.metrics.image_sets import CacheSet, ImageSet
from stackgan_cli.runtime import key_seed
from stackgan_cli.viz import maps
from stackgan_cli.viz.grids import save_png
from stackgan_cli.viz.map_page import MapPanel, map_page
from stackgan_cli.viz.maps import REPEAT_RMS, Repeats, draw_map
from stackgan_cli.workflows.conditions import identity_of, label_name, side_of
from stackgan_cli.workflows.generators import folder_of, generated_set, open_generator
from stackgan_cli.workflows.instruments import Extract, extract_function
from stackgan_cli.workflows.reporter import SILENT, Reporter
from stackgan_cli.workspace import Name, Workspace

TILE = 64
"""Maximum side of an image on the map, in pixels."""
LEAST = 9
"""Minimum number of images for a map."""
BATCH = 64


@dataclass(frozen=True)
class Settings:
    """How a map is made; `grid` 0 chooses a size from the number of images."""

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
    def of(cls, reporter: Reporter, what: str, images: ImageSet, texts: Sequence[str], extract: Extract, settings: Settings) -> ImageMap:
        """Compute features of all images in batches and place them. Raises UsageError if there are too few for a map or the grid."""
        count = len(images)
        if count < LEAST:
            raise UsageError(f"a map needs at least {LEAST} images, and there are {count} {what} ones", where="--count")
        grid = settings.grid or maps.default_grid(count)
        if settings.snap == "assign" and grid * grid > count:
            raise UsageError(
                f"{count} {what} images do not fill a grid of {grid} x {grid}",
                where="--grid",
                hint=f"--grid {int(count**0.5)} or less, a larger --count, or --snap nearest",
            )
        tiles, pixels, features = [], [], []
        with reporter.progress(f"computing features of {what} images", unit="images") as bar:
            for start in range(0, count, BATCH):
                batch = np.asarray(images.read(np.arange(start, min(start + BATCH, count))))
                tiles.append(maps.reduced(batch, TILE))
                pixels.append(maps.pixel_features(batch).astype(np.uint8))
                features.append(extract(batch))
                bar.update(start + len(batch), count)
        reporter.say(f"placing {count:,} {what} images")
        repeats = maps.find_repeats(np.concatenate(pixels).astype(np.float32))
        positions, divergence = maps.embed(
            np.concatenate(features), components=settings.components, perplexity=settings.perplexity, seed=settings.seed
        )
        cells = (maps.snap_assign if settings.snap == "assign" else maps.snap_nearest)(positions, grid)
        return cls(np.concatenate(tiles), texts, positions, divergence, cells, repeats)

    @property
    def image(self) -> np.ndarray:
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

    def panel(self, title: str) -> MapPanel:
        """The map for the page."""
        texts = [[self._text(index) if index >= 0 else None for index in row] for row in self.cells.tolist()]
        return MapPanel(title, repeats_line(self.facts), self.image, texts)

    def _text(self, index: int) -> str:
        group = int(self.repeats.groups[index])
        return self.texts[index] + (f" (one of {self.repeats.sizes[group]:,} repeats)" if group >= 0 else "")


def repeats_line(facts: dict[str, Any]) -> str:
    """The repeats on a map, in words; `facts` are those of `ImageMap.facts`."""
    images, repeats = facts["images"], facts["repeats"]
    if not repeats["groups"]:
        return f"none of the {images:,} images repeats another"
    groups = "one group" if repeats["groups"] == 1 else f"{repeats['groups']} groups"
    return f"{repeats['images']:,} of {images:,} images repeat others, in {groups}; the largest has {repeats['sizes'][0]:,}"


def write_coordinates(path: Path, maps: dict[str, ImageMap], seeds: Sequence[int]) -> None:
    """A line per image: set, index, position, grid cell (empty if not shown), group of repeats, seed and text."""
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
    """`count` evenly spaced images of a split (all if there are fewer), and their first captions or their names."""
    from stackgan_cli.metrics.image_sets import CacheSet

    rows = cache.rows(split)
    if len(rows) > count:
        rows = rows[np.linspace(0, len(rows) - 1, count).astype(np.int64)]
    images = CacheSet(cache, split, side, rows, whole=whole)
    return images, list(images.captions or (cache.names[row] for row in rows))


def tsne(
    *,
    model: Name = "",
    count: int = 3000,
    cache: str = "",
    split: str = "test",
    extractor: str = "",
    weights_folder: Path | None = None,
    trust: bool = False,
    pca: int = 50,
    perplexity: float = 30.0,
    grid: int = 0,
    snap: str = "assign",
    seed: int = 0,
    scale: str = "",
    output: Path | None = None,
    text_encoder: Path | None = None,
    workspace: Workspace | None = None,
    device: str = "auto",
    reporter: Reporter = SILENT,
) -> dict[str, Any]:
    """Embed `count` generated and as many real images with t-SNE, on a map each; returns facts and the folder of the files.

    `snap` is `assign` (every grid cell gets a different image) or `nearest` (the papers').
    """
    workspace = workspace or Workspace.locate()
    source, sampler = open_generator(model, workspace, reporter, device=device, text_encoder=text_encoder)
    data = _cache(workspace, reporter, cache, sampler.weights.config.data.cache)
    side = side_of(sampler, scale)
    extract, seen_by = extract_function(extractor, data, sampler.device, workspace, reporter, weights_folder=weights_folder, trust=trust)
    settings = Settings(pca, perplexity, grid, snap, seed)

    fake = generated_set(sampler, data, split=split, count=count, side=side, seed=seed)
    seeds = [key_seed("evaluate", seed, index) for index in range(len(fake))]
    named = [f"seed {number}" for number in seeds] if fake.class_ids is None else [label_name(i, fake.label_names) for i in fake.class_ids]
    texts = fake.captions or named
    made = {"generated": ImageMap.of(reporter, "generated", fake, texts, extract, settings)}
    if data is not None:
        real, names = real_images(data, split, count, side, whole=sampler.weights.config.data.whole)
        made["real"] = ImageMap.of(reporter, "real", real, names, extract, settings)

    folder = output or folder_of(source, workspace, "tsne")
    files = {"generated": "map.png", "real": "real.png"}
    for name, one in made.items():
        save_png(folder / files[name], one.image)
    write_coordinates(folder / "coordinates.csv", made, seeds)
    facts = {
        **identity_of(sampler),
        "side": side,
        "seed": seed,
        "split": split,
        "captions": fake.description.get("captions"),
        "features": seen_by,
        "components": pca,
        "perplexity": perplexity,
        "snap": snap,
        "repeats_below": {"rms": REPEAT_RMS, "side": 16},
        **{name: one.facts for name, one in made.items()},
    }
    write_json(folder / "tsne.json", facts)
    shown = [(key, str(value)) for key, value in facts.items() if key not in made and value is not None]
    write_text(folder / "map.html", map_page(f"t-SNE of {source.path}", shown, [one.panel(f"{name} images") for name, one in made.items()]))
    return {**facts, "folder": str(folder)}


def _cache(workspace: Workspace, reporter: Reporter, name: str, default: str) -> Cache | None:
    """The named cache, else the run's own if it exists."""
    if name:
        return workspace.open_cache(name)
    try:
        return workspace.open_cache(default)
    except UserError as error:
        reporter.warn(f"no map of real images: {error}")
        return None
