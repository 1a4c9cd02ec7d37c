"""StackGAN-v1: Stage-I and Stage-II (StackGAN++ section 4; StackGAN, ICCV 2017), in three variants. Discriminators return logits.

`pytorch` and `tensorflow` follow the released codes. `paper` follows the text; what the text does not state is taken from the codes:

| not stated in the paper | `paper` uses |
|---|---|
| widths (generator 128, discriminator 64), FC without bias before BatchNorm | PyTorch code |
| order of joined inputs | [c, z], [image, text] |
| whether the last up-sampling convolution outputs the image | no: a 3x3 convolution to RGB follows (PyTorch code) |
| text layer of the discriminator | FC to 128, LeakyReLU 0.2 (TensorFlow code) |
| from the 2048 channels of a 256-px discriminator to 512 | two 1x1 convolutions (TensorFlow code) |
| initialization | N(0, 0.02) (PyTorch code) |

Differences of the released codes: `pytorch` applies a ReLU to the parameters of the conditioning Gaussian, conditions D on its mean
instead of the text, joins by a 3x3 convolution and gives the D of Stage-II a second, unconditional head. `tensorflow` adds bottleneck
residual blocks to the G of Stage-I and to both D, outputs the image from the last up-sampling convolution, and omits three activations
(G: after the FC and after the 8-px convolution; D: after the third convolution in Stage-I).

The KL term is the mean over the dimensions of the Gaussian in every variant, `paper` included, as in both codes; the divergence of Eq. 2,
4 and 6 is `kl_reduction: sum`.

How v1 was made unconditional (Table 3) is not published. Here G takes z only, Stage-II refines the Stage-I image only, and D ends in one
4x4 convolution on its trunk. Component analysis (Table 4): `conditioning_augmentation=False` uses the output of the FC as c;
`text_twice=False` is Stage-II with a G that takes no text (its D still sees pairs).

Shape letters: `B` batch, `S` side, `T` text embedding, `Z` noise, `V` conditioning vector, `C` channels of the trunk's 4x4 map.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log2

import torch
from torch import Tensor, nn

from stackgan_cli.config.archs import StackGANv1
from stackgan_cli.models.blocks import (
    LEAK,
    ConditioningAugmentation,
    Joint,
    ResidualBlock,
    conv_norm,
    init_weights,
    memory_format_of,
    up_block,
)
from stackgan_cli.models.convolutions import JointConv, UpsampleConv
from stackgan_cli.models.interface import ConditionalGenerator, GeneratorOutput, PairDiscriminator


class Stage1Generator(ConditionalGenerator):
    """Text and noise -> an image of side `resolution`, by up-sampling a 4x4 map. Noise: `z` (B, Z) and, if c is sampled, `eps1` (B, V)."""

    def __init__(self, config: StackGANv1, resolution: int, gf_dim: int) -> None:
        super().__init__()
        self.resolution = resolution
        self.z_dim = config.z_dim
        self.noise_first = config.variant == "pytorch"
        released_tf = config.variant == "tensorflow"
        input_dim, width = config.z_dim, 8 * gf_dim
        self.ca_net: ConditioningAugmentation | None = None
        if config.conditional:
            self.ca_net = ConditioningAugmentation(config.text_dim, config.condition_dim, config.variant, config.conditioning_augmentation)
            input_dim += config.condition_dim
        self.truncated = frozenset({"eps1"} if released_tf else ())

        self.width = width
        fc: list[nn.Module] = [nn.Linear(input_dim, 16 * width, bias=released_tf), nn.BatchNorm1d(16 * width)]
        self.fc = nn.Sequential(*fc) if released_tf else nn.Sequential(*fc, nn.ReLU(inplace=True))
        doublings = int(log2(resolution)) - 2
        stages: dict[str, nn.Module] = {}
        if released_tf:
            stages["residual1"] = ResidualBlock(width, nn.ReLU(inplace=True), bottleneck=width // 4)
        for i in range(1, doublings if released_tf else doublings + 1):
            before_residual = released_tf and i == 1
            stages[f"upsample{i}"] = up_block(width, width // 2, activation=not before_residual)
            width //= 2
            if before_residual:
                stages["residual2"] = ResidualBlock(width, nn.ReLU(inplace=True), bottleneck=width // 4)
        image = UpsampleConv(width, 3) if released_tf else nn.Conv2d(width, 3, 3, padding=1, bias=False)
        stages["img"] = nn.Sequential(image, nn.Tanh())
        self.stages = tuple(stages)
        for name, stage in stages.items():
            self.add_module(name, stage)
        init_weights(self, truncated=released_tf)

    def noise_shapes(self, batch: int) -> dict[str, tuple[int, ...]]:
        shapes: dict[str, tuple[int, ...]] = {"z": (batch, self.z_dim)}
        if self.ca_net is not None and self.ca_net.sampled:
            shapes["eps1"] = (batch, self.ca_net.condition_dim)
        return shapes

    def forward(self, text: Tensor | None, noise: Mapping[str, Tensor]) -> GeneratorOutput:
        z, c, mu, logvar = noise["z"], None, None, None
        if self.ca_net is not None:
            c, mu, logvar = self.ca_net(text, noise.get("eps1"))
            z = torch.cat([z, c] if self.noise_first else [c, z], 1)
        # The units of the layer are in the order C, H, W; this is the only change of layout in the forward pass, on the smallest map.
        h = self.fc(z).view(-1, self.width, 4, 4).contiguous(memory_format=memory_format_of(self.get_submodule("img")))
        for name in self.stages:
            h = self.get_submodule(name)(h)
        return GeneratorOutput((h,), mu, logvar, c)

    def condition(self, text: Tensor) -> Tensor:
        assert self.ca_net is not None
        return self.ca_net(text, None)[1]


class Stage2Generator(ConditionalGenerator):
    """The image of a frozen Stage-I and the text again -> an image of side `resolution`, by an encoder, residual blocks and up-sampling.

    The parameters of Stage-I never change, but in training mode its BatchNorm uses and updates batch statistics, as in both released
    codes. Noise: that of Stage-I and, if c is sampled, `eps2` (B, V).
    """

    def __init__(self, config: StackGANv1) -> None:
        super().__init__()
        self.resolution = config.resolution
        self.STAGE1_G = Stage1Generator(config, config.stage1_resolution, config.stage1_gf_dim or config.gf_dim).requires_grad_(False)
        self.truncated = frozenset({"eps1", "eps2"} if config.variant == "tensorflow" else ())
        gf, relu = config.gf_dim, nn.ReLU(inplace=True)
        self.ca_net: ConditioningAugmentation | None = None
        if config.conditional and config.text_twice:
            self.ca_net = ConditioningAugmentation(config.text_dim, config.condition_dim, config.variant, config.conditioning_augmentation)
        first = nn.Conv2d(3, gf, 3, padding=1, bias=False)
        self.encoder = nn.Sequential(first, relu, *conv_norm(gf, 2 * gf, 4, relu, stride=2), *conv_norm(2 * gf, 4 * gf, 4, relu, stride=2))
        width = 4 * gf
        joint = (
            nn.Conv2d(width, width, 3, padding=1, bias=False) if self.ca_net is None else JointConv(width, config.condition_dim, width, 3)
        )
        self.hr_joint = Joint(joint, nn.BatchNorm2d(width), relu)
        self.residual = nn.Sequential(*(ResidualBlock(width, relu) for _ in range(config.residual_blocks)))
        self.doublings = int(log2(config.resolution / (config.stage1_resolution / 4)))
        for i in range(1, self.doublings + 1):
            self.add_module(f"upsample{i}", up_block(width, width // 2))
            width //= 2
        self.img = nn.Sequential(nn.Conv2d(width, 3, 3, padding=1, bias=False), nn.Tanh())
        for name, child in self.named_children():
            if name != "STAGE1_G":
                init_weights(child, truncated=config.variant == "tensorflow")

    def noise_shapes(self, batch: int) -> dict[str, tuple[int, ...]]:
        shapes = self.STAGE1_G.noise_shapes(batch)
        if self.ca_net is not None and self.ca_net.sampled:
            shapes["eps2"] = (batch, self.ca_net.condition_dim)
        return shapes

    def forward(self, text: Tensor | None, noise: Mapping[str, Tensor]) -> GeneratorOutput:
        with torch.no_grad():
            first = self.STAGE1_G(text, noise)
        c, mu, logvar = None, first.mu, None
        if self.ca_net is not None:
            c, mu, logvar = self.ca_net(text, noise.get("eps2"))
        h = self.hr_joint(self.encoder(first.images[-1]), c)
        h = self.residual(h)
        for i in range(1, self.doublings + 1):
            h = self.get_submodule(f"upsample{i}")(h)
        return GeneratorOutput((*first.images, self.img(h)), mu, logvar, c)

    def condition(self, text: Tensor) -> Tensor:
        return self.STAGE1_G.condition(text) if self.ca_net is None else self.ca_net(text, None)[1]

    @property
    def earlier_stage(self) -> nn.Module:
        return self.STAGE1_G

    def trained_modules(self) -> tuple[nn.Module, ...]:
        return tuple(child for name, child in self.named_children() if name != "STAGE1_G")


class ConditionalHead(nn.Module):
    """Trunk features (B, C, 4, 4) and a condition -> logits (B,) that image and text belong together."""

    def __init__(self, channels: int, condition_dim: int, variant: str) -> None:
        super().__init__()
        joint = JointConv(channels, condition_dim, channels, 3 if variant == "pytorch" else 1)
        logit = nn.Conv2d(channels, 1, 4, stride=4, bias=variant != "tensorflow")
        self.outlogits = Joint(joint, nn.BatchNorm2d(channels), nn.LeakyReLU(LEAK, inplace=True), logit)

    def forward(self, features: Tensor, condition: Tensor) -> Tensor:
        return self.outlogits(features, condition).flatten()


class UnconditionalHead(nn.Module):
    """Trunk features (B, C, 4, 4) -> logits (B,) that the image is real."""

    def __init__(self, channels: int, variant: str) -> None:
        super().__init__()
        self.outlogits = nn.Sequential(nn.Conv2d(channels, 1, 4, stride=4, bias=variant != "tensorflow"))

    def forward(self, features: Tensor) -> Tensor:
        return self.outlogits(features).flatten()


class Discriminator(PairDiscriminator):
    """The matching-aware discriminator of either stage: a convolutional trunk to a 4x4 map, and one or two heads."""

    def __init__(self, config: StackGANv1) -> None:
        super().__init__()
        self.conditions_on_mu = config.variant == "pytorch"
        released_tf = config.variant == "tensorflow"
        df, leaky = config.df_dim, nn.LeakyReLU(LEAK, inplace=True)
        halvings = int(log2(config.resolution)) - 2

        layers: list[nn.Module] = [nn.Conv2d(3, df, 4, stride=2, padding=1, bias=False), leaky]
        width = df
        for i in range(1, halvings):
            # The TensorFlow code has no activation after the third convolution of Stage-I, nor before the residual block.
            last = halvings <= 4 and i == halvings - 1
            bare = released_tf and (last or (config.stage == 1 and i == 2))
            layers += conv_norm(width, 2 * width, 4, None if bare else leaky, stride=2)
            width *= 2
        while width > 8 * df:
            bare = released_tf and width == 16 * df
            layers += conv_norm(width, width // 2, 3 if config.variant == "pytorch" else 1, None if bare else leaky)
            width //= 2
        if released_tf:
            layers.append(ResidualBlock(width, leaky, bottleneck=width // 4))
        self.encode_img = nn.Sequential(*layers)

        self.text_fc: nn.Sequential | None = None
        self.get_cond_logits: ConditionalHead | None = None
        self.get_uncond_logits: UnconditionalHead | None = None
        if config.conditional:
            if not self.conditions_on_mu:
                self.text_fc = nn.Sequential(nn.Linear(config.text_dim, config.condition_dim), leaky)
            self.get_cond_logits = ConditionalHead(width, config.condition_dim, config.variant)
        if not config.conditional or (config.variant == "pytorch" and config.stage == 2):
            self.get_uncond_logits = UnconditionalHead(width, config.variant)
        init_weights(self, truncated=released_tf)

    def features(self, images: Tensor) -> Tensor:
        """Images (B, 3, S, S) in [-1, 1] -> the trunk's map (B, C, 4, 4)."""
        # Images in another layout than the network would convert the whole trunk, weights included, to theirs.
        return self.encode_img(images.contiguous(memory_format=memory_format_of(self.encode_img)))

    def condition_logits(self, features: Tensor, condition: Tensor) -> Tensor:
        """Logits (B,) of the pairs. `condition` is mu (B, V) of the generator if `conditions_on_mu`, else the text embedding (B, T)."""
        assert self.get_cond_logits is not None
        return self.get_cond_logits(features, condition if self.text_fc is None else self.text_fc(condition))

    def unconditional_logits(self, features: Tensor) -> Tensor | None:
        """Logits (B,) of the images alone, or None if there is no such head."""
        return None if self.get_uncond_logits is None else self.get_uncond_logits(features)


def build_networks(config: StackGANv1) -> dict[str, nn.Module]:
    """`generator` (a Stage-II generator contains its Stage-I as `STAGE1_G`) and `discriminator`."""
    generator = Stage1Generator(config, config.resolution, config.gf_dim) if config.stage == 1 else Stage2Generator(config)
    return {"generator": generator, "discriminator": Discriminator(config)}
