"""One process trains a run: the second is refused, a killed one leaves nothing behind, with and without locks of the file system."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from stackgan_cli import locks
from stackgan_cli.__main__ import main
from stackgan_cli.errors import MismatchError
from stackgan_cli.locks import exclusive
from stackgan_cli.runs import Run
from stackgan_cli.workspace import Workspace

HOLD = """
import sys, time
from pathlib import Path
import fcntl
if sys.argv[2] == "none":
    def flock(*_): raise OSError(38, "Function not implemented")
    fcntl.flock = flock
from stackgan_cli.locks import exclusive
with exclusive(Path(sys.argv[1]), "run"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=["flock", "none"])
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file system with locks, and one without."""
    if request.param == "none":

        def flock(*_: Any) -> None:
            raise OSError(errno.ENOSYS, "Function not implemented")

        monkeypatch.setattr(fcntl, "flock", flock)
    return str(request.param)


def held_elsewhere(path: Path, kind: str) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path), kind], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_the_second_is_refused_by_name_and_a_killed_holder_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "run" / "lock"
    holder = held_elsewhere(path, kind)
    with pytest.raises(MismatchError, match=f"process {holder.pid} on "), exclusive(path, "run"):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with exclusive(path, "run"), pytest.raises(MismatchError, match=f"process {os.getpid()} on "), exclusive(path, "run"):
        pass
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "dead"),
    [({}, False), ({"started": "1"}, True), ({"pid": 2**22 + 1}, True), ({"host": "another"}, False), ({"pid": "?"}, False)],
)
def test_which_holders_are_dead(change: dict[str, object], dead: bool) -> None:
    assert locks._is_dead(json.loads(locks._me()) | change) is dead


def test_a_run_that_is_being_trained_is_refused(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--preset", "tiny-dcgan", "train.steps=2", "--device", "cpu", "--quiet", "--workspace", str(workspace.root)]
    run = Run(workspace.run_folder("tiny-dcgan-demo"))
    with run.lock():
        assert main(words) == 5
    assert f"process {os.getpid()}" in capsys.readouterr().err
    assert not (run.folder / "config.yaml").exists()
    assert main(words) == 0
    with run.lock():
        assert main(words) == 0  # it is finished: nothing is written
    assert not (run.folder / "lock").exists()
