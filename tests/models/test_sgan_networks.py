"""SGAN's networks: published parameter counts, shapes of every depth, ranges."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
import torch

from stackgan_cli.config.archs import SGAN, Classifier
from stackgan_cli.models.sgan import StackGenerator, build_networks, encoder_of
from stackgan_cli.runtime import Noise

PUBLISHED = {
    "mnist": {"level1": 426_240, "level0": 1_516_097, "discriminator1": 144_691, "discriminator0": 794_675},
    "cifar10": {"level1": 808_192, "level0": 5_367_171, "discriminator1": 425_532, "discriminator0": 1_066_010},
}
DEPTHS = [levels for count in range(4) for levels in combinations(("fc3", "pool2", "pool1"), count)]


def tiny(**keys: Any) -> SGAN:
    encoder = Classifier(backbone="sgan", resolution=28, channels=1, conv_dims=(3, 5), hidden_dim=7, num_classes=4)
    sizes = {"gf_dim": 4, "df_dim": 4, "hidden_dim": 8, "critic_dim": 8}
    return SGAN.model_validate({"encoder": encoder, **sizes, **keys})


@pytest.mark.parametrize("networks", PUBLISHED)
def test_published_networks_have_the_published_number_of_parameters(networks: str) -> None:
    variant = "released" if networks == "cifar10" else "released-mnist"
    with torch.device("meta"):
        built = build_networks(SGAN.model_validate({"networks": networks, "variant": variant}))
    parts = {**built, **dict(built["generator"].named_children())}
    assert {name: sum(p.numel() for p in parts[name].parameters()) for name in PUBLISHED[networks]} == PUBLISHED[networks]


@pytest.mark.parametrize("networks", ["mnist", "cifar10"])
@pytest.mark.parametrize("levels", DEPTHS, ids=lambda levels: "-".join(levels) or "none")
def test_a_stack_of_any_depth_makes_the_encoders_representations(levels: tuple[str, ...], networks: str) -> None:
    torch.set_num_threads(1)
    config = tiny(levels=levels, networks=networks)
    built = build_networks(config)
    generator, encoder = built["generator"], encoder_of(built)
    assert isinstance(generator, StackGenerator)
    noise = generator.draw_noise(6, Noise("test"))
    assert list(noise) == [f"z{i}" for i in reversed(range(len(levels) + 1))]
    assert all(value.min() >= 0 and value.max() < 1 for value in noise.values())
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    h = generator.condition(labels)
    for i, level in zip(generator.z_dims, config.chain[1:], strict=True):
        h = generator.level(i, h, noise[f"z{i}"])
        seen = h if i else encoder.native(h)
        assert tuple(seen.shape[1:]) == encoder.shape(level)
        assert i == 0 or h.min() >= 0
        logits, guess = built[f"discriminator{i}"](seen)
        assert logits.shape == (6, 1) and guess.shape == noise[f"z{i}"].shape
    assert torch.equal(h, generator(labels, noise).images[0]) or not generator.training
    assert h.shape == (6, 3, 28, 28) and h.min() >= -1 and h.max() <= 1


def test_labels_become_one_hot_vectors() -> None:
    generator = build_networks(tiny())["generator"]
    assert isinstance(generator, StackGenerator)
    assert torch.equal(generator.condition(torch.tensor([2, 0])), torch.nn.functional.one_hot(torch.tensor([2, 0]), 4).float())


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"levels": ["pool2", "fc3"]}, "from top to bottom"),
        ({"levels": ["fc3", "fc3"]}, "at most once"),
        ({"z_dims": [3]}, "as many values"),
        ({"encoder": Classifier()}, "backbone 'sgan'"),
    ],
)
def test_impossible_stacks_are_refused(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        SGAN.model_validate(keys)
