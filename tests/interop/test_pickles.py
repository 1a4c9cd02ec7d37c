"""Pickles of the published datasets are read; pickles that are damaged or would run code are rejected."""

from __future__ import annotations

import io
import os
import pickle
import random
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stackgan_cli.errors import DataError, EnvironmentProblem, UsageError
from stackgan_cli.interop.pickles import read_network, read_pickle, read_state_dict
from stackgan_cli.runs import Run
from stackgan_cli.safety import is_safe


class Attack:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("protocol", [0, 1, 2, 4])
def test_what_the_published_datasets_hold(tmp_path: Path, protocol: int) -> None:
    value = {
        "names": ["002.Laysan_Albatross/Laysan_Albatross_0002_1027", "é"],
        "embeddings": [np.arange(12, dtype=np.float32).reshape(3, 4), np.asfortranarray(np.eye(3))],
        "classes": (1, 2, np.int64(3), np.float32(0.5)),
    }
    path = tmp_path / "filenames.pickle"
    path.write_bytes(pickle.dumps(value, protocol))
    found = read_pickle(path)
    assert found["names"] == value["names"] and found["classes"] == value["classes"]
    for ours, theirs in zip(found["embeddings"], value["embeddings"], strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype


def test_python_2_strings(tmp_path: Path) -> None:
    path = tmp_path / "filenames.pickle"
    path.write_bytes(b"(lp0\nS'001.Black_footed_Albatross'\np1\naS'caf\\xe9'\np2\na.")
    assert read_pickle(path) == ["001.Black_footed_Albatross", "café"]


def test_python_2_array(tmp_path: Path) -> None:
    path = tmp_path / "embeddings.pickle"
    head = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR"
    path.write_bytes(
        head + b"(I1\n(I2\ntcnumpy\ndtype\n(S'f4'\nI0\nI1\ntR(I3\nS'<'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\x00\\x00\\x80?\\x00\\x00\\x00@'\ntb."
    )
    np.testing.assert_array_equal(read_pickle(path), np.array([1, 2], np.float32))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_is_refused(tmp_path: Path, protocol: int) -> None:
    path = tmp_path / "filenames.pickle"
    path.write_bytes(pickle.dumps(["a", Attack(tmp_path / "made")], protocol))
    with pytest.raises(DataError, match=r"mkdir.*rejected"):
        read_pickle(path)
    assert not (tmp_path / "made").exists()


def test_checkpoint_with_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save({"net": Attack(tmp_path / "made")}, path)
    with pytest.raises(DataError, match="rejected"):
        read_state_dict(path)
    assert not (tmp_path / "made").exists()


def test_a_hostile_shape_allocates_nothing(tmp_path: Path) -> None:
    path = tmp_path / "bomb.pickle"
    path.write_bytes(b"cnumpy\nndarray\n((I1000000\nI1000000\nttR.")
    with pytest.raises(DataError):
        read_pickle(path)


def test_damaged_pickles(tmp_path: Path) -> None:
    data = pickle.dumps({"names": ["a", "b"] * 5, "array": np.arange(10.0)}, 2)
    path, rng = tmp_path / "damaged.pickle", random.Random(0)
    for _ in range(300):
        damaged = bytearray(data)
        if rng.random() < 0.5:
            del damaged[rng.randrange(len(data)) :]
        else:
            damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            read_pickle(path)
        except DataError as error:
            assert error.where == str(path)


def test_state_dicts(tmp_path: Path) -> None:
    path, state = tmp_path / "net.pth", {"a.weight": torch.ones(2, 3), "a.bias": torch.zeros(2)}
    torch.save({f"module.{key}": value for key, value in state.items()}, path)
    assert read_state_dict(path).keys() == state.keys()
    torch.save({"epoch": 3, "state_dict": state}, path)
    assert torch.equal(read_state_dict(path)["a.weight"], state["a.weight"])


def test_files_without_a_state_dict(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save([1, 2], path)
    with pytest.raises(DataError, match="no state dict"):
        read_state_dict(path)
    torch.save({"a": torch.ones(3)}, path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError):
        read_state_dict(path)
    path.write_bytes(b"")
    with pytest.raises(DataError):
        read_state_dict(path)
    with pytest.raises(UsageError):
        read_state_dict(tmp_path / "absent.pth")


STATE = {"a.weight": torch.linspace(-2, 2, 6).view(2, 3), "a.bias": torch.zeros(2), "a.count": torch.tensor(7)}
OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.float32])
@pytest.mark.parametrize("legacy", [True, False])
def test_any_precision_becomes_float32(tmp_path: Path, dtype: torch.dtype, legacy: bool) -> None:
    state = {key: value.to(dtype) if value.is_floating_point() else value for key, value in STATE.items()}
    torch.save(state, tmp_path / "net.pth", _use_new_zipfile_serialization=not legacy)
    read = read_state_dict(tmp_path / "net.pth")
    assert [value.dtype for value in read.values()] == [torch.float32, torch.float32, torch.int64]
    assert torch.equal(read["a.weight"], STATE["a.weight"].to(dtype).float())


@pytest.mark.parametrize(
    ("wrap", "step"),
    [
        (lambda state: {"state_dict": state, "optimizer": OPTIMIZER, "epoch": 90}, 90),
        (lambda state: {"model": state, "optimizer": OPTIMIZER, "global_step": torch.tensor(5), "epoch": 90}, 5),
        (lambda state: {"generator": state, "discriminator": {"b": torch.ones(1)}}, None),
        (lambda state: {"netG": state, "netD": {"b": torch.ones(1)}, "optimG": OPTIMIZER, "iter": 3}, 3),
        (lambda state: {"g": {"a.weight": torch.ones(1)}, "g_ema": state, "d": {"b": torch.ones(1)}}, None),
        (lambda state: {"model": {"state_dict": {"netG": state}}, "step": True}, None),
        (lambda state: {"mine": state, "optimizer": OPTIMIZER}, None),
        (lambda state: {f"_orig_mod.{key}": value for key, value in state.items()}, None),
        (lambda state: {f"module._orig_mod.{key}": value for key, value in state.items()}, None),
        (lambda state: {f"_orig_mod.module.{key}": value for key, value in state.items()}, None),
        (lambda state: {key.replace("a.", "a._orig_mod."): value for key, value in state.items()}, None),
    ],
)
def test_what_surrounds_a_network(tmp_path: Path, wrap: Callable[[Any], Any], step: int | None) -> None:
    torch.save(wrap(STATE), tmp_path / "net.pth")
    state, found = read_network(tmp_path / "net.pth")
    assert state.keys() == STATE.keys() and all(torch.equal(state[key], STATE[key]) for key in STATE) and found == step


def old_tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty file"),
        (b"<!DOCTYPE html><html>Virus scan warning", "web page"),
        (b"\n  <html><body>Quota exceeded", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 42\n", "LFS pointer"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "PNG image"),
        (b"\xff\xd8\xff\xe0" + bytes(40), "JPEG image"),
        (b"\x89HDF\r\n\x1a\n" + bytes(40), "HDF5"),
        (b"\x1f\x8b\x08" + bytes(40), "gzip"),
        (b"hello, this is text", "text file"),
        (old_tar(), r"before 0\.1\.10"),
        (random.Random(0).randbytes(3000), "damaged"),
    ],
)
def test_files_of_another_kind_are_named(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(DataError, match=says) as caught:
        read_state_dict(tmp_path / "net.pth")
    assert caught.value.hint and "weights_only" not in caught.value.message


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("part", [0.02, 0.3, 0.6, 0.9, 0.99])
def test_cut_off_checkpoints(tmp_path: Path, legacy: bool, part: float) -> None:
    path = tmp_path / "net.pth"
    torch.save({f"layer{i}": torch.ones(100, 10) for i in range(10)}, path, _use_new_zipfile_serialization=not legacy)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    with pytest.raises(DataError, match=r"damaged|readable"):
        read_state_dict(path)


@pytest.mark.parametrize("kind", ["expanded", "sparse", "quantized", "complex", "trailing", "twice", "script"])
@pytest.mark.filterwarnings("ignore")
def test_hostile_checkpoints(tmp_path: Path, kind: str) -> None:
    path, tensor = tmp_path / "net.pth", torch.ones(2, 3)
    match kind:
        case "expanded":  # a number that claims to be a terabyte
            tensor = torch.ones(1).expand(2**38)
        case "sparse":
            tensor = tensor.to_sparse()
        case "quantized":
            tensor = torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)
        case "complex":
            tensor = tensor + 1j
    torch.save({"a": tensor}, path)
    if kind == "trailing":
        path.write_bytes(path.read_bytes() + b"more")
    if kind == "twice":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(archive.namelist()[0], b"other")
    if kind == "script":
        torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))
    with pytest.raises(DataError):
        read_state_dict(path)


def test_an_old_pytorch_opens_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(STATE, tmp_path / "net.pth")
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    with pytest.raises(EnvironmentProblem, match=r"2\.9\.1.*corrupt memory"):
        read_state_dict(tmp_path / "net.pth")
    run = Run(tmp_path / "run")
    run.state_path.parent.mkdir(parents=True)
    torch.save(STATE, run.state_path)
    with pytest.raises(EnvironmentProblem, match=r"2\.9\.1"):
        run.load_state()
    assert [is_safe(version) for version in ("2.5.1", "2.9.0", "2.10.0", "2.14.1+cu130", "3.0")] == [False, False, True, True, True]
