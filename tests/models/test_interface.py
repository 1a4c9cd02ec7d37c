"""A model without captions implements only the unconditional part of the interface."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from torch import Tensor, nn

from stackgan_cli.models.interface import ConditionalGenerator, Generator, GeneratorOutput, ImageDiscriminator, PairDiscriminator
from stackgan_cli.runtime import Noise
from stackgan_cli.sampling import render


class NoiseToImage(Generator):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 3 * 4 * 4)

    def noise_shapes(self, batch: int) -> dict[str, tuple[int, ...]]:
        return {"z": (batch, 5)}

    def forward(self, text: Tensor | None, noise: Mapping[str, Tensor]) -> GeneratorOutput:
        return GeneratorOutput((self.layer(noise["z"]).view(-1, 3, 4, 4).tanh(),))


class ImageToLogit(ImageDiscriminator):
    def features(self, images: Tensor) -> Tensor:
        return images.mean((2, 3), keepdim=True)

    def unconditional_logits(self, features: Tensor) -> Tensor:
        return features.sum((1, 2, 3))


def test_an_unconditional_model_needs_no_stubs() -> None:
    generator, discriminator = NoiseToImage(), ImageToLogit()
    assert generator.trained_modules() == (generator,) and generator.earlier_stage is None
    assert render(generator, None, [0, 1, 2], device="cpu")[4].shape == (3, 4, 4, 3)
    output = generator(None, generator.draw_noise(2, Noise("test")))
    assert discriminator.unconditional_logits(discriminator.features(output.images[-1])).shape == (2,)


@pytest.mark.parametrize(
    ("part", "missing"), [((NoiseToImage, ConditionalGenerator), "condition"), ((ImageToLogit, PairDiscriminator), "condition_logits")]
)
def test_a_conditional_model_says_what_it_lacks(part: tuple[type, type], missing: str) -> None:
    with pytest.raises(TypeError, match=missing):
        type("Incomplete", part, {})()
