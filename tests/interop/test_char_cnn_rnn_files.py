"""Text encoders from every file type give the same network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from stackgan_cli.config.archs import CharCNNRNN as CharCNNRNNConfig
from stackgan_cli.config.schema import RunConfig, TrainConfig
from stackgan_cli.encoders.char_cnn_rnn import build_networks
from stackgan_cli.encoders.text_encoder import encoder_hash, load_text_encoder
from stackgan_cli.errors import DataError, MismatchError, UsageError
from stackgan_cli.interop.char_cnn_rnn import infer_config
from stackgan_cli.models.char_cnn_rnn import CharCNNRNN
from stackgan_cli.runs import write_weights

SIZES = {"text_dim": 12, "conv_dims": (6, 7), "rnn_dim": 8}


@pytest.mark.parametrize(("variant", "count"), [("cvpr", 1_814_144), ("icml-flowers", 2_994_560), ("icml-cub", 4_045_184)])
def test_published_sizes(variant: str, count: int) -> None:
    with torch.device("meta"):
        network = CharCNNRNN(variant)
    assert sum(p.numel() for p in network.parameters()) == count
    config = infer_config(network.state_dict())
    assert (config.variant, config.text_dim, config.conv_dims) == (variant, 1024, (384, 512))


@pytest.mark.parametrize("variant", ["cvpr", "icml-cub"])
@pytest.mark.parametrize("spelling", ["plain", "module", "underscores", "nested"])
def test_state_dicts_of_the_port(tmp_path: Path, variant: str, spelling: str) -> None:
    state = CharCNNRNN(variant, **SIZES).state_dict()
    saved = {
        "plain": state,
        "module": {f"module.{key}": value for key, value in state.items()},
        "underscores": {key.replace(".", "_"): value for key, value in state.items()},
        "nested": {"state_dict": state, "epoch": 7},
    }[spelling]
    torch.save(saved, tmp_path / "encoder.pth")
    config, loaded = load_text_encoder(tmp_path / "encoder.pth")
    assert config.variant == variant and encoder_hash(loaded) == encoder_hash(state)


def test_our_weights(tmp_path: Path) -> None:
    config = CharCNNRNNConfig(variant="icml-flowers", unknown="space", image_width=4, **SIZES)
    networks = build_networks(config)
    tensors = {f"{name}.{key}": value for name, network in networks.items() for key, value in network.state_dict().items()}
    path = tmp_path / "latest.safetensors"
    write_weights(path, tensors, config=RunConfig(model=config, train=TrainConfig(steps=1)), step=1, text_encoder=None)
    loaded_config, state = load_text_encoder(path)
    assert loaded_config == config
    assert encoder_hash(state) == encoder_hash(networks["text_encoder"].state_dict())


def test_hash_depends_on_values_names_and_shapes_only() -> None:
    state = CharCNNRNN("cvpr", **SIZES).state_dict()
    digest = encoder_hash(state)
    assert len(digest) == 64
    assert encoder_hash(dict(reversed(list(state.items())))) == digest
    assert encoder_hash({key: value.double() for key, value in state.items()}) == digest
    changed = {**state, "emb_proj.bias": state["emb_proj.bias"].nextafter(torch.tensor(9.0))}
    assert encoder_hash(changed) != digest
    assert encoder_hash({**state, "emb_proj.weight": state["emb_proj.weight"].reshape(8, 12)}) != digest


def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pth"
    torch.save({"layer.weight": torch.ones(3)}, path)
    with pytest.raises(MismatchError, match="not the weights of a char-CNN-RNN"):
        load_text_encoder(path)
    state = CharCNNRNN("cvpr", **SIZES).state_dict()
    torch.save({**state, "conv2.weight": torch.ones(7, 6, 5)}, path)
    with pytest.raises(MismatchError, match=r"conv2.weight"):
        load_text_encoder(path)
    torch.save({key: value for key, value in state.items() if key != "rnn.h2h.bias"}, path)
    with pytest.raises(MismatchError, match=r"rnn.h2h.bias"):
        load_text_encoder(path)
    with pytest.raises(UsageError, match="no such file"):
        load_text_encoder(tmp_path / "absent.t7")
    (tmp_path / "net.bin").write_bytes(b"x")
    with pytest.raises(DataError, match="is a text file"):
        load_text_encoder(tmp_path / "net.bin")
