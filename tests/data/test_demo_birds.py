"""The demo birds: deterministic and balanced, with true captions and correct boxes, and the body color in the center."""

from __future__ import annotations

import pickle
import re
from collections import Counter
from functools import lru_cache

import numpy as np
import pytest
from PIL import Image

from stackgan_cli.data.demo_birds import PALETTE, PART_COLOURS, demo_records, demo_species
from stackgan_cli.data.demo_geometry import CUB_PARTS
from stackgan_cli.data.records import Record
from stackgan_cli.errors import UserError


@lru_cache(maxsize=1)
def records() -> tuple[Record, ...]:
    return tuple(demo_records(count=400, species=200, image_size=76))


def lab(colour: np.ndarray) -> np.ndarray:
    """sRGB 0..255 to CIE Lab under D65."""
    share = np.asarray(colour, dtype=float) / 255
    linear = np.where(share > 0.04045, ((share + 0.055) / 1.055) ** 2.4, share / 12.92)
    matrix = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    x, y, z = np.moveaxis(linear @ matrix.T / np.array([0.95047, 1.0, 1.08883]), -1, 0)
    x, y, z = (np.where(value > 0.008856, np.cbrt(value), 7.787 * value + 16 / 116) for value in (x, y, z))
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def nearest(colour: np.ndarray, palette: dict[str, tuple[int, int, int]]) -> str:
    distance = np.linalg.norm(lab(np.array(list(palette.values()))) - lab(colour), axis=1)
    return list(palette)[int(distance.argmin())]


def box_crop(record: Record) -> np.ndarray:
    """StackGAN's crop: a square of 1.5 times the longer side around the center of the box, clipped at the edges of the image."""
    assert callable(record.image) and record.box is not None
    picture = record.image()
    x, y, width, height = record.box
    reach, middle_x, middle_y = int(max(width, height) * 0.75), int(x + width / 2), int(y + height / 2)
    return picture[max(0, middle_y - reach) : middle_y + reach, max(0, middle_x - reach) : middle_x + reach]


def test_same_seed_same_everything() -> None:
    first, again = demo_records(60, 50, seed=3, image_size=64), demo_records(60, 50, seed=3, image_size=64)
    for one, other in zip(first, again, strict=True):
        assert (one.name, one.captions, one.box, one.attributes) == (other.name, other.captions, other.box, other.attributes)
    assert callable(first[7].image) and callable(again[7].image)
    picture = first[7].image()
    np.testing.assert_array_equal(picture, again[7].image())
    np.testing.assert_array_equal(picture, pickle.loads(pickle.dumps(first[7])).image())
    other_seed = demo_records(60, 50, seed=4, image_size=64)
    assert other_seed[7].box != first[7].box and other_seed[7].class_name == first[7].class_name


def test_a_larger_set_begins_with_the_smaller_one() -> None:
    small, large = demo_records(50, 50), demo_records(120, 50)
    assert [record.captions for record in small] == [record.captions for record in large[:50]]
    assert demo_species(80) == demo_species(200)[:80]


def test_names_and_pictures() -> None:
    assert len({record.name for record in records()}) == len(records())
    assert all(record.name.split("/")[0] == record.class_name and re.fullmatch(r"[\w.]+/\w+", record.name) for record in records())
    record = records()[0]
    assert callable(record.image)
    picture = record.image()
    assert picture.dtype == np.uint8 and picture.ndim == 3 and picture.shape[2] == 3
    assert record.attributes["body"] in PALETTE and {"pose", "facing", "background", "wing", "beak"} <= set(record.attributes)


def test_colours_are_balanced_over_classes_and_splits() -> None:
    species = demo_species(200)
    assert len({tuple(one.items()) for one in species}) == 200
    for first, second in (("body", "wing"), ("body", "beak"), ("wing", "beak")):
        pairs = Counter((one[first], one[second]) for one in species)
        assert len(pairs) == len({one[first] for one in species}) * len({one[second] for one in species})
        assert max(pairs.values()) <= 2 * min(pairs.values())
    by_split = {split: {record.class_name for record in records() if record.split == split} for split in ("train", "test")}
    assert not by_split["train"] & by_split["test"]
    assert (len(by_split["train"]), len(by_split["test"])) == (160, 40)
    for split, each in (("train", 20), ("test", 5)):
        bodies = Counter({record.class_name: record.attributes["body"] for record in records() if record.split == split}.values())
        assert bodies == dict.fromkeys(PALETTE, each)


_COLOUR = "|".join([*PART_COLOURS, "gray"])
_NOUN = {
    "bird": "body",
    "body": "body",
    "wings": "wing",
    "crown": "crown",
    "belly": "belly",
    "tail": "tail",
    "beak": "beak",
    "bill": "beak",
}
_PARTS = "bird|body|wings|crown|belly|tail|beak|bill|eye ring|eyering"


def claims(caption: str) -> list[tuple[str, str]]:
    """(part, color) for every color word, parsed by rules independent of the code under test."""
    found = []
    for match in re.finditer(rf"\b({_COLOUR})\b", caption):
        colour, rest = match[1].replace("gray", "grey"), caption[match.end() :]
        on = re.match(rf" on its ({_PARTS})(?: and ({_PARTS}))?", rest)
        before = re.search(rf"({_PARTS}) (?:that )?(?:is|are) (?:mostly )?(?:bright )?$", caption[: match.start()])
        direct = re.match(rf" ({_PARTS})(?: and (wings|tail)\b(?! are))?", rest)
        attached = on or direct or before
        assert attached, f"{colour!r} belongs to nothing in {caption!r}"
        found += [(_NOUN.get(noun, "eye_ring"), colour) for noun in attached.groups() if noun]
    return found


def test_captions_say_what_is_true() -> None:
    named: Counter[str] = Counter()
    total = 0
    for record in records():
        assert len(record.captions) == len(set(record.captions)) == 10
        for caption in record.captions:
            told = claims(caption)
            for part, colour in told:
                assert record.attributes[part] == colour, caption
            for word, part in (("short", "beak_length"), ("long", "beak_length"), ("hooked", "beak_shape"), ("conical", "beak_shape")):
                assert word not in caption.split() or record.attributes[part] == word, caption
            assert re.fullmatch(r"[a-z ,.]{8,200}", caption), caption
            assert not re.search(r"\ba (orange|eye)|  |,,", caption), caption
            named.update({part for part, _ in told})
            total += 1
    assert named["body"] > 0.93 * total
    assert 0.66 * total < named["wing"] < 0.84 * total
    assert 0.70 * total < named["beak"] < 0.86 * total
    assert min(named[part] for part in ("crown", "belly", "tail")) > 0.05 * total


def test_the_box_holds_the_visible_parts_and_lies_in_the_picture() -> None:
    for record in records():
        assert record.box is not None and record.parts is not None and callable(record.image)
        assert record.parts.shape == (15, 3) and record.parts.dtype == np.float32
        x, y, width, height = record.box
        seen = record.parts[record.parts[:, 2] == 1]
        assert (seen[:, 0] >= x).all() and (seen[:, 0] <= x + width).all(), record.name
        assert (seen[:, 1] >= y).all() and (seen[:, 1] <= y + height).all(), record.name
        assert (record.parts[record.parts[:, 2] == 0] == 0).all()
    for record in records()[:10]:
        assert callable(record.image) and record.box is not None
        rows, columns = record.image().shape[:2]
        x, y, width, height = record.box
        assert 0 <= x < x + width <= columns and 0 <= y < y + height <= rows
        crop = box_crop(record)
        assert crop.shape[0] == crop.shape[1] and 0.9 * 76 < crop.shape[0] < 1.1 * 76


def test_parts_are_seen_from_one_side() -> None:
    poses = Counter(record.attributes["pose"] for record in records())
    assert set(poses) == {"perched", "flying", "swimming"} and min(poses.values()) > 40
    for record in records():
        assert record.parts is not None
        seen = {name for name, row in zip(CUB_PARTS, record.parts, strict=True) if row[2] == 1}
        near, far = ("left", "right") if record.attributes["facing"] == "left" else ("right", "left")
        assert {f"{near} eye", f"{near} wing", "beak", "tail"} <= seen and f"{far} eye" not in seen
        assert (f"{far} wing" in seen) == (record.attributes["pose"] == "flying")
        assert ({"left leg", "right leg"} <= seen) == (record.attributes["pose"] == "perched")
        beak, tail = record.parts[CUB_PARTS.index("beak")], record.parts[CUB_PARTS.index("tail")]
        assert (beak[0] < tail[0]) == (record.attributes["facing"] == "left")


def test_the_middle_of_the_crop_is_of_the_bodys_colour() -> None:
    right = 0
    chosen = records()[::5]  # 5 and 8 are coprime: every body color
    for record in chosen:
        crop = Image.fromarray(box_crop(record)).resize((64, 64), Image.Resampling.BICUBIC)
        middle = np.asarray(crop)[26:38, 26:38].reshape(-1, 3)
        right += nearest(np.median(middle, axis=0), PALETTE) == record.attributes["body"]
    assert {record.attributes["body"] for record in chosen} == set(PALETTE)
    assert right >= 0.98 * len(chosen)


@pytest.mark.parametrize(("part", "spot"), [("wing", "{near} wing"), ("beak", "beak")])
def test_wing_and_beak_show_their_colour_where_the_parts_say(part: str, spot: str) -> None:
    right = 0
    chosen = demo_records(60, 50, image_size=128)
    for record in chosen:
        assert callable(record.image) and record.parts is not None
        near = "left" if record.attributes["facing"] == "left" else "right"
        x, y, _ = record.parts[CUB_PARTS.index(spot.format(near=near))].astype(int)
        patch = record.image()[y - 1 : y + 2, x - 1 : x + 2].reshape(-1, 3)
        right += nearest(np.median(patch, axis=0), PART_COLOURS) == record.attributes[part]
    assert right >= 0.9 * len(chosen)


def test_palette_is_far_apart() -> None:
    colours = lab(np.array(list(PALETTE.values())))
    distances = np.linalg.norm(colours[:, None] - colours[None], axis=-1) + 1e3 * np.eye(len(colours))
    assert set(PALETTE) == {"red", "blue", "yellow", "green", "black", "white", "brown", "grey"} and distances.min() > 35


@pytest.mark.parametrize("wrong", [{"species": 49}, {"species": 200, "count": 199}, {"seed": -1}, {"image_size": 8}])
def test_impossible_requests(wrong: dict[str, int]) -> None:
    with pytest.raises(UserError):
        demo_records(**wrong)
