"""Writing: every library's way of reporting a full disk is exit 6, and what was there before stays."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import SafetensorError

from stackgan_cli.__main__ import main
from stackgan_cli.errors import EnvironmentProblem
from stackgan_cli.files import replacing
from stackgan_cli.runs import Run, Weights
from stackgan_cli.workspace import Workspace


def write_h5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros(1 << 20)


def fail_as_safetensors(path: Path) -> None:
    raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")


WRITERS: dict[str, Callable[[Path], object]] = {
    "text": lambda path: path.write_text("x" * (1 << 20)),
    "torch": lambda path: torch.save({"x": torch.zeros(1 << 20)}, path),
    "safetensors": fail_as_safetensors,  # which replaces the link to the full device
    "hdf5": write_h5,
    "png": lambda path: Image.fromarray(np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8)).save(path, format="PNG"),
    "jpeg": lambda path: Image.fromarray(np.zeros((512, 512, 3), np.uint8)).save(path, format="JPEG"),
}


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_keeps_the_file_and_is_exit_6(writer: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("good")
    with pytest.raises(EnvironmentProblem, match="the disk is full") as caught, replacing(path) as temporary:
        temporary.symlink_to("/dev/full")
        WRITERS[writer](temporary)
    assert caught.value.code == 6
    assert path.read_text() == "good" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_when_the_file_is_synced(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(EnvironmentProblem, match="the disk is full"), replacing(tmp_path / "file") as temporary:
        temporary.write_text("new")
    assert list(tmp_path.iterdir()) == []


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="a bug"), replacing(tmp_path / "file"):
        raise RuntimeError("a bug")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_another_process_removed(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "file"
    with pytest.raises(EnvironmentProblem, match="removed meanwhile"), replacing(path) as temporary:
        shutil.rmtree(path.parent)
        torch.save({}, temporary)


@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.ENOSYS, errno.EPERM, errno.EMLINK, errno.EXDEV])
def test_weights_on_a_disk_without_hard_links(number: int, workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", link)
    words = ["train", "--preset", "tiny-dcgan", "train.steps=4", "train.tick_steps=2", "train.weights_every=1", "train.keep_weights=1"]
    assert main([*words, "--device", "cpu", "--quiet", "--workspace", str(workspace.root)]) == 0
    latest = Run(workspace.run_folder("tiny-dcgan-demo")).latest_weights()
    assert latest is not None and Weights.open(latest).step == 4
    assert sorted(path.name for path in latest.parent.iterdir()) == ["latest.safetensors", "step-00000004.safetensors"]
