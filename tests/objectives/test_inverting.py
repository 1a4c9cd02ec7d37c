"""Training of SGAN: its losses in closed form, which networks receive gradients, and the order of the stages."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from stackgan_cli.config.archs import SGAN, Classifier
from stackgan_cli.models.sgan import build_networks
from stackgan_cli.objectives.base import Batch, objective_at
from stackgan_cli.objectives.inverting import Game, InvertingObjective, StackDraw, generator_steps, strength, weigh_gradient
from stackgan_cli.runtime import Noise

ENCODER = Classifier(backbone="sgan", resolution=28, channels=1, conv_dims=(3, 5), hidden_dim=7, num_classes=4)


def objective(**keys: Any) -> InvertingObjective:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    sizes = {"gf_dim": 4, "df_dim": 4, "hidden_dim": 8, "critic_dim": 8, "z_dims": (3, 2)}
    config = SGAN.model_validate({"encoder": ENCODER, **sizes, **keys})
    return InvertingObjective(config, build_networks(config))


def game_at(made: InvertingObjective, step: int) -> Game:
    game = objective_at(made.stages, step)
    assert isinstance(game, Game)
    return game


def drawn(game: Game) -> StackDraw:
    torch.manual_seed(1)
    batch = Batch(images={28: torch.rand(6, 1, 28, 28).expand(-1, 3, -1, -1) * 2 - 1}, labels=torch.tensor([0, 1, 2, 3, 0, 1]))
    return game.draw(batch, Noise("test"))


def gradients(game: Game, level: int) -> float:
    return sum(float(p.grad.abs().sum()) for p in game.generator.get_submodule(f"level{level}").parameters() if p.grad is not None)


def test_alone_a_level_starts_from_the_encoder_and_jointly_from_the_level_above() -> None:
    made = objective(independent_steps=2)
    alone, joint = game_at(made, 1), game_at(made, 2)
    assert not alone.joint and joint.joint and game_at(made, 1000) is joint and game_at(made, 0) is alone
    draw = drawn(alone)
    assert torch.equal(draw.above[0], draw.real[1]) and not torch.equal(draw.above[0], draw.made[1])
    draw = drawn(joint)
    assert torch.equal(draw.above[0], draw.made[1])


@pytest.mark.parametrize(("joint_weight", "reaches"), [(1.0, True), (0.01, True), (0.0, False)])
def test_the_image_loss_reaches_the_level_above_with_its_weight(joint_weight: float, reaches: bool) -> None:
    found = []
    for weight in (joint_weight, 1.0):
        game = game_at(objective(independent_steps=0, joint_weight=weight), 0)
        draw = drawn(game)
        game._generator_loss(0, draw)[0].backward()
        found.append(gradients(game, 1))
    assert (found[0] > 0) == reaches
    assert found[0] == pytest.approx(joint_weight * found[1], rel=1e-4)


def test_alone_levels_do_not_reach_one_another() -> None:
    game = game_at(objective(independent_steps=None), 10**9)
    draw = drawn(game)
    game._generator_loss(0, draw)[0].backward()
    assert gradients(game, 0) > 0 and gradients(game, 1) == 0


def test_losses_are_those_of_the_poster() -> None:
    game = game_at(objective(independent_steps=0), 0)
    draw = drawn(game)
    for i in (1, 0):
        d = game.discriminators[i]
        real, (made, guess) = torch.sigmoid(d(draw.real[i])[0]), d(draw.made[i])
        fake = torch.sigmoid(made)
        entropy = ((guess - draw.noise[i]) ** 2).mean()
        total, parts = game._discriminator_loss(i, draw)
        assert parts["adversarial"].item() == pytest.approx(-(real.log().mean() + (1 - fake).log().mean()).item() / 2, rel=1e-5)
        assert total.item() == pytest.approx((parts["adversarial"] + 10 * entropy).item(), rel=1e-5)
        total, parts = game._generator_loss(i, draw)
        assert parts["adversarial"].item() == pytest.approx(-fake.log().mean().item(), rel=1e-5)
        if i == 1:
            seen = game.encoder.between(draw.made[1], "fc3", "fc4").softmax(1)
            conditional = -seen[torch.arange(6), draw.labels].log().mean()
        else:
            conditional = ((game.encoder.between(draw.made[0], "image", "fc3") - draw.made[1]) ** 2).mean()
        assert parts["conditional"].item() == pytest.approx(conditional.item(), rel=1e-5)
        assert total.item() == pytest.approx((parts["adversarial"] + parts["conditional"] + 10 * entropy).item(), rel=1e-5)


def test_released_losses_saturate_and_tell_classes() -> None:
    game = game_at(objective(variant="released", networks="cifar10", independent_steps=0), 0)
    game.discriminators[0].eval()
    draw = drawn(game)
    real, made = (game.discriminators[0](h)[0].exp().sum(1) for h in (draw.real[0], draw.made[0]))
    parts = game._generator_loss(0, draw)[1]
    assert parts["adversarial"].item() == pytest.approx((1 - made / (made + 1)).log().mean().item(), rel=1e-4)
    parts = game._discriminator_loss(0, draw)[1]
    expected = -((real / (real + 1)).log().mean() + (1 - made / (made + 1)).log().mean()) / 2
    assert parts["adversarial"].item() == pytest.approx(expected.item(), rel=1e-4)
    assert parts["classes"].item() == pytest.approx(F.cross_entropy(game.discriminators[0](draw.real[0])[0], draw.labels).item(), rel=1e-5)


@pytest.mark.parametrize("key", ["conditional_weight", "entropy_weight"])
def test_a_loss_of_weight_zero_is_left_out(key: str) -> None:
    game = game_at(objective(independent_steps=0, **{key: 0.0}), 0)
    parts = game.phase("g").loss(drawn(game))
    assert not any(name.startswith(key.split("_")[0]) for name in parts)


def test_released_stages_come_one_level_after_the_other() -> None:
    made = objective(variant="released", independent_steps=5)
    found = [(game_at(made, step).levels, game_at(made, step).joint) for step in (0, 4, 5, 9, 10, 10_000)]
    assert found == [((0,), False)] * 2 + [((1,), False)] * 2 + [((1, 0), True)] * 2


def test_one_generator_has_one_stage() -> None:
    made = objective(levels=(), z_dims=(3,), independent_steps=7)
    assert game_at(made, 0) is game_at(made, 100)
    draw = drawn(game_at(made, 0))
    conditional = game_at(made, 0)._generator_loss(0, draw)[1]["conditional"]
    logits = game_at(made, 0).encoder.between(draw.made[0], "image", "fc4")
    assert conditional.item() == pytest.approx(F.cross_entropy(logits, draw.labels).item(), rel=1e-5)


def test_generators_move_more_often_the_stronger_the_discriminator() -> None:
    assert [generator_steps(loss) for loss in (1.0, 0.66, 0.65, 0.51, 0.5, 0.31, 0.3, 0.0)] == [1, 1, 3, 3, 5, 5, 7, 7]
    game = game_at(objective(variant="released", independent_steps=0), 0)
    turns = game.turns(3, {"d": 0.4})
    assert [turn.phase for turn in turns] == ["d", *["g"] * 5]
    assert len({turn.draw for turn in turns if turn.phase == "g"}) == 5
    assert game.remember(3, {"d/adversarial0": torch.tensor(0.25), "d/adversarial1": torch.tensor(1.0)}) == {"d": 0.25}
    assert game_at(objective(), 0).remember(3, {}) is None


def test_strength_and_weighed_gradients() -> None:
    logits = torch.tensor([[1.0, 2.0, -1.0]])
    assert strength(logits).item() == pytest.approx(math.log(math.e + math.e**2 + math.exp(-1)))
    assert strength(torch.tensor([[3.0]])).tolist() == [3.0]
    h = torch.tensor([2.0, -3.0], requires_grad=True)
    weighed = weigh_gradient(h, 0.25)
    assert torch.equal(weighed, h)
    weighed.sum().backward()
    assert h.grad is not None and h.grad.tolist() == [0.25, 0.25]
