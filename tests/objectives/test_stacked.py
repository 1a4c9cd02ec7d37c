"""Training of multi-scale models: the weight of each term, the pairs, and which networks receive gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from stackgan_cli import registry
from stackgan_cli.config.archs import HDGAN, StackedConfig, StackGANv2
from stackgan_cli.objectives.base import Batch
from stackgan_cli.objectives.stacked import StackedDraw, StackedObjective
from stackgan_cli.objectives.terms import color_consistency, reconstruction
from stackgan_cli.runtime import Noise

SMALL = {"text_dim": 12, "condition_dim": 6, "z_dim": 5}
V2: dict[str, Any] = {**SMALL, "branches": (16, 32), "gf_dim": 4, "df_dim": 2, "residual_blocks": 1}
NONE = {"condition": "none", "wrong_pairs": "none", "color_weight": 50.0}
CONFIGS: dict[str, StackedConfig] = {
    "v2": StackGANv2(**V2),
    "v2 paper": StackGANv2(variant="paper", **V2),
    "v2 no-JCU": StackGANv2(image_weight=0, negative_weight=0.5, wrong_as_real=False, **V2),
    "v2 batch": StackGANv2(wrong_pairs="batch", **V2),
    "v2 text": StackGANv2(wrong_pairs="text", wrong_as_real=False, **V2),
    "v2 class": StackGANv2(condition="class", num_classes=9, **V2),
    "v2 unconditional": StackGANv2(**NONE, **V2),
    "v2 color, paper's norms": StackGANv2(**NONE, variant="paper", wrong_as_real=False, **V2),
    "v2 3G3": StackGANv2(supervised="last", discriminators=3, **V2),
    "v2 all one side": StackGANv2(**{**V2, "branches": (16, 16)}),
    "hdgan": HDGAN(resolution=64, scales=(64,), width=8, discriminator_width=8, **SMALL),
    "hdgan paper": HDGAN(variant="paper", resolution=64, scales=(64,), width=8, discriminator_width=8, **SMALL),
    "hdgan no local": HDGAN(image_weight=0, wrong_as_real=False, resolution=64, scales=(64,), width=8, discriminator_width=8, **SMALL),
    "hdgan continued": HDGAN(stage=2, resolution=64, scales=(64,), width=8, discriminator_width=8, **SMALL),
}


def objective(config: StackedConfig) -> StackedObjective:
    torch.manual_seed(0)
    return StackedObjective(config, registry.find(config.arch).build(config))  # type: ignore[attr-defined]


def batch(game: StackedObjective, size: int = 4) -> Batch:
    source = torch.Generator().manual_seed(1)

    def images() -> dict[int, Tensor]:
        return {side: torch.rand(size, 3, side, side, generator=source) * 2 - 1 for side in game.needs.images}

    return Batch(
        images=images(),
        wrong_images=images() if game.needs.wrong == "image" else {},
        text=torch.randn(size, 12, generator=source) if game.needs.text else None,
        wrong_text=torch.randn(size, 12, generator=source) if game.needs.wrong == "text" else None,
        wrong_order=torch.tensor([1, 2, 3, 0]) if game.needs.wrong == "batch" else None,
        class_ids=torch.arange(size),
    )


def draw(game: StackedObjective, contents: Batch | None = None) -> StackedDraw:
    return game.draw(contents or batch(game), Noise("draw"))


@pytest.mark.parametrize("name", CONFIGS)
def test_totals_are_the_weighted_terms(name: str) -> None:
    config = CONFIGS[name]
    game = objective(config)
    made = draw(game)
    for phase in game.phases[:-1]:
        d = game.phase(phase.name).loss(made)
        assert ("wrong" in d) == (config.wrong_pairs != "none")
        assert ("wrong_u" in d) == (config.wrong_as_real and config.wrong_pairs in ("image", "batch"))
        assert ("fake_u" in d) == (config.image_weight > 0)
        zero = torch.zeros(())
        expected = d.get("real", zero) + config.negative_weight * (d.get("wrong", zero) + d.get("fake", zero))
        alone = d.get("fake_u", zero) + config.real_image_weight * (d.get("real_u", zero) + d.get("wrong_u", zero))
        torch.testing.assert_close(d["total"], expected + config.image_weight * alone)
    g = game.phase("g").loss(made)
    weights = {"kl": config.kl_weight, "color": config.color_weight, "reconstruction": config.reconstruction_weight}
    torch.testing.assert_close(g["total"], g["adversarial"] + sum(weights[part] * g[part] for part in weights if part in g))
    assert ("kl" in g) == (config.conditioning == "text" and game.generator.earlier_stage is None)
    assert ("color" in g) == (config.color_weight > 0) and ("reconstruction" in g) == (game.generator.earlier_stage is not None)


def test_released_and_paper_weights() -> None:
    """As in the released codes: HDGAN halves the two negative pair terms and the two real terms of the image loss."""
    assert (CONFIGS["hdgan"].negative_weight, CONFIGS["hdgan"].real_image_weight, CONFIGS["hdgan"].kl_weight) == (0.5, 0.5, 4.0)
    assert (CONFIGS["hdgan paper"].negative_weight, CONFIGS["hdgan paper"].real_image_weight) == (1.0, 1.0)
    assert (CONFIGS["v2"].negative_weight, CONFIGS["v2"].real_image_weight, CONFIGS["v2"].kl_weight) == (1.0, 1.0, 2.0)
    assert not CONFIGS["v2 paper"].wrong_as_real and CONFIGS["v2 paper"].wrong_pairs == "none"


@pytest.mark.parametrize("name", CONFIGS)
def test_each_phase_moves_its_own_networks_alone(name: str) -> None:
    game = objective(CONFIGS[name])
    for phase in game.phases:
        for other in game.phases:
            for param in other.params:
                param.grad = None
                param.requires_grad_(other is phase)
        game.phase(phase.name).loss(draw(game))["total"].backward()
        assert all(param.grad is not None for param in phase.params), phase.name
        assert all(param.grad is None for other in game.phases if other is not phase for param in other.params)


@pytest.mark.parametrize("base", ["v2", "hdgan"])
def test_pairs_inside_the_batch_equal_images_that_are_the_permutation(base: str) -> None:
    """Including batch statistics: one of three passes is saved, with the same loss and gradients."""
    config = CONFIGS[base]
    games = [objective(config), objective(config.model_copy(update={"wrong_pairs": "batch"}))]
    contents = batch(games[0])
    order = torch.tensor([2, 0, 3, 1])
    contents.wrong_images = {side: images[order] for side, images in contents.images.items()}
    contents.wrong_order = order
    for phase in games[0].phases[:-1]:
        results = []
        for game in games:
            total = game.phase(phase.name).loss(draw(game, contents))["total"]
            grads = torch.autograd.grad(total, next(p for p in game.phases if p.name == phase.name).params)
            results.append([total, *grads])
        for one, other in zip(*results, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_condition_is_detached_in_ds_step_and_if_asked_in_gs() -> None:
    for detached in (False, True):
        game = objective(CONFIGS["v2"].model_copy(update={"condition_detached": detached, "kl_weight": 0.0}))
        made = draw(game)
        mu = made.condition
        assert mu is not None
        (of_d,) = torch.autograd.grad(game.phase("d16").loss(made)["total"], mu, allow_unused=True, retain_graph=True)
        assert of_d is None
        # c affects the images as well, so only the path through the heads is checked: images are constants.
        made.output.images = tuple(image.detach() for image in made.output.images)
        total = game.phase("g").loss(made)["total"]
        (of_g,) = torch.autograd.grad(total, mu, allow_unused=True) if total.requires_grad else (None,)
        assert (of_g is None or not of_g.any()) == detached


def test_color_terms() -> None:
    flat, shifted = torch.zeros(2, 3, 8, 8), torch.full((2, 3, 4, 4), 0.5)
    assert color_consistency(flat, shifted).item() == pytest.approx(0.25)
    assert color_consistency(flat, shifted, "paper").item() == pytest.approx(0.75)
    images = torch.randn(3, 3, 8, 8)
    pixels = images.flatten(2).double()
    covariances = torch.stack([torch.cov(each, correction=0) for each in pixels])
    expected = pixels.mean(2).square().sum(1).mean() + 5 * covariances.square().sum((1, 2)).mean()
    torch.testing.assert_close(color_consistency(images, torch.zeros(3, 3, 4, 4), "paper").double(), expected, rtol=1e-4, atol=1e-5)
    coarse = torch.randn(3, 3, 4, 4, requires_grad=True)
    assert not color_consistency(images, coarse).requires_grad and color_consistency(images, coarse, "paper").requires_grad


def test_reconstruction_of_a_doubled_image_is_zero() -> None:
    coarse = torch.randn(2, 3, 8, 8)
    fine = torch.nn.functional.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=True)
    assert reconstruction(fine, coarse).item() == 0 and reconstruction(fine + 0.25, coarse).item() == pytest.approx(0.25)
