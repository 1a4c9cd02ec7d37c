"""Training of StackGAN-v1: turns, weights, wrong pairs, and which networks receive gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from stackgan_cli.config.archs import StackGANv1
from stackgan_cli.errors import ConfigError
from stackgan_cli.models.stackgan_v1 import build_networks
from stackgan_cli.objectives.base import Batch, Turn
from stackgan_cli.objectives.matching import MatchingObjective
from stackgan_cli.objectives.terms import bce_fake, bce_real
from stackgan_cli.runtime import Noise

TINY = {"gf_dim": 8, "df_dim": 2, "text_dim": 12, "condition_dim": 6, "z_dim": 5, "residual_blocks": 1, "stage1_resolution": 32}
VARIANTS = ("paper", "pytorch", "tensorflow")


def objective(**values: Any) -> MatchingObjective:
    torch.manual_seed(0)
    config = StackGANv1.model_validate({**TINY, "resolution": 32 * values.get("stage", 1), **values})
    return MatchingObjective(config, build_networks(config))


def batch(game: MatchingObjective, size: int = 4) -> Batch:
    source, side = torch.Generator().manual_seed(1), game.config.resolution
    images = [torch.rand(size, 3, side, side, generator=source) * 2 - 1 for _ in range(2)]
    texts = [torch.randn(size, 12, generator=source) for _ in range(2)]
    wrong = game.needs.wrong
    return Batch(
        images={side: images[0]},
        wrong_images={side: images[1]} if wrong == "image" else {},
        text=texts[0] if game.needs.text else None,
        wrong_text=texts[1] if wrong == "text" else None,
    )


def losses(game: MatchingObjective, phase: str, contents: Batch | None = None) -> dict[str, Tensor]:
    return game.phase(phase).loss(game.draw(contents or batch(game), Noise("draw")))


def test_turns_and_needs_of_the_variants() -> None:
    games = {variant: objective(variant=variant) for variant in VARIANTS}
    assert games["paper"].turns(0, {}) == games["pytorch"].turns(0, {}) == (Turn("d"), Turn("g"))
    assert games["tensorflow"].turns(0, {}) == (Turn("d"), Turn("g", draw=1))
    assert [games[variant].needs.wrong for variant in VARIANTS] == ["text", "none", "image"]
    assert [games[variant].needs.captions_per_embedding for variant in VARIANTS] == [1, 1, 4]
    assert all(game.needs.images == (32,) for game in games.values())


@pytest.mark.parametrize("wrong_pairs", ["text", "shift", "image", "none"])
@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize("variant", VARIANTS)
def test_weights(variant: str, stage: int, wrong_pairs: str) -> None:
    game = objective(variant=variant, stage=stage, wrong_pairs=wrong_pairs)
    d, g = losses(game, "d"), losses(game, "g")
    negatives = d["fake"] + d.get("wrong", 0)
    assert ("wrong" in d) == (wrong_pairs != "none")
    if variant == "pytorch" and stage == 2:
        expected = (d["real"] + d["real_u"]) / 2 + (negatives + d["fake_u"]) / (3 if "wrong" in d else 2)
    else:
        expected = d["real"] + (0.5 if "wrong" in d else 1.0) * negatives
    torch.testing.assert_close(d["total"], expected)
    torch.testing.assert_close(g["total"], g["adversarial"] + (1.0 if variant == "paper" else 2.0) * g["kl"])


@pytest.mark.parametrize("variant", ["paper", "pytorch"])
def test_shifted_pairs_are_the_next_captions(variant: str) -> None:
    game = objective(variant=variant, wrong_pairs="shift")
    contents = batch(game)
    draw = game.draw(contents, Noise("draw"))
    seen = game.phase("d").loss(draw)["wrong"]
    assert draw.condition is not None
    features = game.discriminator.features(contents.images[32])
    torch.testing.assert_close(seen, bce_fake(game.discriminator.condition_logits(features[:3], draw.condition[1:])))
    with pytest.raises(ConfigError, match="at least two"):
        game.draw(batch(game, 1), Noise("draw"))


def test_wrong_text_and_wrong_images() -> None:
    """Each kind of images is a separate batch for BatchNorm; all pairs go through the same heads."""
    game = objective(variant="paper", wrong_pairs="text")
    contents = batch(game)
    assert contents.wrong_text is not None
    d = game.discriminator
    expected = bce_fake(d.condition_logits(d.features(contents.images[32]), contents.wrong_text))
    torch.testing.assert_close(losses(game, "d", contents)["wrong"], expected)

    game = objective(variant="tensorflow", wrong_pairs="image")
    contents = batch(game)
    assert contents.text is not None
    d = game.discriminator
    expected = bce_fake(d.condition_logits(d.features(contents.wrong_images[32]), contents.text))
    torch.testing.assert_close(losses(game, "d", contents)["wrong"], expected)


@pytest.mark.parametrize("wrong_pairs", ["text", "image"])
def test_every_image_gets_its_own_noise(wrong_pairs: str) -> None:
    game = objective(wrong_pairs=wrong_pairs, instance_noise=0.3)
    contents, seen = batch(game, 16), []
    draw = game.draw(contents, Noise("draw"))
    look = game.discriminator.features

    def remember(images: Tensor) -> Tensor:
        seen.append(images.detach())
        return look(images)

    game.discriminator.features = remember  # type: ignore[method-assign]
    game.phase("d").loss(draw)
    torch.manual_seed(5)
    of_generator = game.phase("g").loss(draw)["total"]
    clean = [contents.images[32], draw.output.images[-1], *contents.wrong_images.values(), draw.output.images[-1]]
    noise = [(shown - image).detach() for shown, image in zip(seen, clean, strict=True)]
    for each in noise:
        assert each.std().item() == pytest.approx(0.3, rel=0.05) and abs(each.mean().item()) < 0.01
    assert not torch.equal(noise[0], noise[1])
    torch.manual_seed(5)
    assert torch.equal(game.phase("g").loss(draw)["total"], of_generator)
    assert game.phase("g").loss(draw)["total"] != of_generator


def test_a_discriminator_of_means_is_shown_the_mean_of_the_wrong_text() -> None:
    game = objective(variant="pytorch", wrong_pairs="text")
    contents = batch(game)
    assert contents.wrong_text is not None
    d = game.discriminator
    expected = bce_fake(d.condition_logits(d.features(contents.images[32]), game.generator.condition(contents.wrong_text)))
    torch.testing.assert_close(losses(game, "d", contents)["wrong"], expected)


@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize("variant", VARIANTS)
def test_each_phase_moves_its_own_weights_alone(variant: str, stage: int) -> None:
    game = objective(variant=variant, stage=stage)
    players = {phase.name: phase.params for phase in game.phases}
    everything = [p for module in game.modules.values() for p in module.parameters()]
    draw = game.draw(batch(game), Noise("draw"))
    for phase, others in (("d", "g"), ("g", "d")):
        for param in everything:
            param.grad = None
        for param in players[others]:
            param.requires_grad_(False)
        for param in players[phase]:
            param.requires_grad_(True)
        game.phase(phase).loss(draw)["total"].backward()
        assert all(p.grad is not None for p in players[phase])
        moved = {id(p) for p in players[phase]}
        assert all(p.grad is None for p in everything if id(p) not in moved)


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_adversarial_gradient_through_what_d_is_shown_of_the_text(variant: str) -> None:
    draw = (game := objective(variant=variant)).draw(batch(game), Noise("draw"))
    assert draw.condition is not None and not draw.condition.requires_grad


@pytest.mark.parametrize("stage", [1, 2])
@pytest.mark.parametrize("variant", VARIANTS)
def test_unconditional(variant: str, stage: int) -> None:
    game = objective(variant=variant, stage=stage, conditional=False, wrong_pairs="none")
    assert not game.needs.text
    draw = game.draw(batch(game), Noise("draw"))
    d, g = game.phase("d").loss(draw), game.phase("g").loss(draw)
    torch.testing.assert_close(d["total"], d["real"] + d["fake"])
    assert "kl" not in g
    unconditional = game.discriminator.unconditional_logits(game.discriminator.features(draw.output.images[-1]))
    assert unconditional is not None
    torch.testing.assert_close(g["total"], bce_real(unconditional))


def test_two_texts_one_game_without_augmentation_has_no_divergence() -> None:
    for options in ({"conditioning_augmentation": False}, {"stage": 2, "text_twice": False}):
        assert "kl" not in losses(objective(**options), "g")


def test_the_sum_of_the_divergence_is_the_mean_times_the_dimension() -> None:
    mean, whole = (losses(objective(kl_reduction=r), "g")["kl"] for r in ("mean", "sum"))
    torch.testing.assert_close(whole, 6 * mean)


def test_a_game_can_be_won_by_neither_side_alone() -> None:
    """A few steps of d alone reduce its loss, and then a few steps of g alone reduce its loss: the signs are right."""
    game = objective(variant="paper", df_dim=8)
    contents = batch(game, 8)
    before: dict[str, float] = {}
    for phase in game.phases:
        adam = torch.optim.Adam(phase.params, 1e-3, betas=(0.5, 0.999))
        for i in range(8):
            loss = losses(game, phase.name, contents)["total"]
            if i == 0:
                before[phase.name] = loss.item()
            adam.zero_grad()
            loss.backward()
            adam.step()
        assert losses(game, phase.name, contents)["total"].item() < 0.9 * before[phase.name]
