"""StackGAN-v1, both stages, as released in PyTorch."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from plain.common import Conditioning, Generated, Step, adam, bce, by_sixteen, contents, conv3, down, kl, loaded, same, tile
from stackgan_cli.config.archs import StackGANv1
from stackgan_cli.objectives.base import Batch


def up(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Upsample(scale_factor=2), conv3(inputs, outputs), nn.BatchNorm2d(outputs), nn.ReLU(True))


class Stage1(nn.Module):
    def __init__(self, c: StackGANv1) -> None:
        super().__init__()
        self.width = 8 * c.gf_dim
        self.ca_net = Conditioning(c.text_dim, 2 * c.condition_dim, nn.ReLU())
        units = 16 * self.width
        self.fc = nn.Sequential(nn.Linear(c.z_dim + c.condition_dim, units, bias=False), nn.BatchNorm1d(units), nn.ReLU(True))
        widths = [self.width // 2**i for i in range(5)]
        self.ups = [f"upsample{i}" for i in range(1, 5)]
        for name, (before, after) in zip(self.ups, pairwise(widths), strict=True):
            self.add_module(name, up(before, after))
        self.img = nn.Sequential(conv3(widths[4], 3), nn.Tanh())

    def forward(self, text: Tensor, noise: Mapping[str, Tensor]) -> Generated:
        code, mu, logvar = self.ca_net(text, noise["eps1"])
        h = self.fc(torch.cat([noise["z"], code], 1)).view(-1, self.width, 4, 4)
        for name in self.ups:
            h = self.get_submodule(name)(h)
        return [self.img(h)], mu, logvar


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.block = nn.Sequential(conv3(width, width), nn.BatchNorm2d(width), nn.ReLU(True), conv3(width, width), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block(x)
        out += x
        return F.relu(out, inplace=True)


class Stage2(nn.Module):
    def __init__(self, c: StackGANv1) -> None:
        super().__init__()
        self.STAGE1_G = Stage1(c).requires_grad_(False)
        self.ca_net = Conditioning(c.text_dim, 2 * c.condition_dim, nn.ReLU())
        gf, width = c.gf_dim, 4 * c.gf_dim

        def down_relu(inputs: int, outputs: int) -> list[nn.Module]:
            return [nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(True)]

        self.encoder = nn.Sequential(conv3(3, gf), nn.ReLU(True), *down_relu(gf, 2 * gf), *down_relu(2 * gf, width))
        self.hr_joint = nn.Sequential(conv3(width + c.condition_dim, width), nn.BatchNorm2d(width), nn.ReLU(True))
        self.residual = nn.Sequential(*(Residual(width) for _ in range(c.residual_blocks)))
        widths = [width // 2**i for i in range(5)]
        self.ups = [f"upsample{i}" for i in range(1, 5)]
        for name, (before, after) in zip(self.ups, pairwise(widths), strict=True):
            self.add_module(name, up(before, after))
        self.img = nn.Sequential(conv3(widths[4], 3), nn.Tanh())

    def forward(self, text: Tensor, noise: Mapping[str, Tensor]) -> Generated:
        first = self.STAGE1_G(text, noise)[0][0].detach()
        code, mu, logvar = self.ca_net(text, noise["eps2"])
        h = self.encoder(first)
        h = self.residual(self.hr_joint(torch.cat([h, tile(code, h.shape[-1])], 1)))
        for name in self.ups:
            h = self.get_submodule(name)(h)
        return [self.img(h)], mu, logvar


class Head(nn.Module):
    def __init__(self, width: int, condition_dim: int) -> None:
        super().__init__()
        joint = same(width + condition_dim, width) if condition_dim else []
        self.outlogits = nn.Sequential(*joint, nn.Conv2d(width, 1, 4, 4))

    def forward(self, features: Tensor, mu: Tensor | None = None) -> Tensor:
        if mu is not None:
            features = torch.cat([features, tile(mu, 4)], 1)
        out: Tensor = self.outlogits(features).view(-1)
        return out


class StageDiscriminator(nn.Module):
    """Mismatched pairs combine the features of one image with the text of the next, so the trunk and the heads run separately."""

    def __init__(self, c: StackGANv1) -> None:
        super().__init__()
        df = c.df_dim
        trunk = by_sixteen(df)
        if c.stage == 2:
            trunk += [*down(8 * df, 16 * df), *down(16 * df, 32 * df), *same(32 * df, 16 * df), *same(16 * df, 8 * df)]
            self.get_uncond_logits = Head(8 * df, 0)
        self.encode_img = nn.Sequential(*trunk)
        self.get_cond_logits = Head(8 * df, c.condition_dim)


def step_of(config: StackGANv1, networks: Mapping[str, nn.Module], batch: Batch) -> Step:
    text, real_images = contents(batch, config.resolution)
    g = loaded(Stage1(config) if config.stage == 1 else Stage2(config), text.device, networks["generator"])
    d = StageDiscriminator(config)
    loaded(d, text.device, networks["discriminator"])
    g_adam, d_adam = adam(g), adam(d)

    def step(noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        (fake_images,), mu, logvar = g(text, noise)
        mean = mu.detach()
        d.zero_grad()
        real, fake = d.encode_img(real_images), d.encode_img(fake_images.detach())
        real_loss = bce(d.get_cond_logits(real, mean), 1)
        wrong_loss = bce(d.get_cond_logits(real[:-1], mean[1:]), 0)
        fake_loss = bce(d.get_cond_logits(fake, mean), 0)
        if config.stage == 1:
            d_loss = real_loss + 0.5 * (fake_loss + wrong_loss)
        else:
            real_loss = (real_loss + bce(d.get_uncond_logits(real), 1)) / 2
            d_loss = real_loss + (fake_loss + wrong_loss + bce(d.get_uncond_logits(fake), 0)) / 3
        d_loss.backward()
        d_adam.step()
        g.zero_grad()
        fake = d.encode_img(fake_images)
        g_loss = bce(d.get_cond_logits(fake, mean), 1)
        if config.stage == 2:
            g_loss = g_loss + bce(d.get_uncond_logits(fake), 1)
        g_loss = g_loss + 2.0 * kl(mu, logvar)
        g_loss.backward()
        g_adam.step()
        return {"d": d_loss.detach(), "g": g_loss.detach()}

    return step
