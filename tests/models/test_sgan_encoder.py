"""The encoder that SGAN inverts: published sizes, every path through its layers, its range of pixels."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

from stackgan_cli.config.archs import Classifier as Config
from stackgan_cli.models.classifier import build_classifier
from stackgan_cli.models.sgan_encoder import SGANEncoder

MNIST = Config(backbone="sgan", resolution=28, channels=1, conv_dims=(32, 32), num_classes=10)
CIFAR10 = Config(backbone="sgan", resolution=32, conv_dims=(64, 128), input_range="centred", num_classes=10)


@pytest.mark.parametrize(("config", "parameters", "pool2"), [(MNIST, 160_362, (32, 4, 4)), (CIFAR10, 1_031_818, (128, 5, 5))])
def test_published_sizes(config: Config, parameters: int, pool2: tuple[int, ...]) -> None:
    classifier = build_classifier(config)
    encoder = classifier.network
    assert isinstance(encoder, SGANEncoder)
    assert sum(parameter.numel() for parameter in classifier.parameters()) == parameters
    assert encoder.shape("pool2") == pool2 and encoder.shape("fc3") == (256,) == (classifier.num_features,)
    assert [name for name, _ in classifier.named_buffers()] == (["network.mean"] if config.input_range == "centred" else [])


@pytest.mark.parametrize(("side", "channels"), [(16, 1), (20, 3), (28, 1), (32, 3), (64, 3)])
def test_every_way_through_its_layers_is_the_same(side: int, channels: int) -> None:
    torch.manual_seed(0)
    encoder = SGANEncoder(7, side, channels, (3, 4), 5, centered=channels == 3)
    encoder.center_on([torch.rand(3, 3, side, side) * 2 - 1])
    images = torch.rand(4, 3, side, side) * 2 - 1
    levels = {"image": encoder.native(images)}
    for lower, upper in zip(encoder.LEVELS, encoder.LEVELS[1:], strict=False):
        levels[upper] = encoder.between(levels[lower], lower, upper)
    assert all(tuple(found.shape[1:]) == encoder.shape(level) for level, found in levels.items())
    for lower, upper in combinations(encoder.LEVELS, 2):
        assert torch.equal(encoder.between(levels[lower], lower, upper), levels[upper])
    assert torch.equal(encoder.between(levels["pool2"], "pool2", "pool2"), levels["pool2"])
    assert torch.equal(encoder.features(images), levels["fc3"]) and levels["fc3"].min() >= 0
    assert levels["fc4"].min() < 0


def test_images_in_its_own_range() -> None:
    gray = (torch.rand(5, 1, 28, 28) * 2 - 1).expand(-1, 3, -1, -1)
    encoder = SGANEncoder(2)
    native = encoder.native(gray)
    assert native.shape == (5, 1, 28, 28) and native.min() >= 0 and native.max() <= 1
    assert torch.allclose(native * 2 - 1, gray[:, :1], atol=1e-6)
    color = torch.rand(5, 3, 32, 32) * 2 - 1
    encoder = SGANEncoder(2, 32, 3, (3, 4), centered=True)
    encoder.center_on(color.split(2))
    pixels = (color.numpy().astype(np.float64) + 1) / 2
    assert np.allclose(encoder.native(color).numpy(), pixels - pixels.mean(0), atol=1e-6)
    again = SGANEncoder(2, 32, 3, (3, 4), centered=True)
    again.load_state_dict(encoder.state_dict())
    assert torch.equal(again.native(color), encoder.native(color))
    encoder.center_on([color])
    assert torch.allclose(again.native(color), encoder.native(color), atol=1e-6)  # the previous mean has no effect on the new one


def test_gradients_reach_the_image() -> None:
    encoder = SGANEncoder(3).requires_grad_(False)
    images = torch.rand(2, 3, 28, 28, requires_grad=True)
    encoder.between(encoder.native(images), "image", "fc4").sum().backward()
    assert images.grad is not None and images.grad.abs().sum() > 0
    assert torch.equal(images.grad[:, 0], images.grad[:, 2])


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"backbone": "sgan", "resolution": 30}, "multiple of 4"),
        ({"backbone": "cnn", "resolution": 28}, "must be one of 32, 64, 128, 256"),
        ({"backbone": "sgan", "resolution": 12}, "greater than or equal to 16"),
        ({"backbone": "sgan", "channels": 2}, "Input should be 1 or 3"),
    ],
)
def test_sizes_that_cannot_be(keys: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config.model_validate(keys)
