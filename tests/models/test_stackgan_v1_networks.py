"""Sizes of all variants, and every combination of options forward and backward at tiny widths."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch

from stackgan_cli.config.archs import StackGANv1
from stackgan_cli.interop.state_dicts import infer_config
from stackgan_cli.models.interface import ConditionalGenerator
from stackgan_cli.models.stackgan_v1 import Discriminator, Stage2Generator, build_networks
from stackgan_cli.runtime import Noise

TINY = {"gf_dim": 8, "df_dim": 2, "text_dim": 12, "condition_dim": 6, "z_dim": 5, "residual_blocks": 1}
UNCONDITIONAL = {"conditional": False, "wrong_pairs": "none"}


def build(**values: Any) -> tuple[ConditionalGenerator, Discriminator]:
    networks = build_networks(StackGANv1.model_validate(values))
    generator, discriminator = networks["generator"], networks["discriminator"]
    assert isinstance(generator, ConditionalGenerator) and isinstance(discriminator, Discriminator)
    return generator, discriminator


@pytest.mark.parametrize(
    ("variant", "stage", "own", "whole", "judge"),
    [
        ("tensorflow", 1, 14_264_192, 14_264_192, 4_029_824),
        ("tensorflow", 2, 26_290_080, 40_554_272, 48_603_520),
        ("pytorch", 1, 10_301_248, 10_301_248, 5_715_713),
        ("pytorch", 2, 26_290_080, 36_591_328, 71_269_122),
        ("paper", 1, 10_301_248, 10_301_248, 3_225_473),
        ("paper", 2, 26_290_080, 36_591_328, 47_799_169),
    ],
)
def test_parameter_counts(variant: str, stage: int, own: int, whole: int, judge: int) -> None:
    """The counts of the released codes; those of `paper` follow from the table of what the paper does not state."""
    with torch.device("meta"):
        generator, discriminator = build(variant=variant, stage=stage, resolution=64 * stage**2, gf_dim=128, df_dim=64)
    assert sum(p.numel() for module in generator.trained_modules() for p in module.parameters()) == own
    assert sum(p.numel() for p in generator.parameters()) == whole
    assert sum(p.numel() for p in discriminator.parameters()) == judge


SIZES = [(1, 32, 32), (1, 64, 64), (1, 128, 64), (1, 256, 64), (2, 64, 32), (2, 128, 64), (2, 256, 64), (2, 256, 32)]


@pytest.mark.parametrize(("stage", "resolution", "stage1_resolution"), SIZES)
@pytest.mark.parametrize("variant", ["paper", "pytorch", "tensorflow"])
def test_sizes(variant: str, stage: int, resolution: int, stage1_resolution: int) -> None:
    torch.manual_seed(0)
    generator, discriminator = build(**TINY, variant=variant, stage=stage, resolution=resolution, stage1_resolution=stage1_resolution)
    text = torch.randn(2, 12)
    output = generator(text, generator.draw_noise(2, Noise("test")))
    assert list(output.by_side) == ([resolution] if stage == 1 else [stage1_resolution, resolution])
    for side, images in output.by_side.items():
        assert images.shape == (2, 3, side, side) and images.abs().max() <= 1
    features = discriminator.features(output.by_side[resolution])
    assert features.shape[2:] == (4, 4)
    condition = output.mu if discriminator.conditions_on_mu else text
    assert condition is not None
    assert discriminator.condition_logits(features, condition).shape == (2,)
    unconditional = discriminator.unconditional_logits(features)
    assert (unconditional is not None) == (variant == "pytorch" and stage == 2)


OPTIONS = [
    dict(zip(("conditioning_augmentation", "text_twice"), choice, strict=True)) for choice in product((True, False), (True, False))
] + [UNCONDITIONAL]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(f"{k}={v}" for k, v in o.items()))
@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize("variant", ["paper", "pytorch", "tensorflow"])
def test_every_trained_parameter_gets_a_gradient(variant: str, stage: int, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    generator, discriminator = build(**TINY, variant=variant, stage=stage, resolution=32 * stage, stage1_resolution=32, **options)
    conditional = options.get("conditional", True)
    text = torch.randn(3, 12) if conditional else None
    output = generator(text, generator.draw_noise(3, Noise("test")))
    features = discriminator.features(output.by_side[32 * stage])
    unconditional = discriminator.unconditional_logits(features)
    loss = features.new_zeros(()) if unconditional is None else unconditional.sum()
    if conditional:
        condition = output.mu if discriminator.conditions_on_mu else text
        assert condition is not None
        loss = loss + discriminator.condition_logits(features, condition).sum()
    loss.backward()
    trained = [p for module in generator.trained_modules() for p in module.parameters()]
    assert all(p.grad is not None for p in (*trained, *discriminator.parameters()))
    assert len(trained) == sum(p.requires_grad for p in generator.parameters())


def test_stage_2_leaves_stage_1_as_it_is_but_for_its_statistics() -> None:
    torch.manual_seed(0)
    generator, _ = build(**TINY, stage=2, resolution=64, stage1_resolution=32)
    assert isinstance(generator, Stage2Generator)
    first = generator.STAGE1_G
    assert not any(p.requires_grad for p in first.parameters())
    statistics = [b.clone() for b in first.buffers()]
    output = generator(torch.randn(4, 12), generator.draw_noise(4, Noise("test")))
    assert not output.by_side[32].requires_grad and output.by_side[64].requires_grad
    assert any(not torch.equal(a, b) for a, b in zip(statistics, first.buffers(), strict=True))


def test_stage_2_without_residual_blocks() -> None:
    generator, _ = build(**TINY | {"residual_blocks": 0}, stage=2, resolution=64, stage1_resolution=32)
    assert generator(torch.randn(2, 12), generator.draw_noise(2, Noise("test"))).by_side[64].shape == (2, 3, 64, 64)


def test_stage_1_in_stage_2_may_have_another_width() -> None:
    generator, _ = build(**TINY, stage=2, resolution=64, stage1_resolution=32, stage1_gf_dim=12)
    alone, _ = build(**TINY | {"gf_dim": 12}, resolution=32)
    assert isinstance(generator, Stage2Generator)
    generator.STAGE1_G.load_state_dict(alone.state_dict())
    values = TINY | {"variant": "pytorch", "stage": 2, "resolution": 64, "stage1_resolution": 32, "stage1_gf_dim": 12}
    published, judge = build(**values)
    assert infer_config(published.state_dict(), judge.state_dict()) == StackGANv1.model_validate(values)
    assert generator(torch.randn(2, 12), generator.draw_noise(2, Noise("test"))).by_side[64].shape == (2, 3, 64, 64)


def test_missing_noise_means_the_mean() -> None:
    torch.manual_seed(0)
    generator, _ = build(**TINY, stage=2, resolution=64, stage1_resolution=32)
    generator.eval()
    text, noise = torch.randn(2, 12), generator.draw_noise(2, Noise("test"))
    assert list(noise) == ["z", "eps1", "eps2"]
    at_mean = generator(text, {"z": noise["z"]}).by_side[64]
    zeros = {name: torch.zeros_like(value) for name, value in noise.items()} | {"z": noise["z"]}
    assert torch.equal(at_mean, generator(text, zeros).by_side[64])
    assert not torch.equal(at_mean, generator(text, noise).by_side[64])


@pytest.mark.parametrize(("variant", "bounded"), [("paper", False), ("pytorch", False), ("tensorflow", True)])
def test_only_the_tensorflow_code_truncates_the_noise(variant: str, bounded: bool) -> None:
    generator, _ = build(**TINY, variant=variant, resolution=32)
    noise = generator.draw_noise(2000, Noise("test"))
    assert (noise["eps1"].abs().max() <= 2) == bounded
    assert noise["z"].abs().max() > 3


def test_condition_is_the_mean_of_the_last_stage_that_reads_the_text() -> None:
    torch.manual_seed(0)
    text = torch.randn(2, 12)
    for text_twice in (True, False):
        generator, _ = build(**TINY, variant="pytorch", stage=2, resolution=64, stage1_resolution=32, text_twice=text_twice)
        output = generator(text, generator.draw_noise(2, Noise("test")))
        assert output.mu is not None
        torch.testing.assert_close(output.mu, generator.condition(text))
        assert (output.logvar is not None) == text_twice


@pytest.mark.parametrize("variant", ["paper", "pytorch", "tensorflow"])
def test_channels_last_reaches_the_last_layer_and_changes_nothing(variant: str) -> None:
    torch.manual_seed(0)
    generator, discriminator = build(**TINY, variant=variant, stage=2, resolution=64, stage1_resolution=32)
    text, noise = torch.randn(8, 12), generator.draw_noise(8, Noise("test"))
    with torch.no_grad():
        plain = generator(text, noise).by_side[64]
        features = discriminator.features(plain)
        for network in (generator, discriminator):
            network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        images = generator(text, noise).by_side
        assert all(image.is_contiguous(memory_format=torch.channels_last) for image in images.values())
        torch.testing.assert_close(images[64], plain, rtol=1e-4, atol=1e-4)
        ours = discriminator.features(images[64])
    assert ours.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(ours, features, rtol=1e-3, atol=1e-3)
