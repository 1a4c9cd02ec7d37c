"""Seconds a training step of StackGAN-v1: ours against a plain transcription of the published PyTorch code's maths.

    python benchmarks/train_step.py                       # both stages at the published sizes, batch 16 and 4
    python benchmarks/train_step.py --stage 1 --gf 32 --df 16 --batch 64 --channels-last off

Both make the same step from the same weights: one generator forward, a discriminator step, a generator step, Adam for each. The
transcription does it as the equations read: NCHW, up-sample and then convolve, text codes tiled and concatenated, every pass by
itself, weight gradients of D computed in G's step as well, Adam as it comes. They take turns in one process, and the ratio is that
of the best times, so a busy machine disturbs both alike. bf16 is measured after them, by itself.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from stackgan_cli.config.archs import StackGANv1
from stackgan_cli.config.schema import TrainConfig
from stackgan_cli.models.stackgan_v1 import build_networks
from stackgan_cli.objectives.base import Batch
from stackgan_cli.objectives.matching import MatchingObjective
from stackgan_cli.runtime import cpu_has_bf16
from stackgan_cli.training.loop import Trainer

# -- the transcription: names and shapes of the published state dicts, so that both sides start from the same weights -----------------


def conv3(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)


def up(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Upsample(scale_factor=2), conv3(inputs, outputs), nn.BatchNorm2d(outputs), nn.ReLU())


def down(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)]


def same(inputs: int, outputs: int) -> list[nn.Module]:
    return [conv3(inputs, outputs), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2)]


def tile(code: Tensor, side: int) -> Tensor:
    return code[:, :, None, None].repeat(1, 1, side, side)


class PlainConditioning(nn.Module):
    def __init__(self, text_dim: int, dim: int) -> None:
        super().__init__()
        self.fc = nn.Linear(text_dim, 2 * dim)

    def forward(self, text: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mu, logvar = F.relu(self.fc(text)).chunk(2, 1)
        return mu + torch.exp(0.5 * logvar) * torch.randn_like(mu), mu, logvar


class PlainStage1(nn.Module):
    def __init__(self, c: StackGANv1) -> None:
        super().__init__()
        self.z_dim, self.width = c.z_dim, 8 * c.gf_dim
        self.ca_net = PlainConditioning(c.text_dim, c.condition_dim)
        units = 16 * self.width
        self.fc = nn.Sequential(nn.Linear(c.z_dim + c.condition_dim, units, bias=False), nn.BatchNorm1d(units), nn.ReLU())
        widths = [self.width // 2**i for i in range(5)]
        for i in range(4):
            self.add_module(f"upsample{i + 1}", up(widths[i], widths[i + 1]))
        self.img = nn.Sequential(conv3(widths[4], 3), nn.Tanh())

    def forward(self, text: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        code, mu, logvar = self.ca_net(text)
        h = self.fc(torch.cat([torch.randn(len(text), self.z_dim), code], 1)).view(-1, self.width, 4, 4)
        for i in range(4):
            h = self.get_submodule(f"upsample{i + 1}")(h)
        return self.img(h), mu, logvar


class PlainResidual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.block = nn.Sequential(conv3(width, width), nn.BatchNorm2d(width), nn.ReLU(), conv3(width, width), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.block(x))


class PlainStage2(nn.Module):
    def __init__(self, c: StackGANv1) -> None:
        super().__init__()
        self.STAGE1_G = PlainStage1(c).requires_grad_(False)
        self.ca_net = PlainConditioning(c.text_dim, c.condition_dim)
        gf, width = c.gf_dim, 4 * c.gf_dim

        def down_relu(inputs: int, outputs: int) -> list[nn.Module]:
            return [nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

        self.encoder = nn.Sequential(conv3(3, gf), nn.ReLU(), *down_relu(gf, 2 * gf), *down_relu(2 * gf, width))
        self.hr_joint = nn.Sequential(conv3(width + c.condition_dim, width), nn.BatchNorm2d(width), nn.ReLU())
        self.residual = nn.Sequential(*(PlainResidual(width) for _ in range(c.residual_blocks)))
        widths = [width // 2**i for i in range(5)]
        for i in range(4):
            self.add_module(f"upsample{i + 1}", up(widths[i], widths[i + 1]))
        self.img = nn.Sequential(conv3(widths[4], 3), nn.Tanh())

    def forward(self, text: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        first = self.STAGE1_G(text)[0].detach()
        code, mu, logvar = self.ca_net(text)
        h = self.encoder(first)
        h = self.residual(self.hr_joint(torch.cat([h, tile(code, h.shape[-1])], 1)))
        for i in range(4):
            h = self.get_submodule(f"upsample{i + 1}")(h)
        return self.img(h), mu, logvar


class PlainHead(nn.Module):
    def __init__(self, width: int, condition_dim: int) -> None:
        super().__init__()
        joint = same(width + condition_dim, width) if condition_dim else []
        self.outlogits = nn.Sequential(*joint, nn.Conv2d(width, 1, 4, 4))

    def forward(self, features: Tensor, mu: Tensor | None = None) -> Tensor:
        if mu is not None:
            features = torch.cat([features, tile(mu, 4)], 1)
        return self.outlogits(features).view(-1)


class PlainDiscriminator(nn.Module):
    def __init__(self, c: StackGANv1) -> None:
        super().__init__()
        df = c.df_dim
        trunk = [nn.Conv2d(3, df, 4, 2, 1, bias=False), nn.LeakyReLU(0.2), *down(df, 2 * df), *down(2 * df, 4 * df), *down(4 * df, 8 * df)]
        if c.stage == 2:
            trunk += [*down(8 * df, 16 * df), *down(16 * df, 32 * df), *same(32 * df, 16 * df), *same(16 * df, 8 * df)]
            self.get_uncond_logits = PlainHead(8 * df, 0)
        self.encode_img = nn.Sequential(*trunk)
        self.get_cond_logits = PlainHead(8 * df, c.condition_dim)


def plain_step(config: StackGANv1, networks: dict[str, nn.Module], batch: Batch) -> Callable[[], tuple[Tensor, Tensor]]:
    """The step of the published trainer; returns its losses (d, g)."""
    g: nn.Module = PlainStage1(config) if config.stage == 1 else PlainStage2(config)
    d = PlainDiscriminator(config)
    g.load_state_dict(networks["generator"].state_dict())
    d.load_state_dict(networks["discriminator"].state_dict())
    d_adam = torch.optim.Adam(d.parameters(), lr=2e-4, betas=(0.5, 0.999))
    g_adam = torch.optim.Adam([p for p in g.parameters() if p.requires_grad], lr=2e-4, betas=(0.5, 0.999))
    real_images, text = batch.images[config.resolution].contiguous(), batch.text
    bce = F.binary_cross_entropy_with_logits

    def step() -> tuple[Tensor, Tensor]:
        fake_images, mu, logvar = g(text)
        ones, zeros, mean = torch.ones(len(mu)), torch.zeros(len(mu)), mu.detach()
        d.zero_grad()
        real, fake = d.encode_img(real_images), d.encode_img(fake_images.detach())
        real_loss = bce(d.get_cond_logits(real, mean), ones)
        wrong_loss = bce(d.get_cond_logits(real[:-1], mean[1:]), zeros[1:])
        fake_loss = bce(d.get_cond_logits(fake, mean), zeros)
        if config.stage == 1:
            d_loss = real_loss + 0.5 * (fake_loss + wrong_loss)
        else:
            real_loss = (real_loss + bce(d.get_uncond_logits(real), ones)) / 2
            d_loss = real_loss + (fake_loss + wrong_loss + bce(d.get_uncond_logits(fake), zeros)) / 3
        d_loss.backward()
        d_adam.step()
        g.zero_grad()
        fake = d.encode_img(fake_images)
        g_loss = bce(d.get_cond_logits(fake, mean), ones)
        if config.stage == 2:
            g_loss = g_loss + bce(d.get_uncond_logits(fake), ones)
        kl = -0.5 * torch.mean(1 + logvar - mu.pow(2) - logvar.exp())
        g_loss = g_loss + 2.0 * kl
        g_loss.backward()
        g_adam.step()
        return d_loss.detach(), g_loss.detach()

    return step


# -- ours: the loop of the product, fed with one batch --------------------------------------------------------------------------------


@dataclass
class OneBatch:
    """A feed that always gives the same batch."""

    contents: Batch
    batch_size: int

    def __len__(self) -> int:
        return self.batch_size

    def batch(self, *_: int) -> Batch:
        return self.contents


def our_step(config: StackGANv1, networks: dict[str, nn.Module], batch: Batch, precision: str, channels_last: str) -> Trainer:
    copies = build_networks(config)
    for name, network in networks.items():
        copies[name].load_state_dict(network.state_dict())
    train = TrainConfig(steps=1, batch_size=batch.size, precision=precision, channels_last=channels_last)
    feed = OneBatch(batch, batch.size)
    return Trainer(MatchingObjective(config, copies), feed, train, device=torch.device("cpu"))  # type: ignore[arg-type]


def seconds(step: Callable[[], object]) -> float:
    started = time.perf_counter()
    step()
    return time.perf_counter() - started


def interleaved(sides: dict[str, Callable[[], object]], steps: int) -> tuple[dict[str, list[float]], dict[str, int]]:
    """Seconds of each of `steps` steps of every side, taken in turns, and the FLOPs of the step before them."""
    flops = {}
    for name, step in sides.items():
        with FlopCounterMode(display=False) as counter:
            step()
        flops[name] = counter.get_total_flops()
    times: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(steps):
        for name, step in sides.items():
            times[name].append(seconds(step))
    return times, flops


def measure(stage: int, options: argparse.Namespace) -> None:
    torch.manual_seed(0)
    resolution, size = (64, options.batch or 16) if stage == 1 else (256, options.batch or 4)
    config = StackGANv1(variant="pytorch", stage=stage, resolution=resolution, gf_dim=options.gf, df_dim=options.df)
    networks = build_networks(config)
    images = (torch.rand(size, resolution, resolution, 3) * 2 - 1).permute(0, 3, 1, 2)
    batch = Batch(images={resolution: images}, text=torch.randn(size, config.text_dim))
    sides: dict[str, Callable[[], object]] = {
        "plain": plain_step(config, networks, batch),
        "ours": our_step(config, networks, batch, "fp32", options.channels_last).run_step,
    }
    times, flops = interleaved(sides, options.steps)
    del sides
    if options.bf16 and cpu_has_bf16():
        alone = {"ours bf16": our_step(config, networks, batch, "bf16", options.channels_last).run_step}
        for found, more in zip((times, flops), interleaved(alone, options.steps), strict=True):
            found.update(more)  # type: ignore[arg-type]
    print(f"Stage-{'I' * stage}, {resolution} px, batch {size}, gf {options.gf}, df {options.df}, best of {options.steps} steps")
    for name, each in times.items():
        best, median = min(each), sorted(each)[len(each) // 2]
        rate, work = f"{size / best:7.2f} images/s (median {size / median:.2f})", f"{flops[name] / size / 1e9:6.1f} GFLOP/image"
        print(f"  {name:9s} {best:7.3f} s a step, {rate}, {work}, {min(times['plain']) / best:.2f} x plain", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", type=int, choices=(1, 2), help="only this stage")
    parser.add_argument("--steps", type=int, default=9)
    parser.add_argument("--batch", type=int, help="default 16 for Stage-I, 4 for Stage-II")
    parser.add_argument("--gf", type=int, default=128)
    parser.add_argument("--df", type=int, default=64)
    parser.add_argument("--threads", type=int, help="default: all cores")
    parser.add_argument("--channels-last", choices=("auto", "on", "off"), default="auto")
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {platform.processor() or platform.machine()}, {torch.get_num_threads()} threads")
    for stage in (1, 2) if options.stage is None else (options.stage,):
        measure(stage, options)


if __name__ == "__main__":
    main()
