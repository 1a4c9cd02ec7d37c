"""The shortcuts of the text encoder change nothing: gathers for the first convolution, repeated columns after the last character."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from stackgan_cli.models.char_cnn_rnn import CharCNNRNN, GatedRecurrence
from stackgan_cli.models.image_encoders import SmallCNN
from stackgan_cli.text.alphabet import encode_batch

CAPTIONS = ["a red bird", "this bird has a bright yellow body, with brown on its crown and wings", "é", ""]


def dense(network: CharCNNRNN, codes: torch.Tensor) -> torch.Tensor:
    """Inputs of the recurrence computed directly: one-hot, dense convolutions over all 201 positions, threshold before pooling."""
    x = F.one_hot(codes.long(), 71)[..., 1:].to(network.conv1.weight.dtype).transpose(1, 2)
    x = F.max_pool1d(F.threshold(network.conv1(x), 1e-6, 0), 3)
    x = F.max_pool1d(F.threshold(network.conv2(x), 1e-6, 0), 3)
    x = F.threshold(network.conv3(x), 1e-6, 0)
    return (F.max_pool1d(x, 3, 2) if network.third_pool else x).transpose(1, 2)


@pytest.mark.parametrize("variant", ["cvpr", "icml-cub"])
@pytest.mark.parametrize("length", [None, 0, 1, 2, 5, 17, 64, 100, 150, 190, 197, 198, 199, 200, 201])
def test_values_and_gradients_are_those_of_dense_convolutions(variant: str, length: int | None) -> None:
    torch.manual_seed(0)
    network = CharCNNRNN(variant, text_dim=5, conv_dims=(6, 7), rnn_dim=4).double()
    if length is None:
        codes = torch.from_numpy(encode_batch(CAPTIONS))
    else:
        codes = torch.randint(0, 71, (2, 201), dtype=torch.uint8)
        codes[:, length:] = 0
    ours, plain = network.convolve(codes), dense(network, codes)
    assert ours.shape == plain.shape == (len(codes), 8 if variant == "cvpr" else 18, 4)
    torch.testing.assert_close(ours, plain, rtol=1e-10, atol=1e-12)
    weights, direction = [*network.conv1.parameters(), *network.conv2.parameters(), *network.conv3.parameters()], torch.randn_like(plain)
    for a, b in zip(
        torch.autograd.grad((ours * direction).sum(), weights), torch.autograd.grad((plain * direction).sum(), weights), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_gate_weighs_the_candidate() -> None:
    """With the update gate closed the first state stays; with it open the candidates replace it."""
    torch.manual_seed(0)
    recurrence, x = GatedRecurrence(4), torch.randn(2, 5, 4)
    first = torch.tanh(recurrence.i2h(x[:, 0]))
    with torch.no_grad():
        recurrence.i2h_update.bias.fill_(-100)
        torch.testing.assert_close(recurrence(x), first)
        recurrence.i2h_update.bias.fill_(100)
        assert not torch.allclose(recurrence(x), first)


@pytest.mark.parametrize("variant", ["cvpr", "icml-flowers", "icml-cub"])
def test_initial_weights(variant: str) -> None:
    """uniform(-0.08, 0.08) at the published sizes; at other sizes the interval keeps the variance of the activations."""
    published = CharCNNRNN(variant)
    for parameter in published.parameters():
        assert 0.075 < parameter.detach().abs().max() <= 0.08
    narrow = CharCNNRNN(variant, text_dim=64, conv_dims=(96, 128), rnn_dim=published.rnn.i2h.in_features // 4)
    assert narrow.conv2.weight.detach().abs().max() == pytest.approx(0.16, rel=0.02)
    assert narrow.rnn.h2h.weight.detach().abs().max() == pytest.approx(0.16, rel=0.02)
    assert narrow.emb_proj.bias.detach().abs().max() <= 0.08


@pytest.mark.parametrize("resolution", [32, 64, 128, 224])
def test_image_encoder_sizes(resolution: int) -> None:
    assert SmallCNN(resolution, width=4, text_dim=9)(torch.zeros(2, 3, resolution, resolution)).shape == (2, 9)


def test_image_vectors_are_scaled() -> None:
    whole, tenth = SmallCNN(32, width=4, text_dim=9), SmallCNN(32, width=4, text_dim=9, scale=0.1)
    tenth.load_state_dict(whole.state_dict())
    images = torch.randn(4, 3, 32, 32)
    torch.testing.assert_close(tenth(images), 0.1 * whole(images))
