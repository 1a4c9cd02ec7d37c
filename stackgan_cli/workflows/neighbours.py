"""`neighbours`: the training images nearest to generated ones, to see whether the model memorized any.

The features of the training images are computed once and kept in the run's folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from stackgan_cli import registry
from stackgan_cli.data.pixels import from_uint8
from stackgan_cli.encoders.extractor_weights import file_sha256
from stackgan_cli.errors import MismatchError, UsageError
from stackgan_cli.files import replacing, write_json
from stackgan_cli.metrics.image_sets import CacheSet, FolderSet, ImageSet
from stackgan_cli.models.interface import ImageDiscriminator, ImageExtractor
from stackgan_cli.sampling import Sampler
from stackgan_cli.viz.grids import save_png
from stackgan_cli.viz.maps import reduced
from stackgan_cli.viz.nearest import Nearest, neighbour_sheet
from stackgan_cli.workflows.conditions import conditions, identity_of, label_name, side_of
from stackgan_cli.workflows.generators import folder_of, open_generator
from stackgan_cli.workflows.instruments import Extract, extract_function
from stackgan_cli.workflows.reporter import SILENT, Reporter
from stackgan_cli.workspace import Name, Workspace

SHEET_ROWS = 24
"""Maximum number of queries on the sheet; the JSON file has all of them."""
BATCH = 64
LEAST = 8
"""Minimum number of images to generate when their number is not given."""
PIXELS_SIDE = 64
"""Images are compared pixel by pixel at this resolution at most."""


def discriminator_function(sampler: Sampler, side: int) -> tuple[Extract, dict[str, Any]]:
    """The flattened last feature map, before the text is joined, of the discriminator of `side` px (StackGAN++ section 6.4, Fig. 12).

    Raises MismatchError when the weights have no such discriminator.
    """

    judged = sampler.model.judged_sides
    name = next((name for name in reversed(judged) if judged[name] == side), "")
    state = sampler.weights.tensors(name) if name else {}
    if not state:
        raise MismatchError(
            f"these weights have no discriminator for {side} px", where=sampler.weights.path, hint="use --by features or --by pixels"
        )
    network = registry.load_network(sampler.weights, name).to(sampler.device)
    assert isinstance(network, ImageDiscriminator)

    def extract(images: np.ndarray) -> np.ndarray:
        found: np.ndarray = network.features(from_uint8(images, sampler.device)).flatten(1).cpu().numpy()
        return found

    return extract, {"network": name, "weights_sha256": file_sha256(sampler.weights.path), "side": side}


def has_encoder(sampler: Sampler) -> bool:
    """Whether the weights contain the image encoder that their generators invert."""
    return bool(sampler.weights.tensors("encoder"))


def encoder_function(sampler: Sampler) -> tuple[Extract, dict[str, Any]]:
    """Features of the encoder in the weights, which the top generator of the stack produces. Raises MismatchError if there is none."""

    if not has_encoder(sampler):
        raise MismatchError("these weights have no image encoder", where=sampler.weights.path, hint="use --by features or --by pixels")
    network = registry.load_network(sampler.weights, "encoder").to(sampler.device)
    assert isinstance(network, ImageExtractor)

    def extract(images: np.ndarray) -> np.ndarray:
        found: np.ndarray = network.features(from_uint8(images, sampler.device)).cpu().numpy()
        return found

    return extract, {"network": "encoder", "weights_sha256": file_sha256(sampler.weights.path)}


def pixel_function() -> tuple[Extract, dict[str, Any]]:
    """The pixels themselves, at up to 64 px."""

    def extract(images: np.ndarray) -> np.ndarray:
        return reduced(images, PIXELS_SIDE).reshape(len(images), -1).astype(np.float32)

    return extract, {"network": "pixels", "side": PIXELS_SIDE}


def search(
    images: ImageSet, extract: Extract, seen_by: dict[str, Any], folder: Path | None, reporter: Reporter
) -> Callable[[np.ndarray, int], Nearest]:
    """A function that finds the images nearest to queries.

    Features are kept in `folder`, under a name that depends on what saw which images, and used again; earlier ones of the same kind are
    removed. Without a folder nothing is kept.
    """
    key = hashlib.sha256(json.dumps([seen_by, images.identity], sort_keys=True, default=str).encode()).hexdigest()[:16]
    kind = "features" if "weights_sha256" not in seen_by else "encoder" if seen_by["network"] == "encoder" else "discriminator"
    path = None if folder is None else folder / f"training-{kind}-{key}.npy"

    def nearest_to(queries: np.ndarray, count: int) -> Nearest:
        nearest = Nearest(queries, count)
        if path is not None and path.is_file():
            kept = np.load(path, mmap_mode="r", allow_pickle=False)
            for start in range(0, len(kept), BATCH):
                nearest.add(kept[start : start + BATCH])
            return nearest
        with reporter.progress("looking at training images", unit="images") as bar:

            def look(store: np.ndarray | None) -> None:
                for start in range(0, len(images), BATCH):
                    numbers = np.arange(start, min(start + BATCH, len(images)))
                    features = extract(np.asarray(images.read(numbers)))
                    nearest.add(features)
                    if store is not None:
                        store[numbers] = features
                    bar.update(start + len(numbers), len(images))

            if path is None:
                look(None)
                return nearest
            with replacing(path) as temporary:
                store = np.lib.format.open_memmap(temporary, "w+", np.float32, (len(images), queries.shape[1]))
                look(store)
                store.flush()
        for old in path.parent.glob(f"training-{kind}-*.npy"):
            if old != path:
                old.unlink()
        return nearest

    return nearest_to


def squares(pictures: Sequence[np.ndarray], side: int) -> np.ndarray:
    """uint8 (N, side, side, 3) from images of any size: the center square, area-averaged or enlarged (bicubic)."""
    fitted = []
    for picture in pictures:
        least = min(picture.shape[:2])
        method = Image.Resampling.BOX if least > side else Image.Resampling.BICUBIC
        fitted.append(np.asarray(ImageOps.fit(Image.fromarray(picture), (side, side), method)))
    return np.stack(fitted)


def find_queries(
    sampler: Sampler,
    workspace: Workspace,
    reporter: Reporter,
    training: CacheSet,
    captions: list[str],
    labels: list[str],
    folder: Path | None,
    real: int,
    count: int | None,
    seed: int,
    side: int,
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """The query images uint8 (Q, side, side, 3), and a description of each."""
    if folder is not None:
        files = FolderSet(folder)
        for note in files.notes:
            reporter.warn(f"{folder}: {note}")
        pictures = squares([files.read(np.array([index]))[0] for index in range(len(files))], side)
        return pictures, [{"file": str(path)} for path in files.files]
    if real:
        numbers = np.unique(np.linspace(0, len(training) - 1, real).astype(np.int64))
        rows = training.rows[numbers]
        return training.read(numbers), [{"name": training.cache.names[row], "row": int(row)} for row in rows]
    texts, classes = conditions(sampler, workspace, reporter, captions, labels)
    count = count or max(LEAST, len(texts or classes or []))
    seeds = list(range(seed, seed + count))
    in_turn = [None if texts is None else texts[number % len(texts)] for number in range(count)]
    labels_in_turn = None if classes is None else [classes[number % len(classes)] for number in range(count)]
    drawn = sampler.sample(None if texts is None else [text or "" for text in in_turn], seeds, labels=labels_in_turn)[side]
    what: list[dict[str, Any]] = [{"caption": text, "seed": number} for text, number in zip(in_turn, seeds, strict=True)]
    for one, label in zip(what, labels_in_turn or [], strict=False):
        one |= {"label": label, "class": label_name(label, sampler.weights.classes)}
    return drawn, what


def neighbours(
    captions: Sequence[str] = (),
    *,
    model: Name = "",
    labels: Sequence[str] = (),
    images: Path | None = None,
    real: int = 0,
    count: int | None = None,
    nearest: int = 5,
    by: str = "",
    extractor: str = "",
    weights_folder: Path | None = None,
    trust: bool = False,
    cache: str = "",
    seed: int = 0,
    scale: str = "",
    output: Path | None = None,
    text_encoder: Path | None = None,
    workspace: Workspace | None = None,
    device: str = "auto",
    reporter: Reporter = SILENT,
) -> dict[str, Any]:
    """Write a sheet of generated images next to their `nearest` training images; returns facts, the folder and the sheet.

    `images`, a folder, or `real`, a number of training images, take the place of generated ones. `by` is `discriminator` (its last map
    before the text), `encoder` (SGAN's), `features` (of an `extractor`) or `pixels`; by default the encoder where there is one.
    """
    workspace = workspace or Workspace.locate()
    if (images is not None) + bool(real) + bool(captions or labels) > 1:
        raise UsageError("give only one of captions or labels, --images and --real")
    source, sampler = open_generator(model, workspace, reporter, device=device, text_encoder=text_encoder)
    data = workspace.open_cache(cache or sampler.weights.config.data.cache)
    side = side_of(sampler, scale)
    training = CacheSet(data, "train", side, whole=sampler.weights.config.data.whole)
    by = by or ("encoder" if has_encoder(sampler) else "discriminator")
    if by == "encoder":
        extract, seen_by = encoder_function(sampler)
    elif by == "discriminator":
        extract, seen_by = discriminator_function(sampler, side)
    elif by == "pixels":
        extract, seen_by = pixel_function()
    else:
        extract, seen_by = extract_function(
            extractor, data, sampler.device, workspace, reporter, weights_folder=weights_folder, trust=trust
        )

    shown_images, queries = find_queries(
        sampler, workspace, reporter, training, list(captions), list(labels), images, real, count, seed, side
    )
    home = folder_of(source, workspace, "neighbours")
    found = search(training, extract, seen_by, None if by == "pixels" else home, reporter)(extract(shown_images), nearest)
    for query, indices, distances in zip(queries, found.indices.tolist(), found.distances.tolist(), strict=True):
        query["neighbours"] = [
            {"name": data.names[training.rows[index]], "row": int(training.rows[index]), "distance": distance}
            for index, distance in zip(indices, distances, strict=True)
        ]
    facts = {**identity_of(sampler), "by": by, "seen_by": seen_by, "cache": str(data.path), "training_images": len(training)}
    facts |= {"side": side, "queries": queries}
    if real:
        facts["own_nearest"] = sum(query["row"] == query["neighbours"][0]["row"] for query in queries)
    folder, name = output or home, "real" if real else "neighbours" if images is None else "images"
    shown = found.indices[:SHEET_ROWS]
    drawn = training.read(shown.ravel()).reshape(*shown.shape, side, side, 3)
    save_png(folder / f"{name}.png", neighbour_sheet(shown_images[:SHEET_ROWS], drawn))
    write_json(folder / f"{name}.json", facts)
    return {**facts, "folder": str(folder), "sheet": str(folder / f"{name}.png")}
