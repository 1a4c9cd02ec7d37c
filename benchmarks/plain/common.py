"""What the transcriptions share: layers, losses, Adam, and loading of our weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stackgan_cli.objectives.base import Batch

Generated = tuple[list[Tensor], Tensor, Tensor]
Step = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
"""From the noise of a step, by name, to the loss of every player (`d` or `d64`, ..., and `g`), detached."""


def conv3(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)


def leaky() -> nn.Module:
    return nn.LeakyReLU(0.2, inplace=True)


def down(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs), leaky()]


def same(inputs: int, outputs: int) -> list[nn.Module]:
    return [conv3(inputs, outputs), nn.BatchNorm2d(outputs), leaky()]


def by_sixteen(df: int) -> list[nn.Module]:
    """The first four convolutions of StackGAN's discriminators, which reduce the side to a sixteenth."""
    first = nn.Conv2d(3, df, 4, 2, 1, bias=False)
    return [first, leaky(), *down(df, 2 * df), *down(2 * df, 4 * df), *down(4 * df, 8 * df)]


def tile(code: Tensor, side: int) -> Tensor:
    return code[:, :, None, None].repeat(1, 1, side, side)


class Conditioning(nn.Module):
    """mu + sigma * eps; the second half of the fully connected layer (called `layer`) is log-variance, or log sigma."""

    def __init__(self, text_dim: int, units: int, activation: nn.Module, layer: str = "fc", log_sigma: bool = False) -> None:
        super().__init__()
        self.layer, self.activation, self.exponent = layer, activation, 1.0 if log_sigma else 0.5
        self.add_module(layer, nn.Linear(text_dim, units))

    def forward(self, text: Tensor, eps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mu, spread = self.activation(self.get_submodule(self.layer)(text)).chunk(2, 1)
        return mu + torch.exp(self.exponent * spread) * eps, mu, spread


def bce(logits: Tensor, label: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))


def kl(mu: Tensor, logvar: Tensor) -> Tensor:
    return -0.5 * torch.mean(1 + logvar - mu.pow(2) - logvar.exp())


def adam(network: nn.Module) -> torch.optim.Adam:
    return torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=2e-4, betas=(0.5, 0.999))


def loaded(network: nn.Module, device: torch.device, *ours: nn.Module) -> nn.Module:
    """`network` on `device` with the weights of our networks, which together have all of its parameter names."""
    network.load_state_dict({name: value for each in ours for name, value in each.state_dict().items()})
    return network.to(device)


def contents(batch: Batch, *sides: int) -> tuple[Tensor, ...]:
    """The text embedding, and the images at each resolution, NCHW."""
    assert batch.text is not None
    return batch.text, *(batch.images[side].contiguous() for side in sides)
