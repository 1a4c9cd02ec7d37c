"""HDGAN: one deep generator that outputs images at several depths, and a discriminator per scale for pairs and patches (draft, section 3).

Names, order and sizes are those of the released code, whose single discriminator network is split here into one per scale, with the
published names of its scale. Where the draft differs, the `paper` variant follows it (sections 3.4 and 3.5): local maps of side 1, 3, 5, 5
at 64, 128, 256, 512 px (released: 1, 1, 5), reflected padding in the discriminators too, three residual blocks before 512 px (released:
two). The draft's generator of six residual blocks and five stretching layers would end at 128 px; this one has the seven residual blocks
and six doublings of the released code.

The released 512-px training cannot run (it re-initializes the generator that it has loaded, and has no 512-px discriminator). Stage-II
here is what section 3.5 describes: a frozen generator, residual blocks on its last features, one doubling, a reconstruction loss, and a
discriminator like that of 256 px with one more layer. The frozen generator stays in evaluation mode, so none of it changes.

Shape letters: `B` batch, `S` side, `T` text embedding, `V` conditioning vector, `Z` noise, `C` channels, `R` side of the local map.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from math import log2

import torch
from torch import Tensor, nn

from stackgan_cli.config.archs import HDGAN
from stackgan_cli.models.blocks import LEAK, ConditioningAugmentation, Joint, init_weights, memory_format_of, numbered
from stackgan_cli.models.convolutions import DeepConv, JointConv, ReflectConv, UpsampleConv
from stackgan_cli.models.interface import ConditionalGenerator, GeneratorOutput, PairDiscriminator


class ResidualBlock(nn.Module):
    """x + block(x): two 3x3 convolutions with reflected padding, nothing after the sum; (B, C, S, S) -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        first = numbered(1, ReflectConv(channels, channels), nn.BatchNorm2d(channels), nn.ReLU(inplace=True))
        second = numbered(1, ReflectConv(channels, channels), nn.BatchNorm2d(channels))
        self.res_block = nn.Sequential(first, second)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.res_block(x)


def stretch(channels: int, out_channels: int) -> nn.Sequential:
    """Nearest x2, 3x3 convolution with reflected padding, BatchNorm, ReLU: the published up-sampling and the layer after it."""
    return numbered(1, UpsampleConv(channels, out_channels, "reflect"), nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


def to_image(channels: int) -> nn.Sequential:
    """(B, C, S, S) -> an image (B, 3, S, S) in [-1, 1]."""
    return numbered(1, ReflectConv(channels, 3), nn.Tanh())


class VectorToMap(nn.Module):
    """(B, N) -> (B, C, 4, 4): a fully connected layer and BatchNorm without activation."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        self.channels = channels
        self.out = nn.Sequential(nn.Linear(inputs, 16 * channels), nn.BatchNorm1d(16 * channels))

    def forward(self, vector: Tensor) -> Tensor:
        out: Tensor = self.out(vector).view(-1, self.channels, 4, 4)
        return out


class HierarchicalGenerator(ConditionalGenerator):
    """Text and noise -> an image per supervised scale. Noise: `z` (B, Z), `eps` (B, V)."""

    def __init__(self, config: HDGAN) -> None:
        super().__init__()
        self.z_dim, self.scales = config.z_dim, config.scales
        self.condEmbedding = ConditioningAugmentation(config.text_dim, config.condition_dim, "hdgan")
        channels = 8 * config.width
        self.vec_to_tensor = VectorToMap(config.condition_dim + config.z_dim, channels)

        def residuals(channels: int) -> list[nn.Module]:
            return [ResidualBlock(channels) for _ in range(config.residual_blocks)]

        self.scale_4 = nn.Sequential(*residuals(channels))
        self.sides = tuple(2**i for i in range(3, int(log2(config.resolution)) + 1))
        for side in self.sides:
            if side in (16, 64):  # the published generator doubles without a convolution here
                self.add_module(f"scale_{side}", nn.Sequential(nn.Upsample(scale_factor=2), *residuals(channels)))
            else:
                self.add_module(f"scale_{side}", numbered(1, stretch(channels, channels // 2), *residuals(channels // 2)))
                channels //= 2
            if side in config.scales:
                self.add_module(f"tensor_to_img_{side}", to_image(channels))
        self.channels = channels
        init_weights(self, linear=False)

    def noise_shapes(self, batch: int) -> dict[str, tuple[int, ...]]:
        return {"z": (batch, self.z_dim), "eps": (batch, self.condEmbedding.condition_dim)}

    def with_features(self, text: Tensor | None, noise: Mapping[str, Tensor]) -> tuple[GeneratorOutput, Tensor]:
        """The output, and the last hidden map (B, C, S, S)."""
        assert text is not None
        c, mu, logvar = self.condEmbedding(text, noise.get("eps"))
        h = self.vec_to_tensor(torch.cat([c, noise["z"]], 1)).contiguous(memory_format=memory_format_of(self.scale_4))
        h, images = self.scale_4(h), []
        for side in self.sides:
            h = self.get_submodule(f"scale_{side}")(h)
            if side in self.scales:
                images.append(self.get_submodule(f"tensor_to_img_{side}")(h))
        return GeneratorOutput(tuple(images), mu, logvar, c), h

    def forward(self, text: Tensor | None, noise: Mapping[str, Tensor]) -> GeneratorOutput:
        return self.with_features(text, noise)[0]

    def condition(self, text: Tensor) -> Tensor:
        mu: Tensor = self.condEmbedding(text, None)[1]
        return mu


class ContinuedGenerator(ConditionalGenerator):
    """A frozen generator, and layers from its last hidden map to an image with twice its side. Noise: as the frozen generator."""

    def __init__(self, config: HDGAN) -> None:
        super().__init__()
        self.side = 2 * config.resolution
        self.frozen_name = f"generator_{config.resolution}"
        frozen = HierarchicalGenerator(config).requires_grad_(False).eval()
        self.add_module(self.frozen_name, frozen)
        channels = frozen.channels
        blocks = [ResidualBlock(channels) for _ in range(config.stage2_residual_blocks)]
        layers = [(str(i), block) for i, block in enumerate(blocks)] + [(str(len(blocks) + 1), stretch(channels, channels // 2))]
        self.new = (f"scale_{self.side}", f"tensor_to_img_{self.side}")
        scale = nn.Sequential()
        for name, layer in layers:  # the published up-sampling has its own index before the last layer
            scale.add_module(name, layer)
        for name, module in zip(self.new, (scale, to_image(channels // 2)), strict=True):
            init_weights(module)
            self.add_module(name, module)

    @property
    def earlier_stage(self) -> HierarchicalGenerator:
        frozen = self.get_submodule(self.frozen_name)
        assert isinstance(frozen, HierarchicalGenerator)
        return frozen

    def train(self, mode: bool = True) -> ContinuedGenerator:
        """Set the mode of the new layers; the frozen generator always stays in evaluation mode."""
        super().train(mode)
        self.earlier_stage.eval()
        return self

    def trained_modules(self) -> tuple[nn.Module, ...]:
        return tuple(self.get_submodule(name) for name in self.new)

    def noise_shapes(self, batch: int) -> dict[str, tuple[int, ...]]:
        return self.earlier_stage.noise_shapes(batch)

    def forward(self, text: Tensor | None, noise: Mapping[str, Tensor]) -> GeneratorOutput:
        with torch.no_grad():
            first, h = self.earlier_stage.with_features(text, noise)
        for module in self.trained_modules():
            h = module(h)
        return GeneratorOutput((*first.images, h), first.mu, None, first.c)

    def condition(self, text: Tensor) -> Tensor:
        return self.earlier_stage.condition(text)


class Encoder(nn.Module):
    """Images (B, 3, S, S) in [-1, 1] -> the image code, (B, C, 4, 4) at 64 and 128 px, (B, C, 8, 8) above."""

    def __init__(self, side: int, width: int, channels: int, reflect: bool) -> None:
        super().__init__()

        def halving(inputs: int, outputs: int) -> nn.Conv2d:
            return ReflectConv(inputs, outputs, 2) if reflect else DeepConv(inputs, outputs, 3, 2, 1, bias=False)

        widths = [width * 2**i * 64 // side for i in range(int(log2(side)) - 3)]
        if side > 128:
            widths[-1] = channels
        layers: list[nn.Module] = [nn.Sequential(halving(3, widths[0]), nn.LeakyReLU(LEAK, inplace=True))]
        for before, after in pairwise(widths):
            layers.append(nn.Sequential(halving(before, after), nn.BatchNorm2d(after), nn.LeakyReLU(LEAK, inplace=True)))
        if side <= 128:
            layers.append(shrink(widths[-1], channels))
        self.node = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = self.node(images.contiguous(memory_format=memory_format_of(self)))
        return out


def shrink(channels: int, out_channels: int) -> nn.Sequential:
    """(B, C, 8, 8) -> (B, O, 4, 4): a 5x5 convolution without padding, BatchNorm, LeakyReLU."""
    conv = DeepConv(channels, out_channels, 5, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.LeakyReLU(LEAK, inplace=True))


class PairHead(nn.Module):
    """The image code (B, C, 4, 4) and a text code (B, V) -> logits (B,) that they belong together."""

    def __init__(self, channels: int, condition_dim: int) -> None:
        super().__init__()
        joint = Joint(JointConv(channels, condition_dim, channels, 1), nn.BatchNorm2d(channels), nn.LeakyReLU(LEAK, inplace=True))
        self.node = nn.Sequential(joint, nn.Conv2d(channels, 1, 4))

    def forward(self, code: Tensor, text_code: Tensor) -> Tensor:
        joint, logit = self.node
        out: Tensor = logit(joint(code, text_code)).flatten()
        return out


class Discriminator(PairDiscriminator):
    """Images of one side -> logits (B,) of images with text embeddings (B, T), and logits (B, R, R) of image patches."""

    def __init__(self, config: HDGAN, side: int) -> None:
        super().__init__()
        channels = 4 * config.width
        code_side = 4 if side <= 128 else 8
        patches = config.patches[int(log2(side)) - 6]
        text = nn.Sequential(nn.Linear(config.text_dim, config.condition_dim), nn.LeakyReLU(LEAK, inplace=True))
        self.names = {part: f"{part}_{side}" for part in ("img_encoder", "pair_disc", "local_img_disc", "context_emb_pipe")}
        self.add_module(
            self.names["img_encoder"], Encoder(side, config.discriminator_width, channels, config.discriminator_padding == "reflect")
        )
        self.pre_encode = shrink(channels, channels) if code_side == 8 else None
        self.add_module(self.names["pair_disc"], PairHead(channels, config.condition_dim))
        self.has_local = bool(config.image_weight)
        if self.has_local:
            self.add_module(self.names["local_img_disc"], nn.Conv2d(channels, 1, code_side - patches + 1))
        self.add_module(self.names["context_emb_pipe"], text)
        init_weights(self, linear=False)

    def _part(self, name: str) -> nn.Module:
        return self.get_submodule(self.names[name])

    def features(self, images: Tensor) -> Tensor:
        out: Tensor = self._part("img_encoder")(images)
        return out

    def condition_logits(self, features: Tensor, condition: Tensor) -> Tensor:
        code = features if self.pre_encode is None else self.pre_encode(features)
        out: Tensor = self._part("pair_disc")(code, self._part("context_emb_pipe")(condition))
        return out

    def unconditional_logits(self, features: Tensor) -> Tensor | None:
        return self._part("local_img_disc")(features).squeeze(1) if self.has_local else None


def build_networks(config: HDGAN) -> dict[str, nn.Module]:
    """`generator` (a Stage-II generator contains its Stage-I), and a `discriminatorSIDE` for each item of `config.judges`."""
    networks: dict[str, nn.Module] = {"generator": HierarchicalGenerator(config) if config.stage == 1 else ContinuedGenerator(config)}
    for name, index in config.judges.items():
        networks[f"discriminator{name}"] = Discriminator(config, config.sides[index])
    return networks
