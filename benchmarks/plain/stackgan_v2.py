"""StackGAN-v2 with text, any number of branches from 64 px, with both heads per discriminator."""

from __future__ import annotations

from collections.abc import Mapping
from math import log2

import torch
from torch import Tensor, nn

from plain.common import Conditioning, Generated, Step, adam, bce, by_sixteen, contents, conv3, down, kl, loaded, same, tile
from stackgan_cli.config.archs import StackGANv2
from stackgan_cli.objectives.base import Batch


class Gated(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        value, gate = x.chunk(2, 1)
        return value * torch.sigmoid(gate)


def gated(inputs: int, outputs: int) -> list[nn.Module]:
    return [conv3(inputs, 2 * outputs), nn.BatchNorm2d(2 * outputs), Gated()]


class TreeRoot(nn.Module):
    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.fc = nn.Sequential(nn.Linear(inputs, 32 * width, bias=False), nn.BatchNorm1d(32 * width), Gated())
        for i in range(1, 5):
            self.add_module(f"upsample{i}", nn.Sequential(nn.Upsample(scale_factor=2), *gated(width, width // 2)))
            width //= 2

    def forward(self, code: Tensor) -> Tensor:
        h: Tensor = self.fc(code).view(-1, self.width, 4, 4)
        for i in range(1, 5):
            h = self.get_submodule(f"upsample{i}")(h)
        return h


class GatedResidual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.block = nn.Sequential(*gated(width, width), conv3(width, width), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block(x)
        out += x
        return out


class TreeBranch(nn.Module):
    def __init__(self, width: int, condition_dim: int, residual_blocks: int) -> None:
        super().__init__()
        self.jointConv = nn.Sequential(*gated(width + condition_dim, width))
        self.residual = nn.Sequential(*(GatedResidual(width) for _ in range(residual_blocks)))
        self.upsample = nn.Sequential(nn.Upsample(scale_factor=2), *gated(width, width // 2))

    def forward(self, h: Tensor, code: Tensor) -> Tensor:
        out: Tensor = self.upsample(self.residual(self.jointConv(torch.cat([tile(code, h.shape[-1]), h], 1))))
        return out


class TreeImage(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.img = nn.Sequential(conv3(width, 3), nn.Tanh())

    def forward(self, h: Tensor) -> Tensor:
        out: Tensor = self.img(h)
        return out


class Tree(nn.Module):
    def __init__(self, c: StackGANv2) -> None:
        super().__init__()
        self.stages, width = len(c.branches), c.gf_dim
        self.ca_net = Conditioning(c.text_dim, 4 * c.condition_dim, Gated())
        self.h_net1, self.img_net1 = TreeRoot(c.condition_dim + c.z_dim, 16 * width), TreeImage(width)
        for i in range(2, self.stages + 1):
            self.add_module(f"h_net{i}", TreeBranch(width, c.condition_dim, c.residual_blocks))
            width //= 2
            self.add_module(f"img_net{i}", TreeImage(width))

    def forward(self, text: Tensor, noise: Mapping[str, Tensor]) -> Generated:
        code, mu, logvar = self.ca_net(text, noise["eps"])
        h = self.h_net1(torch.cat([code, noise["z"]], 1))
        images = [self.img_net1(h)]
        for i in range(2, self.stages + 1):
            h = self.get_submodule(f"h_net{i}")(h, code)
            images.append(self.get_submodule(f"img_net{i}")(h))
        return images, mu, logvar


class TreeDiscriminator(nn.Module):
    def __init__(self, c: StackGANv2, side: int) -> None:
        super().__init__()
        width = 8 * c.df_dim
        trunk = {"img_code_s16": by_sixteen(c.df_dim)}
        extra, factor = int(log2(side)) - 6, 16
        for _ in range(extra):
            factor *= 2
            trunk[f"img_code_s{factor}"] = down(width, 2 * width)
            width *= 2
        for i in range(1, extra + 1):
            trunk[f"img_code_s{factor}_{i}"] = same(width, width // 2)
            width //= 2
        self.trunk = list(trunk)
        for name, layers in trunk.items():
            self.add_module(name, nn.Sequential(*layers))
        self.jointConv = nn.Sequential(*same(width + c.condition_dim, width))
        self.logits = nn.Sequential(nn.Conv2d(width, 1, 4, 4))
        self.uncond_logits = nn.Sequential(nn.Conv2d(width, 1, 4, 4))

    def forward(self, images: Tensor, mu: Tensor) -> tuple[Tensor, Tensor]:
        h = images
        for name in self.trunk:
            h = self.get_submodule(name)(h)
        joint = self.jointConv(torch.cat([tile(mu, 4), h], 1))
        return self.logits(joint).view(-1), self.uncond_logits(h).view(-1)


def step_of(config: StackGANv2, networks: Mapping[str, nn.Module], batch: Batch) -> Step:
    text, *real_images = contents(batch, *config.branches)
    wrong_images = [batch.wrong_images[side].contiguous() for side in config.branches]
    g = loaded(Tree(config), text.device, networks["generator"])
    ds = [loaded(TreeDiscriminator(config, side), text.device, networks[f"discriminator{side}"]) for side in config.branches]
    g_adam, d_adams = adam(g), [adam(d) for d in ds]

    def step(noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        fakes, mu, logvar = g(text, noise)
        mean, losses = mu.detach(), {}
        for d, d_adam, real, wrong, fake in zip(ds, d_adams, real_images, wrong_images, fakes, strict=True):
            d.zero_grad()
            real_pair, real_image = d(real, mean)
            wrong_pair, wrong_image = d(wrong, mean)
            fake_pair, fake_image = d(fake.detach(), mean)
            d_loss = bce(real_pair, 1) + bce(wrong_pair, 0) + bce(fake_pair, 0)
            d_loss = d_loss + bce(real_image, 1) + bce(wrong_image, 1) + bce(fake_image, 0)
            d_loss.backward()
            d_adam.step()
            losses[f"d{real.shape[-1]}"] = d_loss.detach()
        g.zero_grad()
        g_loss = 2.0 * kl(mu, logvar)
        for d, fake in zip(ds, fakes, strict=True):
            fake_pair, fake_image = d(fake, mu)
            g_loss = g_loss + bce(fake_pair, 1) + bce(fake_image, 1)
        g_loss.backward()
        g_adam.step()
        return {**losses, "g": g_loss.detach()}

    return step
