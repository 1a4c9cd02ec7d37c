"""Batches that cannot be trained on are configuration errors before anything starts."""

from __future__ import annotations

import re
from pathlib import Path

import h5py
import pytest

from stackgan_cli.__main__ import main
from stackgan_cli.config.presets import load_config
from stackgan_cli.errors import ConfigError
from stackgan_cli.training.batches import check_batches, memory_hint
from stackgan_cli.workflows import train as workflow
from stackgan_cli.workspace import Workspace


@pytest.mark.parametrize("preset", ["tiny-stage1", "tiny-stage2", "tiny-v2", "tiny-hdgan", "tiny-dcgan", "tiny-classifier"])
@pytest.mark.parametrize(
    ("batch", "accumulate", "ranks", "problem"),
    [
        (1, 1, 1, "batch statistics need at least 2 images in a batch, not 1"),
        (4, 4, 1, "at least 2 images in a batch or part of one, not 1"),
        (4, 2, 2, "at least 2 images in a batch or part of one, not 1"),
        (2, 1, 2, "not 1 (processes: 2, train.accumulate=1)"),
        (5, 1, 2, "a batch of 5 images cannot be divided into 2 equal parts"),
        (2, 2, 3, "a batch of 2 images cannot be divided into 6 equal parts"),
        (2, 1, 1, ""),
        (8, 2, 2, ""),
        (7, 1, 1, ""),
    ],
)
def test_parts_of_a_batch(preset: str, batch: int, accumulate: int, ranks: int, problem: str) -> None:
    config = load_config(preset, [f"train.batch_size={batch}", f"train.accumulate={accumulate}"])
    if not problem:
        check_batches(config, ranks)
        return
    with pytest.raises(ConfigError, match=re.escape(problem)) as caught:
        check_batches(config, ranks)
    proposed = int(caught.value.hint.rpartition("=")[2])
    check_batches(load_config(preset, [f"train.batch_size={proposed}", f"train.accumulate={accumulate}"]), ranks)


def test_classes_of_a_batch() -> None:
    with pytest.raises(ConfigError, match="at least two classes"):
        check_batches(load_config("tiny-stage1"), classes=1)
    check_batches(load_config("tiny-stage1", ["model.wrong_pairs=none"]), classes=1)
    encoder = load_config("tiny-encoder", ["train.batch_size=10"])
    check_batches(encoder, 2, classes=4)
    for ranks, classes, problem in ((1, 1, "not 1 (one per class)"), (2, 3, "a batch of 3 images (one per class) cannot be divided")):
        with pytest.raises(ConfigError, match=re.escape(problem)):
            check_batches(encoder, ranks, classes)


@pytest.mark.parametrize("batch", [2, 3, 4, 6, 7, 12, 30, 64])
@pytest.mark.parametrize(("accumulate", "ranks"), [(1, 1), (2, 1), (1, 2), (3, 1)])
def test_what_is_proposed_for_a_lack_of_memory_works(batch: int, accumulate: int, ranks: int) -> None:
    size = batch * accumulate * ranks
    hint = memory_hint(load_config("tiny-dcgan", [f"train.batch_size={size}", f"train.accumulate={accumulate}"]), ranks, on_gpu=False)
    words = re.findall(r"train\.\w+=\d+", hint)
    for word in words:
        check_batches(load_config("tiny-dcgan", list({"train.batch_size": f"train.batch_size={size}", "train.accumulate":
            f"train.accumulate={accumulate}", word.partition("=")[0]: word}.values())), ranks)  # fmt: skip
    assert words or batch < 4
    assert not words or batch > 2
    assert "cuda_graphs" not in hint


def test_nothing_is_made_for_a_batch_of_one(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--preset", "tiny-stage1", "train.batch_size=1", "--device", "cpu", "--workspace", str(workspace.root)]
    for more in ([], ["--dry-run"]):
        assert main([*words, *more]) == 3
        assert "batch statistics" in capsys.readouterr().err
    assert not workspace.runs.exists()


def test_a_cache_of_one_class(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    path = workspace.cache_path("demo")
    copy = path.read_bytes()
    path.unlink()  # which is a hard link
    path.write_bytes(copy)
    with h5py.File(path, "r+") as file:
        file["class_ids"][...] = 0
    words = ["train", "--preset", "tiny-stage1", "requires.text_encoder=null", "--device", "cpu", "--workspace", str(workspace.root)]
    assert main(words) == 3
    assert "model.wrong_pairs: mismatched pairs need" in capsys.readouterr().err


def test_out_of_memory_while_training(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def run_loop(*_: object, **__: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes")

    monkeypatch.setattr(workflow, "run_loop", run_loop)
    words = ["train", "--preset", "tiny-dcgan", "train.batch_size=9", "--device", "cpu", "--workspace", str(workspace.root)]
    assert main(words) == 6
    found = capsys.readouterr().err
    assert "out of memory" in found and "start a new run (--name) with train.accumulate=3 or train.batch_size=4" in found
    assert not Path(workspace.runs / "tiny-dcgan-demo" / "lock").exists()
