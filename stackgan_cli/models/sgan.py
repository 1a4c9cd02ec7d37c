"""SGAN: a stack of generators that inverts an encoder, and a discriminator for every representation (Huang et al., poster; sizes in the
table are those of the released code).

Generator i generates a representation of the encoder from the one above it and its own noise z_i; the top one starts from the label, and
the lowest (0) generates the image. Transposed convolutions mirror the layers of the encoder: stride 2 for a pooling, 'valid' for a
convolution.

| | `mnist` | `cifar10` |
|---|---|---|
| label to fc3 | [z, y] 512 512 256 | z 256, y 512, joined 512 512 256 |
| noise of the image | 128 | 128 128 |
| fc3 to image | [h, z] 128@4 128@8 64@12 64@24 1@28 | 256@5 256@10 128@14 128@28 3@32 |
| discriminator of fc3 | 256 256 | noise 0.2, 512 512 |
| discriminator of the image | 5x5 with stride 2: 32 64 128, fc 256 | noise 0.05, 3x3: 96 96 192 192 192, 1x1 192; dropout 0.1 |

Hidden layers of generators have BatchNorm and ReLU, those of discriminators LeakyReLU. No stack with the lower representations (pool1,
pool2) was published: their networks follow the same pattern.

Shape letters: `B` batch, `K` classes, `Z` noise, `S` side of the image, `H` a representation: (B, 256) for fc3, (B, C, s, s) for maps.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from math import ceil, log2

import torch
from torch import Tensor, nn

from stackgan_cli.config.archs import SGAN
from stackgan_cli.models.blocks import LEAK, normal_like
from stackgan_cli.models.classifier import build_classifier
from stackgan_cli.models.interface import ConditionalGenerator, GeneratorOutput, NoiseSource
from stackgan_cli.models.sgan_encoder import SGANEncoder

NOISE_DIM = 128
"""Width to which the noise of a map or image is projected."""
EPS = 1e-6
"""Epsilon of batch normalization."""
MAPS = ("pool2", "pool1", "image")
"""Representations that are maps, small to large; two transposed convolutions lie between one and the next."""


def encoder_of(networks: Mapping[str, nn.Module]) -> SGANEncoder:
    """The encoder among the networks of a model."""
    encoder = networks["encoder"].get_submodule("network")
    assert isinstance(encoder, SGANEncoder)
    return encoder


def dense(inputs: int, outputs: int) -> nn.Sequential:
    """Fully connected layer, BatchNorm (which has the bias), ReLU."""
    return nn.Sequential(nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs, eps=EPS), nn.ReLU(inplace=True))


def normed(layer: nn.Module, channels: int) -> nn.Sequential:
    return nn.Sequential(layer, nn.BatchNorm2d(channels, eps=EPS), nn.ReLU(inplace=True))


class VectorGenerator(nn.Module):
    """One-hot label (B, K) and noise (B, Z) -> a vector like that of the encoder, nonnegative."""

    def __init__(self, config: SGAN, z_dim: int, outputs: int) -> None:
        super().__init__()
        width, self.apart = config.hidden_dim, config.networks == "cifar10"
        inputs = z_dim + config.num_classes
        if self.apart:
            self.noise, self.label = dense(z_dim, width // 2), dense(config.num_classes, width)
            inputs = width // 2 + width
        self.body = nn.Sequential(dense(inputs, width), dense(width, width), nn.Linear(width, outputs), nn.ReLU(inplace=True))

    def forward(self, label: Tensor, z: Tensor) -> Tensor:
        parts = [self.noise(z), self.label(label)] if self.apart else [z, label]
        out: Tensor = self.body(torch.cat(parts, 1))
        return out


class MapGenerator(nn.Module):
    """A representation, or a one-hot label, and noise (B, Z) -> a lower representation: a map, or an image with pixels in [0, 1]."""

    def __init__(self, config: SGAN, z_dim: int, upper: tuple[int, ...], lower: tuple[int, ...], path: tuple[str, ...], base: int) -> None:
        """`upper`, `lower`: shapes without batch; `path`: the maps from the first one to `lower`; `base`: side of the first map."""
        super().__init__()
        gf = config.gf_dim
        second = [dense(NOISE_DIM, NOISE_DIM)] if config.networks == "cifar10" else []
        self.noise = nn.Sequential(dense(z_dim, NOISE_DIM), *second)
        self.first = (2 * gf, base, base)
        self.start: nn.Module
        if len(upper) == 1:
            self.start = dense(upper[0] + NOISE_DIM, 2 * gf * base * base)
        else:
            self.start = normed(nn.Conv2d(upper[0] + NOISE_DIM, 2 * gf, 3, padding=1, bias=False), 2 * gf)
        ups: list[nn.Module] = []
        steps, inputs = 2 * (len(path) - 1), 2 * gf
        for number in range(steps):
            last = number == steps - 1
            outputs = lower[0] if last else 2 * gf if number == 0 else gf
            stride, padding, extra = (2, 2, 1) if number % 2 == 0 else (1, 0, 0)
            layer = nn.ConvTranspose2d(inputs, outputs, 5, stride, padding, extra, bias=last)
            ups.append(layer if last else normed(layer, outputs))
            inputs = outputs
        if not steps:
            ups.append(nn.Conv2d(2 * gf, lower[0], 3, padding=1))
        self.ups = nn.Sequential(*ups)
        self.out: nn.Module = nn.Sigmoid() if path[-1] == "image" else nn.ReLU(inplace=True)

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        noise = self.noise(z)
        if h.dim() == 4:
            noise = noise[:, :, None, None].expand(-1, -1, *h.shape[2:])
        maps = self.start(torch.cat([h, noise], 1)).view(-1, *self.first)
        out: Tensor = self.out(self.ups(maps))
        return out


class StackGenerator(ConditionalGenerator):
    """Labels (B,), or weights of labels (B, K), and noise z_n (B, Z), ..., z_0 -> images (B, 3, S, S) in [-1, 1].

    The noise is uniform in [0, 1).
    """

    def __init__(self, config: SGAN, encoder: SGANEncoder) -> None:
        super().__init__()
        self.num_classes, self.depth = config.num_classes, len(config.z_dims)
        self.z_dims = dict(zip(reversed(range(self.depth)), config.z_dims, strict=True))
        for (upper, lower), (i, z_dim) in zip(pairwise(config.chain), self.z_dims.items(), strict=True):
            if lower == "fc3":
                self.add_module(f"level{i}", VectorGenerator(config, z_dim, encoder.shape("fc3")[0]))
                continue
            shape = (config.num_classes,) if upper == "label" else encoder.shape(upper)
            first = upper if upper in MAPS else "pool2"
            path = MAPS[MAPS.index(first) : MAPS.index(lower) + 1]
            self.add_module(f"level{i}", MapGenerator(config, z_dim, shape, encoder.shape(lower), path, encoder.shape(first)[1]))

    def noise_shapes(self, batch: int) -> dict[str, tuple[int, ...]]:
        return {f"z{i}": (batch, z_dim) for i, z_dim in self.z_dims.items()}

    def draw_noise(self, batch: int, source: NoiseSource) -> dict[str, Tensor]:
        return {name: source.uniform(*shape) for name, shape in self.noise_shapes(batch).items()}

    def level(self, i: int, above: Tensor, z: Tensor) -> Tensor:
        """Apply generator `i` to the representation above it: gives the next lower one, or for level 0 images (B, 3, S, S) in [-1, 1]."""
        made: Tensor = self.get_submodule(f"level{i}")(above, z)
        return made if i else made.mul(2).sub(1).expand(-1, 3, -1, -1)

    def condition(self, text: Tensor) -> Tensor:
        """Labels (B,) -> one-hot (B, K), without a device sync, unlike `torch.nn.functional.one_hot`."""
        return (text[:, None] == torch.arange(self.num_classes, device=text.device)).float()

    def forward(self, text: Tensor | None, noise: Mapping[str, Tensor]) -> GeneratorOutput:
        assert text is not None
        h = self.condition(text) if text.dim() == 1 else text
        for i in self.z_dims:
            h = self.level(i, h, noise[f"z{i}"])
        return GeneratorOutput((h,))


class GaussianNoise(nn.Module):
    """Adds Gaussian noise in training; with `joint_only`, in joint training only."""

    def __init__(self, sigma: float, joint_only: bool = False) -> None:
        super().__init__()
        self.sigma, self.joint_only = sigma, joint_only

    def forward(self, h: Tensor, joint: bool) -> Tensor:
        return h + self.sigma * normal_like(h) if self.training and (joint or not self.joint_only) else h


class Dropout(nn.Module):
    """Dropout with probability 0.1, in joint training 0.3."""

    def forward(self, h: Tensor, joint: bool) -> Tensor:
        return nn.functional.dropout(h, 0.3 if joint else 0.1, self.training)


class Discriminator(nn.Module):
    """A representation H -> logits, and an estimate (B, Z) of the noise: the head Q of the entropy loss, which shares the trunk.

    Logits are (B, 1) for real, or (B, K) per class, whose log-sum-exp is the logit for real.
    """

    def __init__(self, trunk: list[nn.Module], features: int, logits: int, guess: nn.Module, pooled: bool = False) -> None:
        super().__init__()
        self.trunk, self.pooled = nn.ModuleList(trunk), pooled
        self.logits, self.guess = nn.Linear(features, logits), guess

    def forward(self, h: Tensor, joint: bool = False) -> tuple[Tensor, Tensor]:
        for layer in self.trunk:
            h = layer(h, joint) if isinstance(layer, (GaussianNoise, Dropout)) else layer(h)
        return self.logits(h.mean((2, 3)) if self.pooled else h), self.guess(h)


def build_discriminator(config: SGAN, level: str, shape: tuple[int, ...], z_dim: int) -> Discriminator:
    """The discriminator of the representation `level` with `shape`."""
    leaky, cifar, df = nn.LeakyReLU(LEAK, inplace=True), config.networks == "cifar10", config.df_dim
    logits = 1 if config.critic == "binary" else config.num_classes

    def guess(features: int) -> nn.Module:
        head = nn.Linear(features, z_dim)
        return head if cifar else nn.Sequential(head, nn.Sigmoid())

    if len(shape) == 1:
        width = config.critic_dim
        if not cifar:
            layers = [nn.Linear(shape[0], width), leaky, nn.Linear(width, width), leaky]
            return Discriminator(layers, width, logits, guess(width))
        second = [nn.Linear(width, width, bias=False), nn.BatchNorm1d(width, eps=EPS), leaky]
        first = [GaussianNoise(0.2), nn.Linear(shape[0], width), nn.LeakyReLU(LEAK)]
        return Discriminator([*first, GaussianNoise(0.2, True), *second, GaussianNoise(0.2, True)], width, logits, guess(width))
    if level == "image" and cifar:
        side = ceil(ceil(shape[1] / 2) / 2) - 2

        def conv(inputs: int, outputs: int, stride: int = 1, padding: int = 1) -> list[nn.Module]:
            return [nn.Conv2d(inputs, outputs, 3, stride, padding, bias=False), nn.BatchNorm2d(outputs, eps=EPS), leaky]

        layers = [
            *(GaussianNoise(0.05), nn.Conv2d(shape[0], df, 3, padding=1), leaky, *conv(df, df, 2), Dropout()),
            *(*conv(df, 2 * df), *conv(2 * df, 2 * df, 2), Dropout(), *conv(2 * df, 2 * df, padding=0)),
            *(nn.Conv2d(2 * df, 2 * df, 1), nn.LeakyReLU(LEAK)),
        ]
        flat = nn.Sequential(nn.Flatten(), guess(2 * df * side * side))
        return Discriminator(layers, 2 * df, logits, flat, pooled=True)
    channels, side, layers, width = shape[0], shape[1], [], df
    for _ in range(max(1, ceil(log2(side / 4)))):
        layers += [nn.Conv2d(channels, width, 5, 2, 2), leaky]
        channels, side, width = width, ceil(side / 2), 2 * width
    layers += [nn.Flatten(), nn.Linear(channels * side * side, 8 * df), nn.LeakyReLU(LEAK)]
    return Discriminator(layers, 8 * df, logits, guess(8 * df))


def initialize(module: nn.Module, how: str) -> None:
    """Weights from N(0, 0.02) or Glorot's uniform distribution, biases 0."""
    for child in module.modules():
        if isinstance(child, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            if how == "normal":
                nn.init.normal_(child.weight, std=0.02)
            else:
                nn.init.xavier_uniform_(child.weight)
            if child.bias is not None:
                nn.init.zeros_(child.bias)


def build_networks(config: SGAN) -> dict[str, nn.Module]:
    """`generator`, a `discriminatorI` for each level (level 0 is the image), and the frozen `encoder`."""
    networks: dict[str, nn.Module] = {"encoder": build_classifier(config.inverted).requires_grad_(False)}
    encoder = encoder_of(networks)
    generator = StackGenerator(config, encoder)
    networks["generator"] = generator
    for i, level in zip(generator.z_dims, config.chain[1:], strict=True):
        networks[f"discriminator{i}"] = build_discriminator(config, level, encoder.shape(level), generator.z_dims[i])
    for name, network in networks.items():
        if name != "encoder":
            initialize(network, config.initial)
    return networks
