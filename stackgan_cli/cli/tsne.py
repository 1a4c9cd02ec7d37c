"""`stackgan tsne`: many images on a map, like beside like, and what repeats."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from stackgan_cli.cli.common import Device, Output, RunName, Scale, TextEncoderFile, WeightsFile, examples, folder_of, session_of, source_of
from stackgan_cli.errors import UserError

if TYPE_CHECKING:
    from stackgan_cli.cli.ui import Session
    from stackgan_cli.data.cache import Cache

EPILOG = examples(
    "stackgan tsne",
    "stackgan tsne --count 30000 --grid 50 --snap nearest",
    "stackgan tsne --run demo-stage1-demo --count 500 --extractor pixels",
)


class Snap(StrEnum):
    assign = "assign"
    nearest = "nearest"


def tsne(
    ctx: typer.Context,
    run: RunName = "",
    weights: WeightsFile = None,
    count: Annotated[int, typer.Option(min=1, help="Generated images, and real ones where there are as many. The papers: 30000.")] = 3000,
    cache: Annotated[str, typer.Option(help="Whose captions and real images. Default: the run's.", show_default=False)] = "",
    split: Annotated[str, typer.Option(help="Which of them: train, test or all.")] = "test",
    extractor: Annotated[str, typer.Option(help="As for evaluate, or pixels. Default: as for evaluate.", show_default=False)] = "",
    weights_folder: Annotated[Path | None, typer.Option(help="Where extractors' weights are.", show_default=False)] = None,
    pca: Annotated[int, typer.Option(min=0, help="Components before t-SNE; 0: none, as in the papers.")] = 50,
    perplexity: Annotated[float, typer.Option(min=1, help="Of t-SNE.")] = 30.0,
    grid: Annotated[int, typer.Option(min=0, max=200, help="Places a side. 0: up to 50, by the number of images.")] = 0,
    snap: Annotated[Snap, typer.Option(help="assign: every place an image of its own; nearest: the papers'.")] = Snap.assign,
    seed: Annotated[int, typer.Option(min=0, help="Seed of captions, noise and map.")] = 0,
    scale: Scale = "",
    output: Output = None,
    text_encoder: TextEncoderFile = None,
    device: Device = "auto",
) -> None:
    """Embed generated and, beside them, real images by t-SNE; mark images that repeat. A page shows each with its caption."""
    from stackgan_cli.cli.extract import extract_function
    from stackgan_cli.cli.labels import label_name
    from stackgan_cli.cli.mapping import ImageMap, Settings, real_images, write_coordinates
    from stackgan_cli.cli.pictures import identity_of, side_of
    from stackgan_cli.cli.subjects import drawn
    from stackgan_cli.files import write_json, write_text
    from stackgan_cli.runtime import key_seed, pick_device
    from stackgan_cli.sampling import Sampler
    from stackgan_cli.viz.grids import save_png
    from stackgan_cli.viz.map_page import map_page
    from stackgan_cli.viz.maps import REPEAT_RMS

    session = session_of(ctx)
    source = source_of(session, run, weights)
    sampler = Sampler.load(source, pick_device(device), text_encoder=text_encoder)
    data = _cache(session, cache, sampler.weights.config.data.cache)
    side = side_of(sampler, scale)
    extract, seen_by = extract_function(session, extractor, data, sampler.device, weights_folder=weights_folder)
    settings = Settings(pca, perplexity, grid, snap.value, seed)

    fake = drawn(session, sampler, data, split=split, count=count, side=side, seed=seed, device=sampler.device)
    seeds = [key_seed("evaluate", seed, index) for index in range(len(fake))]
    named = [f"seed {number}" for number in seeds] if fake.class_ids is None else [label_name(i, fake.label_names) for i in fake.class_ids]
    texts = fake.captions or named
    maps = {"generated": ImageMap.of(session, "generated", fake, texts, extract, settings)}
    if data is not None:
        real, names = real_images(data, split, count, side, whole=sampler.weights.config.data.whole)
        maps["real"] = ImageMap.of(session, "real", real, names, extract, settings)

    folder = output or folder_of(session, source, "tsne")
    files = {"generated": "map.png", "real": "real.png"}
    for name, one in maps.items():
        save_png(folder / files[name], one.picture)
    write_coordinates(folder / "coordinates.csv", maps, seeds)
    facts = {
        **identity_of(sampler),
        "side": side,
        "seed": seed,
        "split": split,
        "captions": fake.description.get("captions"),
        "features": seen_by,
        "components": pca,
        "perplexity": perplexity,
        "snap": snap.value,
        "repeats_below": {"rms": REPEAT_RMS, "side": 16},
        **{name: one.facts for name, one in maps.items()},
    }
    write_json(folder / "tsne.json", facts)
    shown = [(key, str(value)) for key, value in facts.items() if key not in maps and value is not None]
    write_text(folder / "map.html", map_page(f"t-SNE of {source}", shown, [one.panel(f"{name} images") for name, one in maps.items()]))
    lines = [f"{name}: {one.repeats_line}" for name, one in maps.items()]
    session.result({**facts, "folder": str(folder)}, "\n".join([*lines, str(folder / "map.html")]))


def _cache(session: Session, name: str, default: str) -> Cache | None:
    """The dataset that is named; the run's own where it is there."""
    from stackgan_cli.data.cache import Cache

    if name:
        return Cache.open(session.workspace.cache_path(name))
    try:
        return Cache.open(session.workspace.cache_path(default))
    except UserError as error:
        session.warn(f"no map of real images: {error}")
        return None
