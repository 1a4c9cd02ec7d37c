"""Optimizers, learning-rate schedules and the exponential moving average of weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stackgan_cli.config.schema import OptimConfig, TrainConfig
from stackgan_cli.objectives.base import Phase


def base_rate(phase: Phase[Any], config: OptimConfig) -> float:
    """The learning rate of a phase before any decay."""
    if phase.role == "discriminator" and config.lr_discriminator is not None:
        return config.lr_discriminator
    return config.lr


def decay_at(epoch: float, config: OptimConfig) -> float:
    """The factor of the learning rate at `epoch` (fractional)."""
    if config.decay_every is None:
        return 1.0
    intervals = int(max(0.0, epoch - config.decay_after) / config.decay_every + 1e-9)
    return config.decay_factor**intervals


def make_optimizer(params: Sequence[nn.Parameter], config: OptimConfig, lr: float) -> torch.optim.Optimizer:
    """Adam or RMSprop (alpha 0.99, Torch7's default), fused or multi-tensor; on a GPU in the form that CUDA graphs can record."""
    on_gpu = params[0].is_cuda
    rate = torch.tensor(lr, device=params[0].device) if on_gpu else lr
    if config.kind == "adam":
        return torch.optim.Adam(params, lr=rate, betas=config.betas, eps=config.eps, fused=True, capturable=on_gpu)
    return torch.optim.RMSprop(params, lr=rate, alpha=0.99, eps=config.eps, foreach=True, capturable=on_gpu)


class MovingAverage:
    """avg = decay * avg + (1 - decay) * live, over parameters.

    The BatchNorm statistics of the live weights do not fit the average, which lags behind; `settle` computes its own.
    """

    def __init__(self, live: nn.Module, decay: float) -> None:
        self.live, self.decay = live, decay
        self.module = copy.deepcopy(live).requires_grad_(False)

    @torch.no_grad()
    def update(self) -> None:
        torch._foreach_lerp_(list(self.module.parameters()), list(self.live.parameters()), 1 - self.decay)

    @torch.no_grad()
    def snap(self) -> None:
        """Set the live parameters to their average."""
        torch._foreach_copy_(list(self.live.parameters()), list(self.module.parameters()))

    @torch.no_grad()
    def settle(self, forward: Callable[[], None]) -> None:
        """Recompute the BatchNorm statistics of the average (Izmailov et al., UAI 2018, section 3.2): means over the batches of `forward`.

        `forward` runs the live module, which has the parameters of the average during the call and is restored afterwards.
        """
        live: list[Tensor] = list(self.live.parameters())
        norms = [m for m in self.live.modules() if isinstance(m, nn.BatchNorm1d | nn.BatchNorm2d) and m.training]
        if not norms:
            return
        parameters, buffers = [p.clone() for p in live], [b.clone() for b in self.live.buffers()]
        momenta = [norm.momentum for norm in norms]
        torch._foreach_copy_(live, list(self.module.parameters()))
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # a cumulative mean
        try:
            forward()
            for mine, other in zip(self.module.buffers(), self.live.buffers(), strict=True):
                mine.copy_(other)
        finally:
            torch._foreach_copy_(live, parameters)
            for mine, other in zip(self.live.buffers(), buffers, strict=True):
                mine.copy_(other)
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum


class Player:
    """The parameters of a phase with their optimizer and, if one is kept, the moving average."""

    def __init__(self, phase: Phase[Any], config: TrainConfig) -> None:
        self.config, self.ema = config.optim, phase.ema
        self.params = phase.params
        self.base_rate = base_rate(phase, config.optim)
        self.reset_optimizer()
        self.average = MovingAverage(phase.ema, config.ema) if phase.ema is not None and config.ema > 0 else None
        self.settled = -1  # the step for which the BatchNorm statistics of the average were computed

    def reset_optimizer(self) -> None:
        """Replace the optimizer with a new one."""
        self.rate = self.base_rate
        self.optimizer = make_optimizer(self.params, self.config, self.rate)

    def set_rate(self, rate: float) -> None:
        """Set the learning rate."""
        if rate != self.rate:
            self.rate = rate
            for group in self.optimizer.param_groups:
                group["lr"] = group["lr"].fill_(rate) if isinstance(group["lr"], Tensor) else rate

    def load_optimizer(self, state: Mapping[str, Any]) -> None:
        """Load the moments of `state`, which may come from another kind of device."""
        own = [{key: group[key] for key in ("lr", "capturable")} for group in self.optimizer.param_groups]
        groups = [saved | mine for saved, mine in zip(state["param_groups"], own, strict=True)]
        self.optimizer.load_state_dict({**state, "param_groups": groups})
