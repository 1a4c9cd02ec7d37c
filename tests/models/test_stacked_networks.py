"""StackGAN-v2 and HDGAN: sizes of every branch setting, layouts, and the short arithmetic."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from stackgan_cli import registry
from stackgan_cli.config.archs import HDGAN, StackedConfig, StackGANv2
from stackgan_cli.models.convolutions import UpsampleConv, arithmetic
from stackgan_cli.models.interface import Generator, PairDiscriminator
from stackgan_cli.runtime import Noise

SMALL = {"text_dim": 12, "condition_dim": 6, "z_dim": 5}
V2: dict[str, Any] = {**SMALL, "gf_dim": 8, "df_dim": 2, "residual_blocks": 1}
HD: dict[str, Any] = {**SMALL, "width": 8, "discriminator_width": 8}
NONE = {"condition": "none", "wrong_pairs": "none"}
CONFIGS: list[tuple[StackedConfig, list[int]]] = [
    (StackGANv2(branches=(64,), **V2), [64]),
    (StackGANv2(branches=(64, 128, 256), **V2), [64, 128, 256]),
    (StackGANv2(branches=(64, 128, 256, 512), **V2), [64, 128, 256, 512]),
    (StackGANv2(branches=(64, 128), supervised="last", **V2), [128]),
    (StackGANv2(branches=(64, 128), supervised="last", discriminators=3, **V2), [128]),
    (StackGANv2(branches=(128, 128, 128), **V2), [128, 128, 128]),
    (StackGANv2(branches=(16, 32), **NONE, **V2), [16, 32]),
    (StackGANv2(branches=(32,), condition="class", num_classes=5, **V2), [32]),
    (HDGAN(**HD), [64, 128, 256]),
    (HDGAN(scales=(64, 256), residual_blocks=2, **HD), [64, 256]),
    (HDGAN(resolution=64, scales=(64,), variant="paper", **HD), [64]),
    (HDGAN(stage=2, resolution=128, scales=(64, 128), **HD), [64, 128, 256]),
]


def build(config: StackedConfig) -> tuple[Generator, list[PairDiscriminator]]:
    torch.manual_seed(0)
    generator, *discriminators = registry.find(config.arch).build(config).values()  # type: ignore[attr-defined]
    assert isinstance(generator, Generator)
    return generator, discriminators  # type: ignore[return-value]


def given(config: StackedConfig, size: int) -> torch.Tensor | None:
    return {"text": torch.randn(size, 12), "class": torch.arange(size), "none": None}[config.conditioning]


@pytest.mark.parametrize(("config", "sides"), CONFIGS, ids=lambda value: "-".join(map(str, value)) if isinstance(value, list) else "")
def test_images_and_logits(config: StackedConfig, sides: list[int]) -> None:
    generator, discriminators = build(config)
    size = 2
    with torch.no_grad():
        output = generator(given(config, size), generator.draw_noise(size, Noise("test")))
        assert [tuple(images.shape) for images in output.images] == [(size, 3, side, side) for side in sides]
        assert all(images.abs().max() <= 1 for images in output.images)
        assert len(discriminators) == len(config.judges)
        for d, index in zip(discriminators, config.judges.values(), strict=True):
            features = d.features(output.images[index - len(config.sides)])
            alone = d.unconditional_logits(features)
            assert alone is not None and alone.shape[0] == size
            if config.conditioning != "none":
                shown = output.mu if config.discriminator_sees == "mean" else torch.randn(size, 12)
                assert shown is not None and d.condition_logits(features, shown).shape == (size,)


def test_patches_are_as_many_as_asked() -> None:
    for patches in ((1, 1, 5, 5), (1, 3, 5, 5), (4, 4, 8, 8)):
        _, discriminators = build(HDGAN(patches=patches, **HD))
        found = [
            d.unconditional_logits(d.features(torch.zeros(2, 3, side, side)))
            for d, side in zip(discriminators, (64, 128, 256), strict=True)
        ]
        assert [tuple(logits.shape) for logits in found] == [(2, r, r) for r in patches[:3]]  # type: ignore[union-attr]


@pytest.mark.parametrize("padding", ["zeros", "reflect"])
def test_upsampling_convolution_folds_exactly(padding: Any) -> None:
    conv, x = UpsampleConv(3, 5, padding).double(), torch.randn(2, 3, 24, 23, dtype=torch.float64)
    with arithmetic("plain"):
        plain = conv(x)
    with arithmetic("fast"):
        fast = conv(x)
    torch.testing.assert_close(fast, plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("config", [StackGANv2(branches=(64, 128), **V2), HDGAN(resolution=128, scales=(64, 128), **HD)])
def test_channels_last_reaches_the_last_layer_and_changes_nothing(config: StackedConfig) -> None:
    generator, discriminators = build(config)
    text, noise = torch.randn(4, 12), generator.draw_noise(4, Noise("test"))
    with torch.no_grad():
        plain = generator(text, noise).images
        features = [d.features(images) for d, images in zip(discriminators, plain, strict=True)]
        for network in (generator, *discriminators):
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        images = generator(text, noise).images
        for ours, theirs in zip(images, plain, strict=True):
            assert ours.is_contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
        for d, own, before in zip(discriminators, images, features, strict=True):
            assert d.features(own).is_contiguous(memory_format=torch.channels_last)
            torch.testing.assert_close(d.features(own), before, rtol=1e-2, atol=1e-2)


def test_without_its_noise_a_generator_gives_the_mean() -> None:
    for config in (StackGANv2(branches=(16,), **V2), HDGAN(resolution=64, scales=(64,), **HD)):
        generator, _ = build(config)
        generator.eval()
        text, noise = torch.randn(2, 12), generator.draw_noise(2, Noise("test"))
        zeros = {"z": noise["z"], "eps": torch.zeros_like(noise["eps"])}
        assert torch.equal(generator(text, {"z": noise["z"]}).images[-1], generator(text, zeros).images[-1])
        assert not torch.equal(generator(text, noise).images[-1], generator(text, zeros).images[-1])


def test_a_published_size_fits_the_memory_that_is_promised() -> None:
    """One full-size step of HDGAN at 512 px and batch 1, counted: weights, gradients, moments and what the backward pass keeps."""
    from stackgan_cli.config.presets import load_config
    from stackgan_cli.training.cost import estimate

    found = estimate(load_config("hdgan-cub-512", ["train.batch_size=1", "train.precision=fp32"]))
    assert found.memory < 20 * 2**30
