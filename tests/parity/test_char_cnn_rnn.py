"""The text encoder computes the same embeddings as the published networks."""

from __future__ import annotations

from pathlib import Path

import oracles
import pytest
import torch
from torch import Tensor

from stackgan_cli.models.char_cnn_rnn import CharCNNRNN, GatedRecurrence
from stackgan_cli.text.alphabet import encode_batch


def variant_of(arch: str) -> str:
    """`char-cnn-rnn icml birds` names a release and what it was trained on."""
    _, release, *dataset = arch.split()
    if release == "cvpr":
        return "cvpr"
    return "icml-flowers" if dataset == ["flowers"] else "icml-cub"


def vectors_of_the_port(network: CharCNNRNN, codes: Tensor) -> Tensor:
    """The result for a batch of the PyTorch port, which computed the oracles, with the gated recurrence.

    From the second step on its hidden state is (B, B, C): entry (i, j) starts with caption i and continues with the inputs of caption j,
    and vector i is the mean over the first state and all (i, j). For a single caption this equals the published network, so here the
    network runs on each such pair.
    """
    x = network.convolve(codes)
    size, steps, dim = x.shape
    pairs = torch.cat([x[:, None, :1].expand(size, size, 1, dim), x[None, :, 1:].expand(size, size, steps - 1, dim)], 2)
    means = network.rnn(pairs.reshape(size * size, steps, dim)).view(size, size, dim)
    first = network.rnn(x[:, :1])
    later = (means * steps - first[:, None]).sum(1)
    vectors: Tensor = network.emb_proj((first + later) / (1 + (steps - 1) * size))
    return vectors


@pytest.mark.parametrize("path", oracles.cases("char-cnn-rnn"))
def test_vectors_of_the_published_network(path: Path) -> None:
    case = oracles.describe(path)
    shapes = case["net"]
    network = CharCNNRNN(
        variant_of(case["arch"]),
        text_dim=shapes["emb_proj.weight"][0],
        conv_dims=(shapes["conv1.weight"][0], shapes["conv2.weight"][0]),
        rnn_dim=shapes["conv3.weight"][0],
    )
    network.load_state_dict(oracles.state_dict(shapes, case["seed"]))
    network.double()
    codes = torch.from_numpy(encode_batch(case["captions"]))
    with torch.no_grad():
        vectors = vectors_of_the_port(network, codes) if isinstance(network.rnn, GatedRecurrence) else network(codes)
    errors = oracles.relative_errors({"embedding": vectors}, oracles.arrays(path))
    assert errors["embedding"] <= oracles.ROUNDING["outputs"]


@pytest.mark.parametrize("variant", ["cvpr", "icml-flowers", "icml-cub"])
def test_vector_does_not_depend_on_the_rest_of_the_batch(variant: str) -> None:
    torch.manual_seed(0)
    network = CharCNNRNN(variant, text_dim=8, conv_dims=(6, 10), rnn_dim=12).double()
    codes = torch.from_numpy(encode_batch(["a red bird", "", "a bird with black wings " * 9, "x" * 201]))
    with torch.no_grad():
        together = network(codes)
        alone = torch.cat([network(row[None]) for row in codes])
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)
