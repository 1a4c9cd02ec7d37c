"""DCGAN at 64 px (Radford et al., arXiv 1511.06434): transposed convolutions from noise to image, and a discriminator that mirrors them.

No sigmoid anywhere. The layers of both variants are those of the released Torch code, and `paper` takes these values where the paper is
silent:

| silent point | `paper` takes |
|---|---|
| kernels, first layer of G | 4x4, a transposed convolution of the noise (Torch code) |
| width of D | 64 channels at 32 px (Torch code) |
| biases | none but those of BatchNorm (the Torch code sets the others to 0 before every step) |
| range of the uniform noise | [-1, 1) (carpedm20/DCGAN-tensorflow) |
| BatchNorm scale at the start | N(1, 0.02) (Torch code) |

`released` differs in the noise: N(0, 1). Both have the released width of G, 64 channels at 32 px; the figure of the paper shows twice as
many (`gf_dim=128`). State-dict names are those of PyTorch's own example of a DCGAN.

Shape letters: `B` batch, `Z` noise, `C` channels of the discriminator's 4x4 map.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from stackgan_cli.config.archs import DCGAN
from stackgan_cli.models.blocks import LEAK, conv_norm, init_weights, memory_format_of
from stackgan_cli.models.interface import Generator, GeneratorOutput, ImageDiscriminator, NoiseSource

DOUBLINGS = (8, 4, 2, 1)
"""Channels at 4, 8, 16 and 32 px, in multiples of `gf_dim` or `df_dim`."""


class DCGANGenerator(Generator):
    """Noise (B, Z) -> images (B, 3, 64, 64), through one map per doubling of the side from 4 px."""

    def __init__(self, config: DCGAN) -> None:
        super().__init__()
        self.z_dim, self.uniform = config.z_dim, config.noise == "uniform"
        layers: list[nn.Module] = []
        width = config.z_dim
        for i, multiple in enumerate(DOUBLINGS):
            stride, padding = (2, 1) if i else (1, 0)  # the first makes 4x4 pixels of one
            outputs = multiple * config.gf_dim
            layers += [nn.ConvTranspose2d(width, outputs, 4, stride, padding, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
            width = outputs
        self.main = nn.Sequential(*layers, nn.ConvTranspose2d(width, 3, 4, 2, 1, bias=False), nn.Tanh())
        init_weights(self)

    def noise_shapes(self, batch: int) -> dict[str, tuple[int, ...]]:
        return {"z": (batch, self.z_dim)}

    def draw_noise(self, batch: int, source: NoiseSource) -> dict[str, Tensor]:
        return {"z": source.uniform(batch, self.z_dim) * 2 - 1} if self.uniform else super().draw_noise(batch, source)

    def forward(self, text: Tensor | None, noise: Mapping[str, Tensor]) -> GeneratorOutput:
        return GeneratorOutput((self.main(noise["z"][:, :, None, None]),))


class DCGANDiscriminator(ImageDiscriminator):
    """Images (B, 3, 64, 64) -> one logit each, by four halvings of the side."""

    def __init__(self, config: DCGAN) -> None:
        super().__init__()
        df, leaky = config.df_dim, nn.LeakyReLU(LEAK, inplace=True)
        layers: list[nn.Module] = [nn.Conv2d(3, df, 4, 2, 1, bias=False), leaky]
        for multiple in DOUBLINGS[-2::-1]:
            layers += conv_norm(multiple * df // 2, multiple * df, 4, leaky, stride=2)
        self.main = nn.Sequential(*layers, nn.Conv2d(8 * df, 1, 4, bias=False))
        init_weights(self)

    def features(self, images: Tensor) -> Tensor:
        """Images (B, 3, 64, 64) in [-1, 1] -> the map (B, C, 4, 4) before the last layer."""
        features: Tensor = self.main[:-1](images.contiguous(memory_format=memory_format_of(self.main)))
        return features

    def unconditional_logits(self, features: Tensor) -> Tensor:
        """Logits (B,)."""
        logits: Tensor = self.main[-1](features)
        return logits.flatten()


def build_networks(config: DCGAN) -> dict[str, nn.Module]:
    """`generator` and `discriminator`."""
    return {"generator": DCGANGenerator(config), "discriminator": DCGANDiscriminator(config)}
