"""What `stackgan neighbours` does: looks at the training images once, keeps what it saw beside the run, and finds the nearest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackgan_cli.errors import MismatchError

if TYPE_CHECKING:
    import numpy as np

    from stackgan_cli.cli.extract import Extract
    from stackgan_cli.cli.ui import Session
    from stackgan_cli.metrics.image_sets import CacheSet, ImageSet
    from stackgan_cli.sampling import Sampler
    from stackgan_cli.viz.nearest import Nearest

BATCH = 64
LEAST = 8
"""Images that are drawn, where their number is not given and there are fewer captions or labels."""
PIXELS_SIDE = 64
"""Pixels are compared at this side at most."""


def discriminator_function(sampler: Sampler, side: int) -> tuple[Extract, dict[str, Any]]:
    """The last map of the discriminator of `side` px before text is joined to it, flattened (StackGAN++ section 6.4, Fig. 12).

    Raises MismatchError when the weights have no such discriminator.
    """
    from stackgan_cli import registry
    from stackgan_cli.data.pixels import from_uint8
    from stackgan_cli.encoders.extractor_weights import file_sha256
    from stackgan_cli.models.interface import PairDiscriminator

    model = sampler.weights.config.model
    judges: dict[str, int] = getattr(model, "judges", {})
    judged = {f"discriminator{name}": model.sides[index] for name, index in judges.items()}  # type: ignore[attr-defined]
    judged = judged or {"discriminator": sampler.sides[-1]}
    name = next((name for name in reversed(judged) if judged[name] == side), "")
    state = sampler.weights.tensors(name) if name else {}
    if not state:
        raise MismatchError(
            f"these weights have no discriminator of {side} px", where=sampler.weights.path, hint="use --by features or --by pixels"
        )
    network = registry.load_network(sampler.weights, name).to(sampler.device)
    assert isinstance(network, PairDiscriminator)

    def extract(images: np.ndarray) -> np.ndarray:
        found: np.ndarray = network.features(from_uint8(images, sampler.device)).flatten(1).cpu().numpy()
        return found

    return extract, {"network": name, "weights_sha256": file_sha256(sampler.weights.path), "side": side}


def has_encoder(sampler: Sampler) -> bool:
    """Whether the weights carry the encoder of images that their generators invert."""
    return bool(sampler.weights.tensors("encoder"))


def encoder_function(sampler: Sampler) -> tuple[Extract, dict[str, Any]]:
    """Features of the encoder inside the weights, which the highest generator of the stack makes. Raises MismatchError without one."""
    from stackgan_cli import registry
    from stackgan_cli.data.pixels import from_uint8
    from stackgan_cli.encoders.extractor_weights import file_sha256
    from stackgan_cli.models.interface import ImageExtractor

    if not has_encoder(sampler):
        raise MismatchError("these weights have no encoder of images", where=sampler.weights.path, hint="use --by features or --by pixels")
    network = registry.load_network(sampler.weights, "encoder").to(sampler.device)
    assert isinstance(network, ImageExtractor)

    def extract(images: np.ndarray) -> np.ndarray:
        found: np.ndarray = network.features(from_uint8(images, sampler.device)).cpu().numpy()
        return found

    return extract, {"network": "encoder", "weights_sha256": file_sha256(sampler.weights.path)}


def pixel_function() -> tuple[Extract, dict[str, Any]]:
    """The pixels themselves, at 64 px at most."""
    import numpy as np

    from stackgan_cli.viz.maps import reduced

    def extract(images: np.ndarray) -> np.ndarray:
        return reduced(images, PIXELS_SIDE).reshape(len(images), -1).astype(np.float32)

    return extract, {"network": "pixels", "side": PIXELS_SIDE}


def search(
    session: Session, images: ImageSet, extract: Extract, seen_by: dict[str, Any], folder: Path | None
) -> Callable[[np.ndarray, int], Nearest]:
    """A function that finds the nearest of `images` to queries.

    Features are kept in `folder`, under a name that depends on what saw which images, and used again; earlier ones of the same kind are
    removed. Without a folder nothing is kept.
    """
    import numpy as np

    from stackgan_cli.files import replacing
    from stackgan_cli.viz.nearest import Nearest

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
        with session.progress("looking at training images", unit="images") as bar:

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
    """uint8 (N, side, side, 3) of pictures of any size: the centre square, averaged down or enlarged (bicubic)."""
    import numpy as np
    from PIL import Image, ImageOps

    fitted = []
    for picture in pictures:
        least = min(picture.shape[:2])
        method = Image.Resampling.BOX if least > side else Image.Resampling.BICUBIC
        fitted.append(np.asarray(ImageOps.fit(Image.fromarray(picture), (side, side), method)))
    return np.stack(fitted)


def find_queries(
    session: Session,
    sampler: Sampler,
    training: CacheSet,
    captions: list[str],
    labels: list[str],
    folder: Path | None,
    real: int,
    count: int | None,
    seed: int,
    side: int,
) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """uint8 (Q, side, side, 3), and what each of them is."""
    import numpy as np

    from stackgan_cli.cli.labels import label_name
    from stackgan_cli.cli.pictures import conditions
    from stackgan_cli.metrics.image_sets import FolderSet

    if folder is not None:
        files = FolderSet(folder)
        pictures = squares([files.read(np.array([index]))[0] for index in range(len(files))], side)
        return pictures, [{"file": str(path)} for path in files.files]
    if real:
        numbers = np.unique(np.linspace(0, len(training) - 1, real).astype(np.int64))
        rows = training.rows[numbers]
        return training.read(numbers), [{"name": training.cache.names[row], "row": int(row)} for row in rows]
    texts, classes = conditions(session, sampler, captions, labels)
    count = count or max(LEAST, len(texts or classes or []))
    seeds = list(range(seed, seed + count))
    in_turn = [None if texts is None else texts[number % len(texts)] for number in range(count)]
    labels_in_turn = None if classes is None else [classes[number % len(classes)] for number in range(count)]
    drawn = sampler.sample(None if texts is None else [text or "" for text in in_turn], seeds, labels=labels_in_turn)[side]
    what: list[dict[str, Any]] = [{"caption": text, "seed": number} for text, number in zip(in_turn, seeds, strict=True)]
    for one, label in zip(what, labels_in_turn or [], strict=False):
        one |= {"label": label, "class": label_name(label, sampler.weights.classes)}
    return drawn, what
