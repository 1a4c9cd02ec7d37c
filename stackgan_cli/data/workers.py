"""The processes of `prepare`: each decodes, crops and resizes images and writes the pixels directly to their place in the file.

Only file names go to a worker and only image sizes come back; no pixels pass through a pipe. Every worker loads this module, so it
imports neither h5py nor torch.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from stackgan_cli.data.crop import Box, image_extent, load_image, render
from stackgan_cli.errors import DataError, EnvironmentProblem


@dataclass(frozen=True, slots=True)
class Job:
    """One image to render; its `num_bytes` bytes are written at byte `offset` of the file."""

    image: Path | Callable[[], np.ndarray]
    box: Box | None
    offset: int
    num_bytes: int


@dataclass(frozen=True, slots=True)
class Rendering:
    """How images are rendered for the cache."""

    image_size: int
    fit: str
    crop: str


Outcome = tuple[int, int] | str
"""(width, height) of the original image, or the reason why it cannot be used."""


class Painter:
    """Renders jobs into an existing file."""

    def __init__(self, path: Path, rendering: Rendering) -> None:
        self.descriptor = os.open(path, os.O_WRONLY)
        self.rendering = rendering

    def paint(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Render and write; outcomes in the order of the jobs. Raises OSError when the file cannot be written."""
        return [self._paint(job) for job in jobs]

    def _paint(self, job: Job) -> Outcome:
        how = self.rendering
        try:
            image = load_image(job.image)
            pixels = render(image, job.box, image_size=how.image_size, fit=how.fit, crop=how.crop).tobytes()
        except DataError as error:
            return error.message
        if len(pixels) != job.num_bytes:
            return "changed while it was being read"
        written = 0
        while written < len(pixels):
            written += os.pwrite(self.descriptor, memoryview(pixels)[written:], job.offset + written)
        return image.size


def measure(images: Sequence[Path | Callable[[], np.ndarray]]) -> list[Outcome]:
    """(width, height) of each image, reading only the headers of files."""
    outcomes: list[Outcome] = []
    for image in images:
        try:
            outcomes.append(image_extent(image))
        except DataError as error:
            outcomes.append(error.message)
    return outcomes


Item = TypeVar("Item")
_painter: Painter | None = None


def _start(path: Path | None, rendering: Rendering | None) -> None:
    """Runs once in each worker: the parent handles Ctrl-C, and a worker exits immediately if its parent is killed."""
    global _painter
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if path is not None and rendering is not None:
        _painter = Painter(path, rendering)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _paint(jobs: Sequence[Job]) -> list[Outcome]:
    assert _painter is not None
    return _painter.paint(jobs)


def paint_all(
    chunks: Iterator[tuple[int, list[Job]]], path: Path, rendering: Rendering, workers: int
) -> Iterator[tuple[int, list[Outcome]]]:
    """Render chunks of jobs into `path` with `workers` processes (1: in this process), yielding (chunk number, outcomes) as they finish."""
    if workers == 1:
        painter = Painter(path, rendering)
        try:
            for number, jobs in chunks:
                yield number, painter.paint(jobs)
        finally:
            os.close(painter.descriptor)
        return
    yield from _in_processes(_paint, chunks, workers, (path, rendering))


def measure_all(chunks: Iterator[tuple[int, list[Path | Callable[[], np.ndarray]]]], workers: int) -> Iterator[tuple[int, list[Outcome]]]:
    """`measure` chunks of images with `workers` processes, yielding (chunk number, outcomes) as they finish."""
    if workers == 1:
        for number, images in chunks:
            yield number, measure(images)
        return
    yield from _in_processes(measure, chunks, workers, (None, None))


def _in_processes(
    work: Callable[[Sequence[Item]], list[Outcome]],
    chunks: Iterator[tuple[int, list[Item]]],
    workers: int,
    start: tuple[Path | None, Rendering | None],
) -> Iterator[tuple[int, list[Outcome]]]:
    # A fork server: its children inherit neither the memory nor the threads of this process.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    executor = ProcessPoolExecutor(workers, context, _start, start)
    running: dict[Future[list[Outcome]], int] = {}
    try:
        more = True
        while more or running:
            while more and len(running) < 4 * workers:
                try:
                    number, items = next(chunks)
                except StopIteration:
                    more = False
                else:
                    running[executor.submit(work, items)] = number
            for future in wait(running, return_when=FIRST_COMPLETED).done if running else ():
                yield running.pop(future), future.result()
    except BrokenProcessPool:
        raise EnvironmentProblem(
            "a worker process died, most likely for lack of memory", hint="run the same command again with fewer --workers to resume"
        ) from None
    finally:
        executor.shutdown(cancel_futures=True)
