"""HDGAN up to 256 px, its discriminators one module with one optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from math import log2

import torch
from torch import Tensor, nn

from plain.common import Conditioning, Generated, Step, adam, contents, kl, leaky, loaded, tile
from stackgan_cli.config.archs import HDGAN
from stackgan_cli.objectives.base import Batch


def reflect3(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.ReflectionPad2d(1), nn.Conv2d(inputs, outputs, 3, bias=False), nn.BatchNorm2d(outputs)]


class ReflectResidual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.res_block = nn.Sequential(nn.Sequential(*reflect3(width, width), nn.ReLU(True)), nn.Sequential(*reflect3(width, width)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.res_block(x)
        return out


class VectorToMap(nn.Module):
    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.out = nn.Sequential(nn.Linear(inputs, 16 * width), nn.BatchNorm1d(16 * width))

    def forward(self, vector: Tensor) -> Tensor:
        out: Tensor = self.out(vector).view(-1, self.width, 4, 4)
        return out


class Node(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.node = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.node(x)
        return out


class Hierarchy(nn.Module):
    def __init__(self, c: HDGAN) -> None:
        super().__init__()
        width = 8 * c.width
        self.condEmbedding = Conditioning(c.text_dim, 2 * c.condition_dim, leaky(), "linear", log_sigma=True)
        self.vec_to_tensor = VectorToMap(c.condition_dim + c.z_dim, width)
        self.scale_4 = nn.Sequential(ReflectResidual(width))
        self.sides, self.imaged = [2**i for i in range(3, int(log2(c.resolution)) + 1)], c.scales
        for side in self.sides:
            layers: list[nn.Module] = [nn.Upsample(scale_factor=2)]
            if side not in (16, 64):
                layers.append(nn.Sequential(*reflect3(width, width // 2), nn.ReLU(True)))
                width //= 2
            self.add_module(f"scale_{side}", nn.Sequential(*layers, ReflectResidual(width)))
            if side in self.imaged:
                to_image = nn.Conv2d(width, 3, 3, bias=False)
                self.add_module(f"tensor_to_img_{side}", nn.Sequential(nn.ReflectionPad2d(1), to_image, nn.Tanh()))

    def forward(self, text: Tensor, noise: Mapping[str, Tensor]) -> Generated:
        code, mu, log_sigma = self.condEmbedding(text, noise["eps"])
        h = self.scale_4(self.vec_to_tensor(torch.cat([code, noise["z"]], 1)))
        images = []
        for side in self.sides:
            h = self.get_submodule(f"scale_{side}")(h)
            if side in self.imaged:
                images.append(self.get_submodule(f"tensor_to_img_{side}")(h))
        return images, mu, log_sigma


class HierarchyDiscriminator(nn.Module):
    """One module for all scales; the size of the images selects the part that runs."""

    def __init__(self, c: HDGAN) -> None:
        super().__init__()
        code = 4 * c.width

        def shrink(inputs: int) -> nn.Sequential:
            return nn.Sequential(nn.Conv2d(inputs, code, 5, bias=False), nn.BatchNorm2d(code), leaky())

        for side in c.scales:
            widths = [c.discriminator_width * 2**i * 64 // side for i in range(int(log2(side)) - 3)]
            if side == 256:
                widths[-1] = code
            layers: list[nn.Module] = [nn.Sequential(nn.Conv2d(3, widths[0], 3, 2, 1, bias=False), leaky())]
            for before, after in pairwise(widths):
                layers.append(nn.Sequential(nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), leaky()))
            if side < 256:
                layers.append(shrink(widths[-1]))
            else:
                self.pre_encode = shrink(code)
            joint = nn.Sequential(nn.Conv2d(code + c.condition_dim, code, 1, bias=False), nn.BatchNorm2d(code), leaky())
            self.add_module(f"img_encoder_{side}", Node(*layers))
            self.add_module(f"pair_disc_{side}", Node(joint, nn.Conv2d(code, 1, 4)))
            self.add_module(f"local_img_disc_{side}", nn.Conv2d(code, 1, 4))
            self.add_module(f"context_emb_pipe_{side}", nn.Sequential(nn.Linear(c.text_dim, c.condition_dim), leaky()))

    def forward(self, images: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        side = images.shape[-1]
        features = self.get_submodule(f"img_encoder_{side}")(images)
        code = self.get_submodule(f"context_emb_pipe_{side}")(text)
        shrunk = features if side < 256 else self.pre_encode(features)
        pair = self.get_submodule(f"pair_disc_{side}")(torch.cat([shrunk, tile(code, 4)], 1))
        return pair, self.get_submodule(f"local_img_disc_{side}")(features)


def step_of(config: HDGAN, networks: Mapping[str, nn.Module], batch: Batch) -> Step:
    text, *real_images = contents(batch, *config.scales)
    wrong_images = [batch.wrong_images[side].contiguous() for side in config.scales]
    g = loaded(Hierarchy(config), text.device, networks["generator"])
    d = loaded(HierarchyDiscriminator(config), text.device, *(networks[f"discriminator{side}"] for side in config.scales))
    g_adam, d_adam = adam(g), adam(d)

    def step(noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        fakes, mu, log_sigma = g(text, noise)
        d.requires_grad_(True)
        d.zero_grad()
        losses = {}
        for real, wrong, fake in zip(real_images, wrong_images, fakes, strict=True):
            real_pair, real_local = d(real, text)
            wrong_pair, wrong_local = d(wrong, text)
            fake_pair, fake_local = d(fake.detach(), text)
            pair_loss = squares(real_pair, 1) + (squares(wrong_pair, 0) + squares(fake_pair, 0)) / 2
            local_loss = squares(fake_local, 0) + (squares(wrong_local, 1) + squares(real_local, 1)) / 2
            losses[f"d{real.shape[-1]}"] = pair_loss + local_loss
        torch.stack(list(losses.values())).sum().backward()
        d_adam.step()
        d.requires_grad_(False)
        g.zero_grad()
        g_loss = 4.0 * kl(mu, 2 * log_sigma)
        for fake in fakes:
            fake_pair, fake_local = d(fake, text)
            g_loss = g_loss + squares(fake_pair, 1) + squares(fake_local, 1)
        g_loss.backward()
        g_adam.step()
        return {name: loss.detach() for name, loss in {**losses, "g": g_loss}.items()}

    return step


def squares(logits: Tensor, label: float) -> Tensor:
    return ((logits - label) ** 2).mean()
