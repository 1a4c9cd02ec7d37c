"""The published training steps, transcribed plainly: what `benchmarks/train_step.py` measures ours against.

Everything is computed as the equations and the released PyTorch codes read: NCHW, nearest up-sampling and then the convolution, text
codes tiled and concatenated, every pass through a discriminator by itself, activations in place, `torch.optim.Adam` as it comes. The
generator runs forward once a step. Where the released code computes the discriminator's weight gradients in the generator's step as
well (StackGAN v1 and v2), so does this; HDGAN's freezes the discriminator there. What a released step does beside training (StackGAN-v2's
Inception score and average of weights) is left out on both sides.

Modules have the names of our state dicts, so that both sides start from the same weights. A generator gives images, coarse to fine, and
the two halves of the conditioning layer; a discriminator the logits of the pair and of the image.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from plain import hdgan, stackgan_v1, stackgan_v2
from plain.common import Step
from stackgan_cli.config.archs import HDGAN, StackGANv1, StackGANv2
from stackgan_cli.objectives.base import Batch

Config = StackGANv1 | StackGANv2 | HDGAN


def plain_generator(config: Config) -> nn.Module:
    match config:
        case StackGANv1():
            return stackgan_v1.Stage1(config) if config.stage == 1 else stackgan_v1.Stage2(config)
        case StackGANv2():
            return stackgan_v2.Tree(config)
        case HDGAN():
            return hdgan.Hierarchy(config)


def plain_step(config: Config, networks: Mapping[str, nn.Module], batch: Batch) -> Step:
    """The step of the released trainer from the weights of our `networks`, always on `batch`."""
    match config:
        case StackGANv1():
            return stackgan_v1.step_of(config, networks, batch)
        case StackGANv2():
            return stackgan_v2.step_of(config, networks, batch)
        case HDGAN():
            return hdgan.step_of(config, networks, batch)
