"""Generated bad inputs: each ends with a documented exit code, without a traceback, and changes nothing that is the user's.

Case N of a kind depends on `CAMPAIGN_SEED`, the kind and N alone; what failed once is in `KEPT` and tried every time.
"""

from __future__ import annotations

import io
import random
import signal
import string
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import INPUTS, SEED, Place, row
from PIL import Image

from stackgan_cli.__main__ import main
from stackgan_cli.config.presets import preset_folder
from stackgan_cli.config.problems import known_keys

pytestmark = pytest.mark.slow
DOCUMENTED = (0, 2, 3, 4, 5, 6, 7)
LIMIT_S = 120
KEPT: dict[str, tuple[int, ...]] = {}
"""Cases of a kind that failed once, with seed 0."""

ODD = [
    "",
    "null",
    "nan",
    ".nan",
    ".inf",
    "-1",
    "0",
    "1e400",
    "9" * 40,
    "[1,",
    "{a: b}",
    "[]",
    "true",
    "yes",
    "&a [*a]",
    "!!python/object:os.x {}",
]
ODD += [
    "'",
    '"',
    "010",
    "1_000",
    "0x10",
    "2011-01-01",
    "~",
    "*",
    "[[[[1]]]]",
    "a: b: c",
    "\t",
    "\udce9",
    "\x00",
    "é",
    "\u2028",
    "<<: 1",
    "- 1",
]
LETTERS = string.printable + "éß的🐦\u200b\u2028\ud800\udcff\x00\x1b"


def text(r: random.Random, longest: int = 60) -> str:
    return "".join(r.choice(LETTERS) for _ in range(r.randrange(longest)))


def damaged(r: random.Random, data: bytes) -> bytes:
    """The data after some of: bytes changed, a piece cut out, repeated or inserted, the end cut off."""
    for _ in range(r.randrange(1, 4)):
        place, size = r.randrange(len(data) + 1), r.choice([1, 4, 64, 4096])
        piece = bytes(r.choice([0, 255, r.randrange(256)]) for _ in range(size))
        kind = r.randrange(5)
        if kind == 0:
            data = data[:place] + piece + data[place + size :]
        elif kind == 1:
            data = data[:place] + data[place + size :]
        elif kind == 2:
            data = data[:place] + data[place : place + size] * 2 + data[place + size :]
        elif kind == 3:
            data = data[:place] + piece + data[place:]
        else:
            data = data[:place]
    return data


def override(r: random.Random, place: Place, folder: Path) -> list[str]:
    keys = sorted(known_keys())
    words = [
        f"{r.choice(keys) if r.random() < 0.9 else text(r, 12)}={r.choice(ODD) if r.random() < 0.7 else text(r)}"
        for _ in range(r.randrange(1, 4))
    ]
    return ["presets", "validate", "tiny-stage1", "--", *words]


def caption(r: random.Random, place: Place, folder: Path) -> list[str]:
    made = r.choice([text(r), text(r, 900), " " * r.randrange(5), "a bird" * r.randrange(200), "--" + text(r), "-" + text(r, 3)])
    return [
        "sample",
        f"--caption={made}",
        "--run",
        "words",
        "--count",
        "1",
        "--no-grid",
        "--device",
        "cpu",
        "--output",
        str(folder / "images"),
    ]


def label(r: random.Random, place: Place, folder: Path) -> list[str]:
    number = str(r.choice([0, 7, 49, 50, -1, 10**9, 10**30]))
    word = r.choice([number, f"{number}-{r.randrange(60)}", f"{number},{text(r, 5)}", text(r, 20), ",", "-", "0-", "٣", "1e1"])
    return [
        "sample",
        f"--labels={word}",
        "--run",
        "labels",
        "--count",
        "1",
        "--no-grid",
        "--device",
        "cpu",
        "--output",
        str(folder / "images"),
    ]


def yaml_file(r: random.Random, place: Place, folder: Path) -> list[str]:
    source = (preset_folder() / r.choice(["tiny-stage1.yaml", "tiny-v2.yaml"])).read_bytes()
    if r.random() < 0.5:
        lines = source.decode().splitlines()
        for _ in range(r.randrange(1, 4)):
            where = r.randrange(len(lines))
            lines[where] = r.choice(
                [lines[where].partition(":")[0] + ": " + r.choice(ODD), " " * r.randrange(5) + lines[where].strip(), text(r)]
            )
        data = "\n".join(lines).encode(r.choice(["utf-8", "utf-16", "utf-8-sig"]), "replace")
    else:
        data = damaged(r, source)
    (folder / "p.yaml").write_bytes(data)
    verb = r.choice([["validate"], ["show"], ["cp", str(folder / "q.yaml")]])
    return ["presets", verb[0], str(folder / "p.yaml"), *verb[1:]]


def picture_bytes(r: random.Random) -> tuple[str, bytes]:
    kind = r.choice(["PNG", "JPEG", "BMP", "TIFF", "WEBP", "GIF"])
    mode = r.choice(["RGB", "L", "P", "RGBA", "CMYK", "I;16", "1", "LA"])
    image = Image.fromarray(
        np.random.default_rng(r.randrange(99)).integers(0, 255, (24, r.choice([1, 24, 24, 24, 24, 24, 24, 40]), 3), np.uint8)
    )
    stream = io.BytesIO()
    try:
        image.convert("I" if mode == "I;16" else mode).save(stream, kind)
    except (OSError, ValueError):
        stream = io.BytesIO()
        image.save(stream, "PNG")
        kind = "PNG"
    return {"JPEG": ".jpg", "TIFF": ".tif"}.get(kind, f".{kind.lower()}"), stream.getvalue()


def pictures(r: random.Random, place: Place, folder: Path) -> list[str]:
    for number in range(4):
        suffix, data = picture_bytes(r)
        data = damaged(r, data) if number == 0 else data
        (folder / f"{number}{suffix if r.random() < 0.9 else r.choice(['.png', '.jpg', '.txt'])}").write_bytes(data)
    return [
        "evaluate",
        str(folder),
        "--metric",
        "ms-ssim" if r.random() < 0.3 else "is",
        "--extractor",
        "classifier:judge",
        "--device",
        "cpu",
    ]


def archive(r: random.Random, place: Place, folder: Path) -> list[str]:
    stream = io.BytesIO()
    names = [
        "CUB_200_2011/images.txt",
        "CUB_200_2011/bounding_boxes.txt",
        "CUB_200_2011/images/001.A/a.jpg",
        "CUB_200_2011/images/001.A/b.jpg",
    ]
    names += [
        r.choice(["../../user/notes.txt", str(place.user / "notes.txt"), "CUB_200_2011", "a" * 300, "CUB_200_2011/\udce9", "con\x00"])
    ]
    zipped = r.random() < 0.5
    if zipped:
        with zipfile.ZipFile(stream, "w") as files:
            for name in names:
                files.writestr(name.encode("utf-8", "replace").decode().replace("\x00", ""), text(r).encode("utf-8", "replace"))
    else:
        with tarfile.open(fileobj=stream, mode=r.choice(["w:gz", "w"])) as tar:
            for name in names:
                info = tarfile.TarInfo(name)
                info.type = r.choice([tarfile.REGTYPE, tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
                info.linkname = r.choice(["/etc/passwd", "../../user", names[0]])
                data = text(r).encode("utf-8", "replace") if info.isreg() else b""
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
    data = stream.getvalue() if r.random() < 0.5 else damaged(r, stream.getvalue())
    (folder / r.choice(["CUB_200_2011.tgz", "birds.zip", "CUB_200_2011.zip"])).write_bytes(data)
    return ["prepare", "cub", "--source", str(folder), "--workers", "1", "--name", "from-archive", "--force"]


def weights(r: random.Random, place: Place, folder: Path) -> list[str]:
    source = place.ws / "runs" / r.choice(["words", "judge"]) / r.choice(["weights/latest.safetensors", "state/latest.pt", "config.yaml"])
    data = source.read_bytes()
    head = 4000  # most of what can go wrong is in the header
    data = damaged(r, data[:head]) + data[head:] if r.random() < 0.6 else damaged(r, data)
    path = folder / f"w{r.choice(['.safetensors', '.pt', '.pth', '.t7', '.npz', '.tar', ''])}"
    path.write_bytes(data)
    sample = ["sample", "a bird", "--weights", str(path), "--count", "1", "--device", "cpu", "--output", str(folder / "images")]
    return r.choice([["info", str(path)], ["import", str(path), "--output", str(folder / "o.safetensors")], sample])


KINDS: dict[str, Callable[[random.Random, Place, Path], list[str]]] = {
    "configuration overrides": override,
    "captions": caption,
    "label words": label,
    "YAML files": yaml_file,
    "images": pictures,
    "archives": archive,
    "weights files": weights,
}


def hangs(*_: Any) -> None:
    raise AssertionError(f"not done after {LIMIT_S} s")


@pytest.mark.parametrize("kind", KINDS)
def test_bad_inputs(kind: str, place: Place, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    place.reset()
    monkeypatch.setenv("STACKGAN_OFFLINE", "1")
    monkeypatch.setattr("tempfile.tempdir", str(place.ws))
    outcomes, problems = row(f"bad {kind}"), []
    signal.signal(signal.SIGALRM, hangs)
    cases = [(0, number) for number in KEPT.get(kind, ())] + [(SEED, number) for number in range(max(1, INPUTS // len(KINDS)))]
    for seed, number in cases:
        folder = place.ws / "inputs" / f"{seed}-{number}"
        folder.mkdir(parents=True, exist_ok=True)
        r = random.Random(f"{seed} {kind} {number}")
        words = KINDS[kind](r, place, folder)
        front = ["--workspace", str(place.ws), "--quiet"]
        signal.alarm(LIMIT_S)
        try:
            code = main([*front, *words])
        finally:
            signal.alarm(0)
        err = capfd.readouterr().err
        outcomes[f"exit {code}"] += 1
        if code not in DOCUMENTED or "Traceback" in err or not place.untouched():
            problems.append((seed, number, words, code, err[-300:]))
    assert not problems, "\n".join(map(str, problems))
