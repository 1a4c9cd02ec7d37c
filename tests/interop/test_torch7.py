"""The .t7 reader against files written here: values, sharing, strides, published networks; and bad files raise only DataErrors."""

from __future__ import annotations

import random
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published_net import document_encoder, draw_weights, encode
from t7_writer import Obj, View, to_t7

from stackgan_cli.encoders.text_encoder import load_text_encoder
from stackgan_cli.errors import DataError, MismatchError, UsageError, UserError
from stackgan_cli.interop.torch7 import Table, TorchFunction, TorchObject, TorchTensor, read_t7
from stackgan_cli.models.char_cnn_rnn import CharCNNRNN
from stackgan_cli.text.alphabet import encode as encode_text


def read(tmp_path: Path, data: bytes) -> Any:
    path = tmp_path / "file.t7"
    path.write_bytes(data)
    return read_t7(path)


@pytest.mark.parametrize("value", [None, True, False, 3.25, -7.0, "", "protos", "naïve"])
def test_plain_values(tmp_path: Path, value: object) -> None:
    found = read(tmp_path, to_t7(value))
    assert found == value and type(found) is type(value)


def test_nested_tables(tmp_path: Path) -> None:
    root = read(tmp_path, to_t7({"a": [1.5, "x", [True]], 2: {"b": None}, 0.5: "half"}))
    assert isinstance(root, Table) and set(root) == {"a", 2, 0.5}
    assert root["a"].array()[:2] == [1.5, "x"] and root["a"][3][1] is True
    assert root[2]["b"] is None


def test_shared_references_and_cycles(tmp_path: Path) -> None:
    weight = np.arange(4, dtype=np.float32)
    inner: dict[str, Any] = {"weight": weight}
    inner["self"] = inner
    root = read(tmp_path, to_t7({"one": inner, "two": inner, "weight": weight}))
    assert root["one"] is root["two"] is root["one"]["self"]
    assert root["weight"] is root["one"]["weight"]


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "i8", "i4", "u1"])
def test_tensors_of_every_type(tmp_path: Path, dtype: str) -> None:
    array = (np.arange(24).reshape(2, 3, 4) * 1.5).astype(dtype)
    found = read(tmp_path, to_t7(array)).numpy()
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


def test_strides_offset_and_a_shared_storage(tmp_path: Path) -> None:
    storage = np.arange(60, dtype=np.float32)
    turned = View(storage, (4, 3), (1, 5), 7)
    whole = View(storage, (60,), (1,))
    root = read(tmp_path, to_t7({"turned": turned, "whole": whole, "none": View(storage, (), (), 0)}))
    expected = np.array([[storage[7 + i + 5 * j] for j in range(3)] for i in range(4)])
    np.testing.assert_array_equal(root["turned"].numpy(), expected)
    assert root["turned"].storage is root["whole"].storage
    assert root["none"].numpy().shape == (0,)


def test_objects_with_and_without_a_version(tmp_path: Path) -> None:
    for versioned in (True, False):
        found = read(tmp_path, to_t7(Obj("nn.Linear", {"weight": np.ones((2, 3))}), versioned=versioned))
        assert isinstance(found, TorchObject) and found.class_name == "nn.Linear"
        assert found.get("weight").numpy().shape == (2, 3) and found.get("bias") is None


def test_functions_are_skipped(tmp_path: Path) -> None:
    table = struct.pack("<iiid", 3, 1, 2, 0.0)[:12]
    key = to_t7("f") + struct.pack("<iii", 8, 2, 5) + b"\x1bLJ\x01\x00" + to_t7(None)
    plain = to_t7("g") + struct.pack("<ii", 6, 3) + b"abc" + to_t7(None)
    root = read(tmp_path, table + key + plain)
    assert isinstance(root["f"], TorchFunction) and isinstance(root["g"], TorchFunction)


def test_text_renamed_t7(tmp_path: Path) -> None:
    for text in (b"This is a bird with a red crown\nanother caption", b"<!DOCTYPE html><html>", b"4\n1\n3\nV 1\n"):
        with pytest.raises(DataError, match="text file") as caught:
            read(tmp_path, text)
        assert "file.t7" in caught.value.where and caught.value.hint


def test_unknown_tag_and_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unknown type tag 77 at byte 0"):
        read(tmp_path, struct.pack("<ii", 77, 0))
    with pytest.raises(UsageError):
        read_t7(tmp_path / "absent.t7")
    with pytest.raises(DataError, match="ends early"):
        read(tmp_path, b"")


def test_announced_sizes_are_not_believed(tmp_path: Path) -> None:
    version = struct.pack("<ii", 4, 1) + struct.pack("<i", 3) + b"V 1"

    def torch_object(name: bytes, payload: bytes) -> bytes:
        return version + struct.pack("<i", len(name)) + name + payload

    huge = [
        struct.pack("<ii", 2, 2**31 - 1),
        struct.pack("<ii", 2, -5),
        struct.pack("<iii", 3, 1, 2**31 - 1),
        torch_object(b"torch.FloatStorage", struct.pack("<q", 2**61)),
        torch_object(b"torch.FloatStorage", struct.pack("<q", -1)),
        torch_object(b"torch.FloatTensor", struct.pack("<i", 2**30)),
        torch_object(b"torch.FloatTensor", struct.pack("<i", 33) + b"\0" * 1000),
        torch_object(b"torch.FloatTensor", struct.pack("<i", -1)),
    ]
    for data in huge:
        with pytest.raises(DataError):
            read(tmp_path, data)


@pytest.mark.parametrize(
    ("sizes", "strides", "offset"),
    [
        ((11,), (1,), 0),
        ((2, 5), (6, 1), 0),
        ((3,), (1,), 8),
        ((3,), (-1,), 5),
        ((-3,), (1,), 0),
        ((2**40, 2**40), (0, 0), 0),
        ((5,), (1,), -3),
    ],
)
def test_tensors_outside_their_storage(tmp_path: Path, sizes: tuple[int, ...], strides: tuple[int, ...], offset: int) -> None:
    tensor = read(tmp_path, to_t7(View(np.zeros(10, np.float32), sizes, strides, offset)))
    assert isinstance(tensor, TorchTensor)
    with pytest.raises(DataError, match="storage"):
        tensor.numpy()


def test_deep_nesting_needs_no_recursion(tmp_path: Path) -> None:
    depth = 50_000
    data = b"".join(struct.pack("<iii", 3, level + 1, 1) + struct.pack("<id", 1, 1.0) for level in range(depth)) + to_t7(None)
    root, levels = read(tmp_path, data), 0
    while isinstance(root, Table):
        root, levels = root[1], levels + 1
    assert levels == depth


# -- published networks -------------------------------------------------------------------------------------------------------

CAPTION = "the bird's bill is short & 2-toned"


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("bare", [False, True])
def test_published_layout_gives_the_vectors_of_a_direct_computation(tmp_path: Path, gated: bool, bare: bool) -> None:
    weights = draw_weights(gated, (9, 10), 8, 12)
    net = document_encoder(weights, gated)
    path = tmp_path / "lm_sje.t7"
    path.write_bytes(
        to_t7(net if bare else {"protos": {"enc_doc": net, "enc_image": Obj("nn.gModule", {})}, "opt": {"seed": 123}, "i": 30000})
    )
    config, state = load_text_encoder(path)
    assert config.variant == ("icml-cub" if gated else "cvpr")
    assert (config.text_dim, config.conv_dims, config.rnn_dim) == (12, (9, 10), 8)
    network = CharCNNRNN(config.variant, config.text_dim, config.conv_dims, config.rnn_dim)
    network.load_state_dict(state)
    codes = encode_text(CAPTION)
    with torch.no_grad():
        vector = network(torch.from_numpy(codes)[None])[0].numpy()
    np.testing.assert_allclose(vector, encode(weights, gated, codes), rtol=1e-4, atol=1e-5)


def test_other_networks_are_refused(tmp_path: Path) -> None:
    weights = draw_weights(True, (9, 10), 8, 12)
    linear = document_encoder(weights, True)
    linear.fields["modules"][5] = Obj("nn.Tanh", {})
    for root, word in (
        (Obj("nn.gModule", {"modules": []}), "no module"),
        ({"opt": {}}, "not a char-CNN-RNN"),
        (3.0, "not a char-CNN-RNN"),
        (document_encoder(weights, True, averaged=False), "last hidden state"),
        (linear, "found nn.Tanh"),
    ):
        path = tmp_path / "net.t7"
        path.write_bytes(to_t7(root))
        with pytest.raises(MismatchError, match=word):
            load_text_encoder(path)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files_only_ever_give_user_errors(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    net = document_encoder(draw_weights(bool(seed % 2), (3, 4), 3, 5), bool(seed % 2))
    data = to_t7({"protos": {"enc_doc": net}, "opt": {"name": "lm_sje", "seed": 123}, "losses": np.arange(5.0)})
    path = tmp_path / "net.t7"
    refused = 0
    for _ in range(150):
        damaged = bytearray(data)
        if rng.random() < 0.4:
            del damaged[rng.randrange(len(data)) :]
        else:
            for _ in range(rng.choice((1, 1, 3, 20))):
                damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        path.write_bytes(damaged)
        try:
            read_t7(path)
        except DataError:
            refused += 1
        try:
            load_text_encoder(path)
        except UserError as error:
            assert error.code in (4, 5)
    assert refused > 40
