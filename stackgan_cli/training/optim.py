"""Optimisers, learning-rate schedules and the exponential moving average of weights."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import nn

from stackgan_cli.config.schema import OptimConfig
from stackgan_cli.objectives.base import Phase


def base_rate(phase: Phase, config: OptimConfig) -> float:
    """The learning rate of a phase before any decay."""
    if phase.through_draw or config.lr_discriminator is None:
        return config.lr
    return config.lr_discriminator


def decay_at(epoch: float, config: OptimConfig) -> float:
    """What the learning rate is multiplied by at `epoch` (fractions of an epoch count down)."""
    if config.decay_every is None:
        return 1.0
    intervals = int(max(0.0, epoch - config.decay_after) / config.decay_every + 1e-9)
    return config.decay_factor**intervals


def make_optimizer(params: Sequence[nn.Parameter], config: OptimConfig, lr: float) -> torch.optim.Optimizer:
    """Adam or RMSprop (alpha 0.99, Torch7's default), in the fused or multi-tensor form."""
    if config.kind == "adam":
        return torch.optim.Adam(params, lr=lr, betas=config.betas, eps=config.eps, fused=True)
    return torch.optim.RMSprop(params, lr=lr, alpha=0.99, eps=config.eps, foreach=True)


class MovingAverage:
    """avg = decay * avg + (1 - decay) * live over parameters; buffers (BatchNorm statistics) are copied, not averaged."""

    def __init__(self, live: nn.Module, decay: float) -> None:
        self.live, self.decay = live, decay
        self.module = copy.deepcopy(live).requires_grad_(False)

    @torch.no_grad()
    def update(self) -> None:
        torch._foreach_lerp_(list(self.module.parameters()), list(self.live.parameters()), 1 - self.decay)
        for average, live in zip(self.module.buffers(), self.live.buffers(), strict=True):
            average.copy_(live)

    @torch.no_grad()
    def snap(self) -> None:
        """Set the live parameters to their average."""
        torch._foreach_copy_(list(self.live.parameters()), list(self.module.parameters()))
