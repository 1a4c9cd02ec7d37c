"""A small tree in the layout of CUB-200-2011 and its captions, with random photographs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

# CUB's number and name, and the name of the caption folder; 9 and 14 are held-out classes
CLASSES = {
    2: ("002.Laysan_Albatross", "002.Laysan_Albatross"),
    9: ("009.Brewer_Blackbird", "009.Brewers_Blackbird"),
    14: ("014.Indigo_Bunting", "014.Indigo_Bunting"),
    22: ("022.Chuck_will_Widow", "022.Chuck_wills_Widow"),
}
MODES = ("RGB", "L", "CMYK")


def make_cub(folder: Path, per_class: int = 4, seed: int = 0, captions: str = "cvpr2016_cub/text_c10") -> Path:
    """Write `per_class` images for each of CLASSES into `folder`, and return it. Modes alternate between RGB, gray and CMYK."""
    random = np.random.default_rng(seed)
    root = folder / "CUB_200_2011"
    (root / "parts").mkdir(parents=True)
    lists: dict[str, list[str]] = {name: [] for name in ("images", "bounding_boxes", "image_class_labels", "classes", "parts/part_locs")}
    image_id = 0
    for class_id, (name, caption_name) in CLASSES.items():
        lists["classes"].append(f"{class_id} {name}")
        (root / "images" / name).mkdir(parents=True)
        (folder / captions / caption_name).mkdir(parents=True)
        for number in range(per_class):
            image_id += 1
            stem = f"{name[4:]}_{number:04d}_{image_id}"
            width, height = (int(value) for value in random.integers(60, 140, 2))
            pixels = random.integers(0, 256, (6, 6, 3)).astype(np.uint8)
            photo = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC).convert(MODES[image_id % len(MODES)])
            photo.save(root / "images" / name / f"{stem}.jpg", quality=90)
            w, h = int(random.integers(10, width - 10)), int(random.integers(10, height - 10))
            x, y = int(random.integers(0, width - w)), int(random.integers(0, height - h))
            lists["images"].append(f"{image_id} {name}/{stem}.jpg")
            lists["bounding_boxes"].append(f"{image_id} {x}.0 {y}.0 {w}.0 {h}.0")
            lists["image_class_labels"].append(f"{image_id} {class_id}")
            for part in range(1, 16):
                visible = part % 3 != 0
                where = f"{x + w / 2:.1f} {y + h / 2:.1f} 1" if visible else "0.0 0.0 0"
                lists["parts/part_locs"].append(f"{image_id} {part} {where}")
            lines = [f"bird {image_id} has a {word} beak." for word in ("red", "long", "short", "curved")]
            (folder / captions / caption_name / f"{stem}.txt").write_text("\n".join(lines) + "\n\n")
    for name, lines in lists.items():
        (root / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return folder
