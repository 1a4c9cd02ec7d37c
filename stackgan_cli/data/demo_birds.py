"""The built-in dataset: birds of invented species, drawn by our own code from a seed, with captions, boxes, parts and attributes.

A species is a fixed combination of attributes; pose, facing, background, place and small variations change from image to image.
Across the species list, the colors of body, wing and beak are balanced against one another, so that a text encoder can learn to tell
the parts apart from few classes. Records are cheap: an image is drawn only when its record's `image` is called.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache, partial

import numpy as np

from stackgan_cli.data.demo_captions import captions
from stackgan_cli.data.demo_drawing import PALETTE, PART_COLOURS, draw_bird
from stackgan_cli.data.demo_geometry import compose
from stackgan_cli.data.records import Record
from stackgan_cli.errors import UsageError

__all__ = ["MIN_SPECIES", "PALETTE", "PART_COLOURS", "demo_records", "demo_species"]

MIN_SPECIES = 50
_MAX_SPECIES = 4000
_TEST_EVERY = 5  # every fifth species is a test class: 80/20, and balanced over the eight body colors because 5 and 8 are coprime

_CHOICES: dict[str, tuple[str, ...]] = {
    "wing": tuple(PALETTE),
    "beak": ("black", "yellow", "orange", "red", "grey", "blue"),
    "beak_shape": ("pointed", "conical", "hooked", "curved"),
    "beak_length": ("short", "long"),
    "size": ("small", "medium", "large"),
    "eye_ring": ("none", "none", "none", "white", "yellow", "red"),
}
# Crown, belly and tail mostly match the rest of the bird, as in nature: a bird of six unrelated colors has no body color.
_KIN: dict[str, tuple[str, ...]] = {
    "crown": ("body", "body", "body", "wing", "black", "white", "red", "yellow", "blue", "brown"),
    "belly": ("body", "body", "body", "white", "white", "yellow", "grey", "orange", "pink", "black"),
    "tail": ("body", "body", "body", "wing", "wing", "wing", "black", "white", "brown", "orange"),
}


@lru_cache(maxsize=8)
def demo_species(species: int = 1000) -> tuple[Mapping[str, str], ...]:
    """Attributes of each species, in order; a shorter list is a prefix of a longer one.

    Body colors take turns. Each further attribute takes the value that has occurred least often so far together with those already chosen
    for this species (among all species and among those of its split); ties are broken by a fixed random stream.
    """
    rng = np.random.default_rng(20161211)
    seen: Counter[tuple[str, ...]] = Counter()
    found: list[Mapping[str, str]] = []
    for number in range(species):
        chosen = {"body": tuple(PALETTE)[number % len(PALETTE)]}
        for part, values in (*_CHOICES.items(), *_KIN.items()):
            options = sorted(set(values))
            noise = rng.uniform(0, 0.5, size=len(options))
            crowding = [
                sum(seen[pair] ** 2 for pair in _pairs(chosen, part, value, number)) / values.count(value) ** 2 for value in options
            ]
            chosen[part] = options[int(np.argmin(crowding + noise))]
            seen.update(_pairs(chosen, part, chosen[part], number))
        whole = {part: chosen.get(value, value) if part in _KIN else value for part, value in chosen.items()}
        if whole["eye_ring"] == whole["body"]:  # it would be invisible
            whole["eye_ring"] = "black" if whole["body"] == "white" else "white"
        found.append(whole)
    return tuple(found)


def _pairs(chosen: Mapping[str, str], part: str, value: str, number: int) -> list[tuple[str, ...]]:
    """The pairs to count when a part takes a value: with each other choice, over all species and over those of its split."""
    pairs = [(other, kept, part, value) for other, kept in chosen.items() if other != part]
    return [*pairs, *((*pair, _split(number)) for pair in pairs)]


def _split(number: int) -> str:
    return "test" if number % _TEST_EVERY == _TEST_EVERY - 1 else "train"


def demo_records(count: int = 3000, species: int = 1000, seed: int = 0, image_size: int = 304) -> list[Record]:
    """`count` records over `species` classes (80% of them for training); no image is drawn yet.

    Record i shows species i % species and depends only on (seed, i) and the species, so a smaller set is a prefix of a larger one.
    `image_size` is roughly the side of the box crop in pixels. Raises `UsageError` for an invalid count, number of species, seed or size.
    """
    if not MIN_SPECIES <= species <= _MAX_SPECIES:
        raise UsageError(f"must be between {MIN_SPECIES} and {_MAX_SPECIES}, not {species}", where="--species")
    if count < species:
        raise UsageError(
            f"{count} images are too few for {species} species", where="--count", hint="give --count at least as large as --species"
        )
    if seed < 0 or image_size < 16:
        raise UsageError("the seed must not be negative and the size must be at least 16 pixels", where="--seed, --image-size")
    kinds = demo_species(species)
    return [_record(index, index % species, kinds[index % species], seed, image_size) for index in range(count)]


def _record(index: int, number: int, attributes: Mapping[str, str], seed: int, image_size: int) -> Record:
    scene = compose(attributes, seed, index, image_size)
    seen = {**attributes, "pose": scene.pose, "facing": scene.facing, "background": scene.background}
    folder = f"{number + 1:03d}.{attributes['body']}_bird_{attributes['wing']}_wings_{attributes['beak']}_beak"
    return Record(
        name=f"{folder}/bird_{index:05d}",
        image=partial(draw_bird, attributes, seed, index, image_size),
        captions=captions(seen, np.random.default_rng((seed, index, 3))),
        class_name=folder,
        split=_split(number),
        box=scene.box,
        parts=scene.parts(),
        attributes=seen,
    )
