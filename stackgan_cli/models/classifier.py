"""Image classifiers, whose probabilities and pooled features are used to compute scores.

`cnn` is a small network for the drawn birds and other simple datasets; `inception` is Inception-v3 (inception.py), which the papers
fine-tune on the test classes of CUB and of Oxford-102. The published one has an additional logit for background, which is dropped before
use; ours does not. `sgan` is the encoder of SGAN (sgan_encoder.py), whose features are the outputs of fc3.

Shapes: B batch, S side of an image, D features, K classes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from stackgan_cli.config.archs import Classifier as ClassifierConfig
from stackgan_cli.models.image_encoders import SmallCNN
from stackgan_cli.models.inception import FEATURE_DIM, InceptionV3
from stackgan_cli.models.interface import ImageExtractor
from stackgan_cli.models.sgan_encoder import SGANEncoder

INCEPTION_SIDE = 299


class Classifier(ImageExtractor):
    """Images of any size, resized to `side` px, to features and logits."""

    def __init__(self, network: SmallCNN | InceptionV3 | SGANEncoder, side: int) -> None:
        super().__init__()
        self.network, self.side = network, side

    @property
    def num_features(self) -> int:
        return FEATURE_DIM if isinstance(self.network, InceptionV3) else self.network.num_features

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] to pooled features (B, D)."""
        if images.shape[-2:] != (self.side, self.side):
            images = F.interpolate(images, size=(self.side, self.side), mode="bilinear", align_corners=False, antialias=True)
        return self.network.features(images)

    def logits(self, features: Tensor) -> Tensor:
        """Features (B, D) to logits (B, K)."""
        match self.network:
            case InceptionV3():
                head = self.network.fc
            case SGANEncoder():
                head = self.network.fc4
            case _:
                head = self.network.project
        logits: Tensor = head(features)
        return logits

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [-1, 1] to logits (B, K)."""
        return self.logits(self.features(images))


def build_classifier(config: ClassifierConfig) -> Classifier:
    """The network of a configuration, with random weights. If the number of classes is not known yet, there is one output."""
    classes = config.num_classes or 1
    if config.backbone == "inception":
        return Classifier(InceptionV3(classes), INCEPTION_SIDE)
    if config.backbone == "sgan":
        sizes = (config.resolution, config.channels, config.conv_dims, config.hidden_dim)
        return Classifier(SGANEncoder(classes, *sizes, centered=config.input_range == "centred"), config.resolution)
    return Classifier(SmallCNN(config.resolution, config.width, classes), config.resolution)


def build_networks(config: ClassifierConfig) -> dict[str, nn.Module]:
    """`classifier`."""
    return {"classifier": build_classifier(config)}
