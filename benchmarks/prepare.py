"""Speed and memory of `stackgan prepare cub`.

Speed: images per second of `prepare` on the dataset repeated --repeat times, as a ratio to a bare Pillow loop: the same decoding, cropping
and resizing with as many processes, and nothing written. Writing and syncing are included, starting the interpreter and the processes is
not. The two take turns, so that both run under the same conditions.

Memory: the largest sum of resident memory over the whole tree of processes, while 300 and 10,000 images are prepared; shared pages are
counted once (proportional set size).

    python benchmarks/prepare.py --source DIR [--repeat 8] [--rounds 3] [--folder DIR] [--workers N] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from stackgan_cli.data.crop import Box, box_crop
from stackgan_cli.data.prepare import num_cores, prepare
from stackgan_cli.data.records import Record
from stackgan_cli.data.sources.cub import cub_records


@dataclass(frozen=True)
class Repeated(Sequence[Record]):
    """The first `count` of an endless repetition of records, under new names; nothing is kept in memory."""

    records: Sequence[Record]
    count: int

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index):
        if not 0 <= index < self.count:
            raise IndexError(index)
        turn, row = divmod(index, len(self.records))
        record = self.records[row]
        return replace(record, name=f"{record.name}.{turn}")

    def __iter__(self) -> Iterator[Record]:
        return (self[i] for i in range(self.count))


def bare(item: tuple[Path, Box]) -> int:
    """Decode, crop and resize in the obvious way."""
    path, box = item
    image = Image.open(path).convert("RGB")
    image = image.crop(box_crop(*image.size, box)).resize((304, 304), Image.Resampling.BILINEAR)
    return np.asarray(image).nbytes


def bare_seconds(records: Sequence[Record], workers: int) -> float:
    items = [(record.image, record.box) for record in records]
    with multiprocessing.get_context("forkserver").Pool(workers) as pool:
        pool.map(bare, items[: 4 * workers], chunksize=1)  # start the processes
        start = time.perf_counter()
        assert sum(pool.imap_unordered(bare, items, chunksize=16)) == len(items) * 304 * 304 * 3
        return time.perf_counter() - start


def ours_seconds(records: Sequence[Record], workers: int, folder: Path) -> float:
    """Seconds from the call to the synced and renamed cache. A small cache is made first, to start the fork server."""
    path = folder / "cub.h5"
    prepare(Repeated(records, 4 * workers), path, dataset="cub", workers=workers, force=True)
    start = time.perf_counter()
    prepare(records, path, dataset="cub", workers=workers, force=True)
    seconds = time.perf_counter() - start
    path.unlink()
    return seconds


def tree(root: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(entry.name))
    found, queue = [], [root]
    while queue:
        found.append(queue.pop())
        queue += children.get(found[-1], [])
    return found


def memory(root: int, key: str) -> int:
    """A line of smaps_rollup (Pss or Rss) in bytes, summed over the tree of processes."""
    total = 0
    for process in tree(root):
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))
    return total


def peak_memory(source: Path, count: int, workers: int, folder: Path) -> dict[str, float]:
    """Largest Pss and Rss in MiB of a fresh process that prepares `count` images."""
    command = [sys.executable, __file__, "--source", str(source), "--only", str(count), "--workers", str(workers), "--folder", str(folder)]
    process = subprocess.Popen(command)
    peaks = {"Pss": 0, "Rss": 0}
    while process.poll() is None:
        for key in peaks:
            peaks[key] = max(peaks[key], memory(process.pid, key))
        time.sleep(0.05)
    assert process.returncode == 0
    return {key: round(value / 2**20, 1) for key, value in peaks.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--folder", type=Path, help="folder to write to (default: a temporary one)")
    parser.add_argument("--repeat", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=num_cores())
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    records = cub_records(options.source)
    if options.only:
        prepare(Repeated(records, options.only), options.folder / "cub.h5", dataset="cub", workers=options.workers, force=True)
        (options.folder / "cub.h5").unlink()
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        repeated = Repeated(records, options.repeat * len(records))
        result: dict[str, object] = {"images": len(repeated), "workers": options.workers}
        times: dict[str, list[float]] = {"bare": [], "ours": []}
        for _ in range(options.rounds):
            times["bare"].append(bare_seconds(repeated, options.workers))
            times["ours"].append(ours_seconds(repeated, options.workers, folder))
        for kind, seconds in times.items():
            result[kind] = {"seconds": [round(value, 2) for value in seconds], "images_per_second": round(len(repeated) / min(seconds), 1)}
        result["ratio"] = round(min(times["bare"]) / min(times["ours"]), 3)
        peaks = {count: peak_memory(options.source, count, options.workers, folder) for count in (300, 10_000)}
        result["peak_memory_mib"] = peaks
        result["memory_growth"] = {key: round(peaks[10_000][key] / peaks[300][key] - 1, 4) for key in ("Pss", "Rss")}
    text = json.dumps(result, indent=2)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
