"""StackGAN-v2: a tree of generators trained together (StackGAN++ section 5; names, order and sizes of the released code).

Stage i of the generator computes a hidden map h_i and, by one convolution, an image; the next stage joins h_i with the condition again,
refines it with residual blocks and doubles its side. Every activation is a gated linear unit (GLU), which halves the channels.

| | released | paper |
|---|---|---|
| channels at 64 / 128 / 256 px | 64 / 32 / 16 after the GLU | 128 / 64 / 32 (the released code has these before the GLU) |
| condition of the discriminators | mean of the conditioning Gaussian | its sample |
| mismatched pairs | weight 1, and real for the image head | none (Eq. 11) |
| KL term | mean over the dimensions | the same; `kl_reduction: sum` is the divergence of Eq. 2 |

Conditions: text through conditioning augmentation; class labels, with one learned vector per class; or none, in which case z takes the
place of the condition in every stage (Eq. 7). Stages with equal sides (`branches: [256, 256, 256]`, Table 5) refine without doubling. In
the released code the fourth stage has one residual block and is marked as untested.

Shape letters: `B` batch, `S` side, `V` condition, `Z` noise, `C` channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from math import log2

import torch
from torch import Tensor, nn

from stackgan_cli.config.archs import StackGANv2
from stackgan_cli.models.blocks import (
    LEAK,
    ClassConditioning,
    ConditioningAugmentation,
    GatedLinearUnit,
    GatedResidualBlock,
    Joint,
    conv_norm,
    gated_up_block,
    init_orthogonal,
    memory_format_of,
)
from stackgan_cli.models.convolutions import JointConv
from stackgan_cli.models.interface import ConditionalGenerator, GeneratorOutput, PairDiscriminator


class FirstStage(nn.Module):
    """Condition and noise (B, V + Z) -> the hidden map (B, C, S, S) of the first branch, by up-sampling a 4x4 map."""

    def __init__(self, input_dim: int, width: int, side: int) -> None:
        super().__init__()
        self.doublings = int(log2(side)) - 2
        self.width = width * 2**self.doublings
        units = 2 * 16 * self.width
        self.fc = nn.Sequential(nn.Linear(input_dim, units, bias=False), nn.BatchNorm1d(units), GatedLinearUnit())
        channels = self.width
        for i in range(1, self.doublings + 1):
            self.add_module(f"upsample{i}", gated_up_block(channels, channels // 2))
            channels //= 2

    def forward(self, code: Tensor, layout: torch.memory_format) -> Tensor:
        h: Tensor = self.fc(code).view(-1, self.width, 4, 4).contiguous(memory_format=layout)
        for i in range(1, self.doublings + 1):
            h = self.get_submodule(f"upsample{i}")(h)
        return h


class NextStage(nn.Module):
    """The map (B, C, S, S) of the previous branch and the condition (B, V) -> (B, C / 2, 2S, 2S), or the same size without `doubling`."""

    def __init__(self, width: int, condition_dim: int, residual_blocks: int, doubling: bool) -> None:
        super().__init__()
        joint = JointConv(width, condition_dim, 2 * width, 3, vector_first=True)
        self.jointConv = Joint(joint, nn.BatchNorm2d(2 * width), GatedLinearUnit())
        self.residual = nn.Sequential(*(GatedResidualBlock(width) for _ in range(residual_blocks)))
        self.upsample = gated_up_block(width, width // 2) if doubling else nn.Identity()

    def forward(self, h: Tensor, condition: Tensor) -> Tensor:
        out: Tensor = self.upsample(self.residual(self.jointConv(h, condition)))
        return out


class Image(nn.Module):
    """A hidden map (B, C, S, S) -> an image (B, 3, S, S) in [-1, 1]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.img = nn.Sequential(nn.Conv2d(width, 3, 3, padding=1, bias=False), nn.Tanh())

    def forward(self, h: Tensor) -> Tensor:
        out: Tensor = self.img(h)
        return out


class TreeGenerator(ConditionalGenerator):
    """Condition and noise -> an image per supervised branch. Noise: `z` (B, Z) and, with text, `eps` (B, V)."""

    def __init__(self, config: StackGANv2) -> None:
        super().__init__()
        self.z_dim = config.z_dim
        self.ca_net: ConditioningAugmentation | ClassConditioning | None = None
        condition_dim = config.z_dim
        if config.condition == "text":
            self.ca_net = ConditioningAugmentation(config.text_dim, config.condition_dim, "stackgan-v2")
        elif config.num_classes is not None:
            self.ca_net = ClassConditioning(config.num_classes, config.condition_dim)
        if self.ca_net is not None:
            condition_dim = config.condition_dim
        input_dim = config.z_dim + (condition_dim if self.ca_net is not None else 0)

        def width(side: int) -> int:
            return config.gf_dim * 64 // side

        self.stages = len(config.branches)
        self.imaged = tuple(range(1, self.stages + 1)) if config.supervised == "all" else (self.stages,)
        self.h_net1 = FirstStage(input_dim, width(config.branches[0]), config.branches[0])
        for i, (before, after) in enumerate(pairwise(config.branches), 2):
            blocks = config.residual_blocks if i < 4 else min(config.residual_blocks, 1)
            self.add_module(f"h_net{i}", NextStage(width(before), condition_dim, blocks, doubling=after != before))
        for i in self.imaged:
            self.add_module(f"img_net{i}", Image(width(config.branches[i - 1])))
        init_orthogonal(self)

    def noise_shapes(self, batch: int) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {"z": (batch, self.z_dim)}
        if self.ca_net is not None and self.ca_net.sampled:
            shapes["eps"] = (batch, self.ca_net.condition_dim)
        return shapes

    def forward(self, text: Tensor | None, noise: Mapping[str, Tensor]) -> GeneratorOutput:
        z, c, mu, logvar = noise["z"], None, None, None
        if self.ca_net is not None:
            c, mu, logvar = self.ca_net(text, noise.get("eps"))
        code = z if c is None else torch.cat([c, z], 1)
        images = []
        h = self.h_net1(code, memory_format_of(self.get_submodule(f"img_net{self.stages}")))
        for i in range(1, self.stages + 1):
            if i > 1:
                h = self.get_submodule(f"h_net{i}")(h, z if c is None else c)
            if i in self.imaged:
                images.append(self.get_submodule(f"img_net{i}")(h))
        return GeneratorOutput(tuple(images), mu, logvar, c)

    def condition(self, text: Tensor) -> Tensor:
        assert self.ca_net is not None
        mu: Tensor = self.ca_net(text, None)[1]
        return mu


class Discriminator(PairDiscriminator):
    """Images of one side -> logits: a trunk to a 4x4 map, a head for pairs with the condition (B, V) and one for the images alone.

    An unconditional model has only the latter, under the published name of the former.
    """

    def __init__(self, config: StackGANv2, side: int) -> None:
        super().__init__()
        leaky, df = nn.LeakyReLU(LEAK, inplace=True), config.df_dim
        halvings = int(log2(side)) - 2
        first: list[nn.Module] = [nn.Conv2d(3, df, 4, stride=2, padding=1, bias=False), leaky]
        width = df
        for _ in range(min(halvings, 4) - 1):
            first += conv_norm(width, 2 * width, 4, leaky, stride=2)
            width *= 2
        trunk: dict[str, nn.Module] = {"img_code_s16": nn.Sequential(*first)}
        factor, code_width = 16, width
        for _ in range(halvings - 4):
            factor *= 2
            trunk[f"img_code_s{factor}"] = nn.Sequential(*conv_norm(width, 2 * width, 4, leaky, stride=2))
            width *= 2
        for i in range(1, halvings - 4 + 1):
            trunk[f"img_code_s{factor}_{i}"] = nn.Sequential(*conv_norm(width, width // 2, 3, leaky))
            width //= 2
        assert width == code_width
        self.trunk = tuple(trunk)
        for name, layers in trunk.items():
            self.add_module(name, layers)

        self.logits = nn.Sequential(nn.Conv2d(width, 1, 4, stride=4))
        self.jointConv: Joint | None = None
        self.uncond_logits: nn.Sequential | None = None
        if config.conditioning != "none":
            self.jointConv = Joint(JointConv(width, config.condition_dim, width, 3, vector_first=True), nn.BatchNorm2d(width), leaky)
            if config.image_weight:
                self.uncond_logits = nn.Sequential(nn.Conv2d(width, 1, 4, stride=4))
        init_orthogonal(self)

    def features(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) in [-1, 1] -> the trunk's map (B, C, 4, 4)."""
        # Images in another layout than the network would convert the whole trunk, weights included, to theirs.
        h = images.contiguous(memory_format=memory_format_of(self))
        for name in self.trunk:
            h = self.get_submodule(name)(h)
        return h

    def condition_logits(self, features: Tensor, condition: Tensor) -> Tensor:
        assert self.jointConv is not None
        out: Tensor = self.logits(self.jointConv(features, condition)).flatten()
        return out

    def unconditional_logits(self, features: Tensor) -> Tensor | None:
        head = self.logits if self.jointConv is None else self.uncond_logits
        return None if head is None else head(features).flatten()


def build_networks(config: StackGANv2) -> dict[str, nn.Module]:
    """`generator`, and a `discriminatorNAME` for each item of `config.judges`."""
    networks: dict[str, nn.Module] = {"generator": TreeGenerator(config)}
    for name, index in config.judges.items():
        networks[f"discriminator{name}"] = Discriminator(config, config.sides[index])
    return networks
