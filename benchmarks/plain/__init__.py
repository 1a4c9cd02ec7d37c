"""Plain transcriptions of the published training steps, which `benchmarks/train_step.py` compares ours with.

Everything is computed as written in the equations and the released PyTorch codes: NCHW, nearest upsampling followed by a convolution, text
codes tiled and concatenated, separate passes through a discriminator, in-place activations, `torch.optim.Adam` with its defaults. The
generator runs forward once per step. Where the released code also computes the discriminator's weight gradients in the generator's step
(StackGAN-v1 and v2), so does this; HDGAN's code freezes the discriminator there. What a released step does besides training (StackGAN-v2's
inception score and average of weights) is left out on both sides.

Modules have the names of our state dicts, so that both sides start from the same weights. A generator returns images, coarse to fine, and
the two halves of the conditioning layer; a discriminator returns the logits of the pair and of the image.
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
