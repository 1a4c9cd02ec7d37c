"""From the records of a dataset to its cache: survey, render on all cores, add the columns, rename.

The file under the final name is always complete: the cache is built in `.NAME.h5.partial`, and after a kill the same command resumes
and ends with the same bytes. The workers write the images, so memory does not grow with the number of pixels.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stackgan_cli.data.cache import SPLITS, Cache, Columns, Strings, create_images, disk_full, write_columns
from stackgan_cli.data.crop import FILTER, Box, Window, crop_window, fitted_size, move_box, move_parts
from stackgan_cli.data.journal import FULL, Partial, check_space, reserve
from stackgan_cli.data.records import Record
from stackgan_cli.data.survey import NUM_PARTS, Survey
from stackgan_cli.data.workers import Job, Outcome, Rendering, measure_all, paint_all
from stackgan_cli.errors import ConfigError, DataError
from stackgan_cli.files import publish, sync

CHUNK = 16
"""Images per task."""
Progress = Callable[[int, int], None]
"""Called with (images done, images in total)."""


@dataclass(frozen=True)
class PrepareReport:
    """What `prepare` did."""

    path: Path
    num_images: int
    num_train: int
    num_test: int
    num_captions: int
    num_classes: int
    skipped: tuple[tuple[str, str], ...]
    """(name, reason) of every image that was left out."""
    notes: tuple[str, ...]
    """Notes from the source."""
    resumed: int
    """Number of images that an earlier, interrupted run had finished."""
    existed: bool
    """The cache existed already, so nothing was done."""
    seconds: float


def prepare(
    records: Sequence[Record],
    destination: Path,
    *,
    dataset: str,
    image_size: int = 304,
    fit: str = "squash",
    crop: str = "box",
    workers: int | None = None,
    strict: bool = False,
    force: bool = False,
    progress: Progress | None = None,
    notes: Sequence[str] = (),
) -> PrepareReport:
    """Make the cache `destination` from `records`, which are read in order, more than once, and need not all be in memory.

    `fit` is 'squash' (to a square, v1) or 'keep' (shorter side `image_size`, v2); `crop` is 'box' (the released box crop) or 'none';
    `workers` is the number of processes, by default one per core. An image that cannot be decoded, has no caption where others do, or
    has a box or parts that are not finite is skipped and counted; with `strict` it is an error. Raises DataError, ConfigError, or
    EnvironmentProblem when the disk is full.
    """
    start = time.monotonic()
    _check_settings(image_size, fit, crop)
    rendering = Rendering(image_size, fit, crop)
    settings: dict[str, str | int] = {"dataset": dataset, "image_size": image_size, "fit": fit, "crop": crop, "filter": FILTER}
    survey = Survey.of(records, settings)
    if not force and destination.exists():
        cache = Cache.open(destination)
        if cache.request != survey.request:
            raise DataError(_difference(cache, survey, settings), where=destination, hint="use another name, or replace it with --force")
        return _report(cache, notes, 0, True, start)
    skipped = [(survey.names[row], reason) for row, reason in survey.unusable.items()]
    if strict and skipped:
        raise DataError(skipped[0][1], where=skipped[0][0], hint="without --strict such images are skipped")
    if len(skipped) == len(survey):
        raise DataError(f"none of the {len(survey)} images can be used; the first one: {skipped[0][1]}", where=skipped[0][0])
    workers = workers or num_cores()
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        resumed = _build(records, survey, destination, rendering, settings, workers, strict, skipped, progress, notes)
    except OSError as error:
        if error.errno in FULL:
            raise disk_full(destination) from None
        raise DataError(f"cannot be written: {error.strerror}", where=destination, hint="use another --workspace") from None
    return _report(Cache.open(destination), notes, resumed, False, start)


def num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check_settings(image_size: int, fit: str, crop: str) -> None:
    if not 8 <= image_size <= 4096:
        raise ConfigError(f"must be between 8 and 4096 pixels, not {image_size}", where="image size")
    for name, value, allowed in (("fit", fit, ("squash", "keep")), ("crop", crop, ("box", "none"))):
        if value not in allowed:
            raise ConfigError(f"must be {' or '.join(allowed)}, not {value!r}", where=name)


def _report(cache: Cache, notes: Sequence[str], resumed: int, existed: bool, start: float) -> PrepareReport:
    train, test = (len(cache.rows(split)) for split in SPLITS)
    seconds = time.monotonic() - start
    classes, skipped = len(cache.class_names), tuple(cache.skipped)
    return PrepareReport(
        cache.path, cache.num_images, train, test, cache.num_captions, classes, skipped, tuple(notes), resumed, existed, seconds
    )


def _difference(cache: Cache, survey: Survey, settings: Mapping[str, str | int]) -> str:
    had = {"dataset": cache.dataset, "image_size": cache.image_size, "fit": cache.fit, "crop": cache.crop}
    changes = [f"{key} {value} instead of {settings[key]}" for key, value in had.items() if value != settings[key]]
    found = cache.num_images + len(cache.skipped)
    if found != len(survey):
        changes.append(f"{found} images instead of {len(survey)}")
    return "a cache of this name exists, with " + (", ".join(changes) or "different images or captions")


def _chunks(rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, len(rows), CHUNK):
        yield start // CHUNK, rows[start : start + CHUNK]


def _build(
    records: Sequence[Record],
    survey: Survey,
    destination: Path,
    rendering: Rendering,
    settings: Mapping[str, str | int],
    workers: int,
    strict: bool,
    skipped: list[tuple[str, str]],
    progress: Progress | None,
    notes: Sequence[str],
) -> int:
    """Render, collect and publish; returns how many images an earlier run had made."""
    rows, side = np.array([row for row in range(len(survey)) if row not in survey.unusable]), rendering.image_size
    if rendering.fit == "keep":
        rows, ends = _measure(records, survey, rows, rendering, workers, strict, skipped)
        shape: tuple[int, ...] = (int(ends[-1]),)
    else:
        ends = np.arange(len(rows) + 1) * (side * side * 3)
        shape = (len(rows), side, side, 3)
    with Partial(destination, shape, int(ends[-1]), survey.request) as partial:
        outcomes = np.full((len(rows), 2), -1, np.int32)
        bad: dict[int, str] = {}

        def accept(chunk: int, results: Sequence[Outcome]) -> None:
            for place, result in enumerate(results, chunk * CHUNK):
                if not isinstance(result, str):
                    outcomes[place] = result
                    continue
                record = records[int(rows[place])]
                if strict:
                    raise DataError(result, where=_place(record))
                bad[place] = result

        # A chunk with a bad image is tried again: the image may have been repaired since.
        finished = {chunk: results for chunk, results in partial.done.items() if not any(isinstance(result, str) for result in results)}
        for chunk, results in finished.items():
            accept(chunk, results)
        resumed = done = sum(len(results) for results in finished.values())
        if progress is not None:
            progress(done, len(rows))

        def jobs() -> Iterator[tuple[int, list[Job]]]:
            for chunk, part in _chunks(rows):
                if chunk in finished:
                    continue
                places = range(chunk * CHUNK, chunk * CHUNK + len(part))
                yield (
                    chunk,
                    [
                        Job(record.image, record.box, partial.offset + int(ends[place]), int(ends[place + 1] - ends[place]))
                        for place, record in zip(places, (records[int(row)] for row in part), strict=True)
                    ],
                )

        for chunk, results in paint_all(jobs(), partial.path, rendering, workers):
            accept(chunk, results)
            partial.record(chunk, results)
            done += len(results)
            if progress is not None:
                progress(done, len(rows))
        partial.flush()
        path = partial.path
        good = np.flatnonzero(outcomes[:, 0] >= 0)
        if not len(good):
            raise DataError(f"none of the {len(rows)} images can be used; the first one: {bad[min(bad)]}", where=survey.names[rows[0]])
        if bad:
            skipped += [(survey.names[rows[place]], reason) for place, reason in sorted(bad.items())]
            path, ends = _without_gaps(partial, destination, ends, good, rendering)
        write_columns(path, _columns(records, survey, rows[good], outcomes[good], ends, rendering, settings, skipped, notes))
        publish(path, destination)
        partial.discard()
    return resumed


def _measure(
    records: Sequence[Record],
    survey: Survey,
    rows: np.ndarray,
    rendering: Rendering,
    workers: int,
    strict: bool,
    skipped: list[tuple[str, str]],
) -> tuple[np.ndarray, np.ndarray]:
    """Offsets of images of different sizes: (rows whose size could be read, (len + 1,) int64 first bytes)."""
    found: dict[int, list[Outcome]] = {}
    images = ((chunk, [records[int(row)].image for row in part]) for chunk, part in _chunks(rows))
    for chunk, results in measure_all(images, workers):
        found[chunk] = results
    kept: list[int] = []
    sizes: list[int] = []
    for row, outcome in zip(rows.tolist(), (outcome for chunk in sorted(found) for outcome in found[chunk]), strict=True):
        try:
            if isinstance(outcome, str):
                raise DataError(outcome)
            width, height = _cached_size(*outcome, survey.box(row), rendering)[1]
        except DataError as error:
            if strict:
                raise DataError(error.message, where=_place(records[row])) from None
            skipped.append((survey.names[row], error.message))
            continue
        kept.append(row)
        sizes.append(width * height * 3)
    if not kept:
        raise DataError(f"none of the {len(rows)} images can be used; the first one: {skipped[-1][1]}")
    return np.array(kept), np.concatenate([[0], np.cumsum(sizes)])


def _place(record: Record) -> str:
    return str(record.image) if isinstance(record.image, Path) else record.name


def _cached_size(width: int, height: int, box: Box | None, rendering: Rendering) -> tuple[Window, tuple[int, int]]:
    """The window cropped from an original of `width` x `height`, and its (width, height) in the cache."""
    left, top, right, bottom = crop_window(width, height, box, rendering.crop)
    return (left, top, right, bottom), fitted_size(right - left, bottom - top, rendering.image_size, rendering.fit)


def _without_gaps(partial: Partial, destination: Path, ends: np.ndarray, good: np.ndarray, rendering: Rendering) -> tuple[Path, np.ndarray]:
    """Copy the readable images to a file without gaps for the others: (path, first bytes)."""
    path = partial.packed
    path.unlink(missing_ok=True)
    packed = np.concatenate([[0], np.cumsum(np.diff(ends)[good])])
    total, side = int(packed[-1]), rendering.image_size
    check_space(destination, total)
    offset = create_images(path, (total,) if rendering.fit == "keep" else (len(good), side, side, 3))
    with partial.path.open("rb") as source, path.open("r+b") as target:
        reserve(target.fileno(), offset + total, destination)
        target.seek(offset)
        for place in good:
            source.seek(partial.offset + int(ends[place]))
            target.write(source.read(int(ends[place + 1] - ends[place])))
    sync(path)
    return path, packed


def _columns(
    records: Sequence[Record],
    survey: Survey,
    rows: np.ndarray,
    extents: np.ndarray,
    ends: np.ndarray,
    rendering: Rendering,
    settings: Mapping[str, str | int],
    skipped: Sequence[tuple[str, str]],
    notes: Sequence[str],
) -> Columns:
    """Everything except the pixels, for the images `rows` with original sizes `extents` (width, height)."""
    count = len(rows)
    boxes, sizes = np.full((count, 4), np.nan, np.float32), np.zeros((count, 2), np.int32)
    parts = np.zeros((count if len(survey.parts) else 0, NUM_PARTS, 3), np.float32)
    for i, (row, (width, height)) in enumerate(zip(rows.tolist(), extents.tolist(), strict=True)):
        box = survey.box(row)
        window, size = _cached_size(width, height, box, rendering)
        sizes[i] = size[::-1]
        if box is not None:
            boxes[i] = move_box(box, window, size)
        if len(parts):
            parts[i] = move_parts(survey.parts[row], window, size)
    num_captions = survey.num_captions[rows]
    arrays = {
        "class_ids": survey.class_ids[rows],
        "split": survey.split[rows],
        "caption_offsets": np.concatenate([[0], np.cumsum(num_captions)]),
    }
    if not np.isnan(boxes).all():
        arrays["boxes"] = boxes
    if len(parts):
        arrays["parts"] = parts
    if rendering.fit == "keep":
        arrays["image_sizes"], arrays["image_offsets"] = sizes, ends
    captions = (caption for row in rows for caption in records[int(row)].captions)
    source: dict[str, Any] = {"notes": list(notes), "records": len(survey)}
    identity = hashlib.sha256("\n".join([survey.request, *(name for name, _ in sorted(skipped))]).encode()).hexdigest()
    return Columns(
        attrs={**settings, "source": json.dumps(source), "request": survey.request, "identity": identity},
        arrays=arrays,
        strings={
            "captions": Strings(captions, int(num_captions.sum()), int(survey.caption_bytes[rows].sum())),
            "names": Strings.of([survey.names[row] for row in rows]),
            "class_names": Strings.of(survey.class_names),
            "skipped_names": Strings.of([name for name, _ in skipped]),
            "skipped_reasons": Strings.of([reason for _, reason in skipped]),
            **{f"attributes/{key}": Strings.of([values[row] for row in rows]) for key, values in survey.attributes.items()},
        },
    )
