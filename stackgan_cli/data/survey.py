"""One pass over all records before the first image is rendered: everything about them except pixels and captions, in compact form."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stackgan_cli.data.cache import SPLITS
from stackgan_cli.data.crop import Box
from stackgan_cli.data.records import Record
from stackgan_cli.errors import DataError

NUM_PARTS = 15


@dataclass(frozen=True, eq=False)
class Survey:
    """Columns over all N records, usable or not."""

    request: str
    """Hash of names, captions, classes, splits, boxes, parts, attributes and settings."""
    names: list[str]
    num_captions: np.ndarray
    """(N,) int64."""
    caption_bytes: np.ndarray
    """(N,) int64: length of the image's captions in UTF-8 bytes."""
    class_names: list[str]
    class_ids: np.ndarray
    """(N,) int32, -1 if it has no class."""
    split: np.ndarray
    """(N,) uint8, index into SPLITS."""
    boxes: np.ndarray
    """(N, 4) float64 in pixels of the full image, NaN if it has no box."""
    parts: np.ndarray
    """(N, 15, 3) float32 in pixels of the full image; (0, 15, 3) when no image has parts."""
    attributes: dict[str, list[str]]
    unusable: dict[int, str]
    """Row -> why the image is left out, by ascending row: no caption although others have some, or a box or parts that are not finite."""

    @classmethod
    def of(cls, records: Sequence[Record], settings: Mapping[str, str | int]) -> Survey:
        """Read all records. Raises DataError when there are none, or when two have the same name."""
        count = len(records)
        digest = hashlib.sha256(json.dumps([1, settings]).encode())
        names: list[str] = []
        seen: set[str] = set()
        class_of: dict[str, int] = {}
        num_captions, caption_bytes = np.zeros(count, np.int64), np.zeros(count, np.int64)
        class_ids, split = np.full(count, -1, np.int32), np.zeros(count, np.uint8)
        boxes, parts = np.full((count, 4), np.nan), np.zeros((0, NUM_PARTS, 3), np.float32)
        attributes: dict[str, list[str]] = {}
        broken: dict[int, str] = {}
        for row, record in enumerate(records):
            facts = [record.name, record.captions, record.class_name, record.split, record.box, sorted(record.attributes.items())]
            digest.update(json.dumps(facts).encode())
            if record.name in seen:
                raise DataError("two images have the same name", where=record.name)
            seen.add(record.name)
            names.append(record.name)
            num_captions[row] = len(record.captions)
            caption_bytes[row] = sum(len(caption.encode()) for caption in record.captions)
            if record.class_name:
                class_ids[row] = class_of.setdefault(record.class_name, len(class_of))
            split[row] = SPLITS.index(record.split)
            if record.box is not None:
                boxes[row] = record.box
                if not np.isfinite(boxes[row]).all():
                    broken[row] = f"its bounding box {record.box} is not finite"
            if record.parts is not None:
                if not len(parts):
                    parts = np.zeros((count, NUM_PARTS, 3), np.float32)
                parts[row] = record.parts
                if not _finite(parts[row]):
                    broken[row] = "the positions of its parts are not finite"
                digest.update(parts[row].astype("<f4").tobytes())
            for key, value in record.attributes.items():
                attributes.setdefault(key, [""] * count)[row] = value
        if not count:
            raise DataError("there are no images", hint="check --source")
        silent = np.flatnonzero((num_captions == 0) & num_captions.any()).tolist()
        class_names = sorted(class_of)
        rank = {name: index for index, name in enumerate(class_names)}
        order = np.array([rank[name] for name in class_of] + [-1], np.int32)  # images without a class keep their -1
        return cls(
            request=digest.hexdigest(),
            names=names,
            num_captions=num_captions,
            caption_bytes=caption_bytes,
            class_names=class_names,
            class_ids=order[class_ids],
            split=split,
            boxes=boxes,
            parts=parts,
            attributes=dict(sorted(attributes.items())),
            unusable=dict(sorted((broken | dict.fromkeys(silent, "has no caption")).items())),
        )

    def __len__(self) -> int:
        return len(self.names)

    def box(self, row: int) -> Box | None:
        """The box of a record, or None."""
        if np.isnan(self.boxes[row, 0]):
            return None
        x, y, width, height = self.boxes[row].tolist()
        return x, y, width, height


def _finite(parts: np.ndarray) -> bool:
    """Whether the marks of all parts, and the positions of the visible ones, are finite."""
    visible = parts[:, 2]
    return bool(np.isfinite(visible).all() and np.isfinite(parts[visible > 0]).all())
