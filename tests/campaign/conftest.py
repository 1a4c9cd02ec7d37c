"""The campaign's workspace, its sizes, how it runs the program, and the table that it prints at the end."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

SEED = int(os.environ.get("CAMPAIGN_SEED", "0"))
KILLS = int(os.environ.get("CAMPAIGN_KILLS", "18"))
"""Kills, over all subcommands that write."""
INPUTS = int(os.environ.get("CAMPAIGN_INPUTS", "140"))
"""Generated bad inputs, over all kinds."""
PAIRS = int(os.environ.get("CAMPAIGN_PAIRS", "6"))
"""Pairs of subcommands that run at the same time; 21 are all of them."""

TRAIN = ["train.steps=12", "train.tick_steps=2", "samples.rows=1", "samples.columns=2", "--device", "cpu"]
ROWS: list[tuple[str, Counter[str]]] = []
"""The lines of the table: what was tried, and how often each outcome occurred."""
VOLATILE = {"images_per_second", "time"}
"""Keys of log lines that are measured, not computed."""


def row(name: str) -> Counter[str]:
    """A new line of the table."""
    ROWS.append((name, Counter()))
    return ROWS[-1][1]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not ROWS:
        return
    terminalreporter.write_line(f"\nseed {SEED}\n\n| tried | count | outcomes |\n|---|---|---|")
    for name, outcomes in ROWS:
        cells = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items(), key=lambda item: (-item[1], item[0])))
        terminalreporter.write_line(f"| {name} | {outcomes.total()} | {cells} |")


def start(words: Sequence[str], log: Path) -> int:
    """Start the program in a forked process, which spares the second that its imports take; returns the process id."""
    from stackgan_cli.__main__ import main

    child = os.fork()
    if child:
        return child
    code = 1
    try:
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        import sys

        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", buffering=1, closefd=False)
        code = main(words)
        sys.stdout.flush()
    finally:
        os._exit(code)


def end(child: int, limit: float = 300.0) -> int:
    """Wait for a process; returns its exit code, or minus the number of the signal that ended it."""
    until = time.monotonic() + limit
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise AssertionError("the program hangs")


def run(words: Sequence[str], log: Path) -> int:
    """The exit code of the program."""
    return end(start(words, log))


def _lines(path: Path) -> list[Any]:
    """The lines of a log without what is measured. Equal lines count once: a killed command that is repeated may add them twice."""
    found: list[Any] = []
    for line in path.read_text().splitlines():
        entry = {key: value for key, value in json.loads(line).items() if key not in VOLATILE}
        if entry not in found:
            found.append(entry)
    return found


def _h5(path: Path) -> str:
    import h5py

    digest = hashlib.sha256()

    def visit(name: str, item: Any) -> None:
        digest.update(f"{name} {sorted((key, str(value)) for key, value in item.attrs.items())}".encode())
        if isinstance(item, h5py.Dataset):
            value = item[()]
            digest.update(value.tobytes() if value.dtype != object else repr(value.tolist()).encode())

    with h5py.File(path) as file:
        file.visititems(visit)
    return digest.hexdigest()


def contents(root: Path) -> dict[str, Any]:
    """What every file below a folder says; temporary and lock files, and the description of the machine, are left out."""
    found: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        if not path.is_file() or path.name.startswith(".") or path.suffix == ".lock" or path.name == "environment.json":
            continue
        name = str(path.relative_to(root))
        if path.suffix == ".h5":
            found[name] = _h5(path)
        elif path.suffix == ".jsonl":
            found[name] = _lines(path)
        elif path.suffix == ".pt":
            import torch

            found[name] = repr(torch.load(path, weights_only=True).get("step"))  # the weights are compared byte by byte
        elif path.suffix == ".html":
            found[name] = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d", "", path.read_text())  # the time at which the page was made
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


class Place:
    """A workspace that can be put back to its beginning, beside a folder that nothing may change."""

    def __init__(self, base: Path, root: Path) -> None:
        self.base, self.root = base, root
        self.ws, self.user, self.log = root / "ws", root / "user", root / "log.txt"
        self.user.mkdir(parents=True)
        for name in ("photograph.png", "notes.txt"):
            (self.user / name).write_bytes(os.urandom(100))
        self._before = contents(self.user)

    def reset(self) -> None:
        """Put the workspace back; the log begins anew."""
        shutil.rmtree(self.ws, ignore_errors=True)
        shutil.copytree(self.base, self.ws)
        with contextlib.suppress(FileNotFoundError):
            self.log.unlink()

    def untouched(self) -> bool:
        """Whether nothing outside the workspace has changed."""
        return contents(self.user) == self._before and {path.name for path in self.root.iterdir()} <= {"ws", "user", "log.txt", "cwd"}

    def verbs(self) -> dict[str, list[str]]:
        """The subcommands that write, each with arguments for this workspace."""
        from stackgan_cli.workflows import sample  # noqa: F401 - imported before a process is forked

        where = ["--workspace", str(self.ws), "--quiet"]
        cpu, output = ["--device", "cpu"], str(self.ws / "images")
        encoder = str(next((self.ws / "encoders").glob("*.safetensors")))
        found = {
            "prepare": ["prepare", "demo", "--name", "more", "--count", "100", "--species", "50", "--image-size", "76", "--workers", "1"],
            "encode-text": ["encode-text", "plain", "--encoder", encoder, *cpu],
            "train": ["train", "--preset", "tiny-stage1", "--name", "another", *TRAIN],
            "sample": ["sample", "a red bird", "--run", "words", "--count", "8", "--seed", "3", "--output", output, *cpu],
            "evaluate": ["evaluate", "words", "-m", "fid", "--extractor", "classifier:judge", "--count", "64", *cpu],
            "report": ["report", "words"],
        }
        if "--overwrite" in _help("sample"):
            found["sample"].append("--overwrite")
        return {verb: [*words, *where] for verb, words in found.items()}


def _help(verb: str) -> str:
    from stackgan_cli.cli import sample

    return str(sample.sample.__annotations__) if verb == "sample" else ""


@pytest.fixture(scope="session")
def base(_prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prepared workspace with trained runs, and a cache `plain` without embeddings."""
    from stackgan_cli.__main__ import main

    root = tmp_path_factory.mktemp("campaign") / "base"
    shutil.copytree(_prepared, root)
    shared = ["--workspace", str(root), "--quiet"]
    plain = ["prepare", "demo", "--name", "plain", "--count", "100", "--species", "50", "--image-size", "76", "--workers", "1"]
    assert main([*plain, *shared]) == 0
    quick = [*TRAIN, "train.steps=4"][1:]
    for words in (
        ["tiny-classifier", "--name", "judge", *quick],
        ["tiny-v2", "--name", "labels", "model.condition=class", "model.num_classes=50", "requires.text_encoder=null", *quick],
        ["tiny-stage1", "--name", "words", *quick],
    ):
        assert main(["train", "--preset", *words, *shared]) == 0
    return root


@pytest.fixture
def place(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    made = Place(base, tmp_path)
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    return made
