"""Pickles of the published datasets are read; pickles that are damaged or would run code are rejected."""

from __future__ import annotations

import os
import pickle
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from stackgan_cli.errors import DataError, UsageError
from stackgan_cli.interop.pickles import read_pickle, read_state_dict


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
