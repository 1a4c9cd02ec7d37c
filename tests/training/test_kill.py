"""A run that is killed at any moment ends with the same bits: at random times, while writing, around the rename, by SIGTERM."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stackgan_cli.workspace import Workspace

COMMAND = [
    "train",
    "--preset",
    "tiny-stage1",
    "requires.text_encoder=null",
    "train.steps=40",
    "train.tick_steps=4",
    "train.ema=0.9",
    "samples.rows=1",
    "samples.columns=1",
    "--device",
    "cpu",
]
RUN = "tiny-stage1-demo"

DRIVER = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
import stackgan_cli.training.loop as loop
loop.train.__kwdefaults__["save_seconds"] = 0.0  # a state at every tick
loop.SETTLING_IMAGES = 32
moment, countdown = sys.argv[1], int(sys.argv[2])

def strike(*_):
    global countdown
    countdown -= 1
    if countdown == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def is_state(path):
    return Path(path).parent.name == "state"

rename, save = Path.replace, torch.save
if moment == "before-rename":
    Path.replace = lambda self, target: (is_state(target) and strike(), rename(self, target))[1]
elif moment == "after-rename":
    Path.replace = lambda self, target: (rename(self, target), is_state(target) and strike())[0]
elif moment == "while-writing":
    def half(value, path):
        save(value, path)
        os.truncate(path, os.path.getsize(path) // 2)
        strike()
        save(value, path)
    torch.save = half
from stackgan_cli.__main__ import main
sys.exit(main(sys.argv[3:]))
"""


def start(workspace: Workspace, moment: str = "never", countdown: int = 0) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-c", DRIVER, moment, str(countdown), *COMMAND, "--workspace", str(workspace.root)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)


def finished_weights(workspace: Workspace) -> bytes:
    """Run the command to its end and return the weights file."""
    assert start(workspace).wait(120) == 0
    return (workspace.runs / RUN / "weights" / "latest.safetensors").read_bytes()


@pytest.fixture(scope="module")
def undisturbed(_prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    root = tmp_path_factory.mktemp("undisturbed")
    for folder in ("caches", "encoders"):
        (root / folder).symlink_to(_prepared / folder)
    return finished_weights(Workspace(root))


def check_injected(workspace: Workspace, undisturbed: bytes, moment: str, countdown: int) -> None:
    assert start(workspace, moment, countdown).wait(120) == -signal.SIGKILL
    assert finished_weights(workspace) == undisturbed


def test_killed_before_a_state_is_renamed(workspace: Workspace, undisturbed: bytes) -> None:
    check_injected(workspace, undisturbed, "before-rename", 3)


@pytest.mark.slow
@pytest.mark.parametrize("countdown", [1, 2, 10])
@pytest.mark.parametrize("moment", ["while-writing", "before-rename", "after-rename"])
def test_killed_around_a_state(workspace: Workspace, undisturbed: bytes, moment: str, countdown: int) -> None:
    check_injected(workspace, undisturbed, moment, countdown)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(10))
def test_killed_at_a_random_moment(workspace: Workspace, undisturbed: bytes, number: int) -> None:
    process = start(workspace)
    time.sleep(random.Random(number).uniform(0.5, 8.0))
    process.kill()
    process.wait(60)
    assert finished_weights(workspace) == undisturbed


@pytest.mark.slow
def test_sigterm_saves_first(workspace: Workspace, undisturbed: bytes) -> None:
    process = start(workspace)
    log = workspace.runs / RUN / "log.jsonl"
    while not log.is_file() or not log.read_text():
        assert process.poll() is None
        time.sleep(0.01)
    process.terminate()
    assert process.wait(60) == 143
    assert finished_weights(workspace) == undisturbed
