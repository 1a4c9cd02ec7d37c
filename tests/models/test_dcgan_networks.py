"""DCGAN's networks and the game that trains them: published sizes, names, initial weights, noise, and one step written out."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stackgan_cli.config.archs import DCGAN
from stackgan_cli.models.dcgan import DCGANDiscriminator, DCGANGenerator, build_networks
from stackgan_cli.objectives.adversarial import AdversarialObjective
from stackgan_cli.objectives.base import Batch, Turn
from stackgan_cli.runtime import Noise

State = dict[str, Tensor]


def built(**values: object) -> tuple[DCGANGenerator, DCGANDiscriminator]:
    torch.manual_seed(0)
    networks = build_networks(DCGAN.model_validate({"z_dim": 5, "gf_dim": 3, "df_dim": 2, **values}))
    generator, discriminator = networks["generator"], networks["discriminator"]
    assert isinstance(generator, DCGANGenerator) and isinstance(discriminator, DCGANDiscriminator)
    return generator, discriminator


def test_published_sizes_and_names() -> None:
    with torch.device("meta"):
        networks = build_networks(DCGAN())
    assert {name: sum(p.numel() for p in network.parameters()) for name, network in networks.items()} == {
        "generator": 3_576_704,
        "discriminator": 2_765_568,
    }
    convolutions = {
        name: {key: tuple(value.shape) for key, value in network.state_dict().items() if value.dim() == 4}
        for name, network in networks.items()
    }
    assert convolutions["generator"] == {
        "main.0.weight": (100, 512, 4, 4),
        "main.3.weight": (512, 256, 4, 4),
        "main.6.weight": (256, 128, 4, 4),
        "main.9.weight": (128, 64, 4, 4),
        "main.12.weight": (64, 3, 4, 4),
    }
    assert convolutions["discriminator"] == {
        "main.0.weight": (64, 3, 4, 4),
        "main.2.weight": (128, 64, 4, 4),
        "main.5.weight": (256, 128, 4, 4),
        "main.8.weight": (512, 256, 4, 4),
        "main.11.weight": (1, 512, 4, 4),
    }


def test_initial_weights_are_normal() -> None:
    for network in built(gf_dim=32, df_dim=32, z_dim=100):
        convolutions = [m.weight.flatten() for m in network.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
        weights = torch.cat(convolutions)
        assert weights.mean().abs() < 2e-4 and weights.std().item() == pytest.approx(0.02, rel=0.02)
        assert all(layer.std().item() == pytest.approx(0.02, rel=0.1) for layer in convolutions)
        norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
        scales = torch.cat([norm.weight for norm in norms])
        assert scales.mean().item() == pytest.approx(1, abs=0.005) and scales.std().item() == pytest.approx(0.02, rel=0.2)
        assert all(norm.bias.eq(0).all() for norm in norms)


def test_noise_of_the_variants() -> None:
    uniform = built(variant="paper", z_dim=1000)[0].draw_noise(100, Noise("noise"))["z"]
    assert uniform.min() >= -1 and uniform.max() < 1
    assert uniform.mean().abs() < 0.01 and uniform.var().item() == pytest.approx(1 / 3, rel=0.02)
    normal = built(variant="released", z_dim=1000)[0].draw_noise(100, Noise("noise"))["z"]
    assert normal.shape == (100, 1000) and normal.var().item() == pytest.approx(1, rel=0.02)
    assert normal.abs().max() > 3


def normalized(x: Tensor, state: State, at: int) -> Tensor:
    """By the mean and the variance of the batch, as in training."""
    mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, unbiased=False)
    scale, bias = (state[f"main.{at}.{part}"].view(1, -1, 1, 1) for part in ("weight", "bias"))
    return (x - mean) / (variance + 1e-5).sqrt() * scale + bias


def generated(z: Tensor, state: State) -> Tensor:
    h = F.conv_transpose2d(z[:, :, None, None], state["main.0.weight"])
    for at in (3, 6, 9, 12):
        h = F.relu(normalized(h, state, at - 2))
        h = F.conv_transpose2d(h, state[f"main.{at}.weight"], stride=2, padding=1)
    return h.tanh()


def probability(x: Tensor, state: State) -> Tensor:
    h = F.leaky_relu(F.conv2d(x, state["main.0.weight"], stride=2, padding=1), 0.2)
    for at in (2, 5, 8):
        h = F.conv2d(h, state[f"main.{at}.weight"], stride=2, padding=1)
        h = F.leaky_relu(normalized(h, state, at + 1), 0.2)
    return F.conv2d(h, state["main.11.weight"]).flatten().sigmoid()


def test_a_step_written_out() -> None:
    generator, discriminator = (network.double() for network in built())
    game = AdversarialObjective(DCGAN(), {"generator": generator, "discriminator": discriminator})
    assert game.turns(0, {}) == (Turn("d"), Turn("g")) and game.needs.images == (64,)
    real = torch.rand(4, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 2 - 1

    class Doubles(Noise):
        def uniform(self, batch: int, *rest: int) -> Tensor:
            return super().uniform(batch, *rest).double()

    draw = game.draw(Batch(images={64: real}), Doubles("step"))
    z = Doubles("step").uniform(4, 5) * 2 - 1
    fake = generated(z, dict(generator.state_dict()))
    torch.testing.assert_close(draw.fake, fake)

    d = game.phase("d").loss(draw)
    state = dict(discriminator.state_dict())
    expected = -probability(real, state).log().mean() - (1 - probability(fake, state)).log().mean()
    torch.testing.assert_close(d["total"].double(), expected, rtol=1e-5, atol=1e-6)  # losses are float32
    torch.testing.assert_close(d["total"], d["real"] + d["fake"])
    d["total"].backward()
    assert all(parameter.grad is None for parameter in generator.parameters())
    assert all(parameter.grad is not None for parameter in discriminator.parameters())

    g = game.phase("g").loss(draw)["total"]
    torch.testing.assert_close(g.double(), -probability(fake, state).log().mean(), rtol=1e-5, atol=1e-6)
    g.backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in generator.parameters())
