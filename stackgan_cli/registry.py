"""The architectures, in one hand-written table. A new one is a config class, a model file, a line here and a preset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from stackgan_cli.config.archs import HDGAN, SGAN, CharCNNRNN, Classifier, ModelConfig, StackGANv1, StackGANv2, VSSimilarity
from stackgan_cli.encoders import char_cnn_rnn, similarity
from stackgan_cli.errors import ConfigError, did_you_mean
from stackgan_cli.models import classifier, hdgan, sgan, stackgan_v1, stackgan_v2
from stackgan_cli.objectives.base import Objective
from stackgan_cli.objectives.classification import ClassificationObjective
from stackgan_cli.objectives.inverting import InvertingObjective
from stackgan_cli.objectives.matching import MatchingObjective
from stackgan_cli.objectives.retrieval import RetrievalObjective
from stackgan_cli.objectives.similarity import SimilarityObjective
from stackgan_cli.objectives.stacked import StackedObjective
from stackgan_cli.runs import Weights


@dataclass(frozen=True)
class ArchSpec:
    """`build(config)` makes the networks by name (`generator`, `discriminator`, ...); `objective(config, networks)` their game."""

    name: str
    config: type[ModelConfig]
    build: Callable[[Any], dict[str, nn.Module]]
    objective: Callable[[Any, dict[str, nn.Module]], Objective[Any]]
    paper: str


ARCHS: tuple[ArchSpec, ...] = (
    ArchSpec("stackgan-v1", StackGANv1, stackgan_v1.build_networks, MatchingObjective, "StackGAN++ (arXiv 1710.10916) section 3"),
    ArchSpec("stackgan-v2", StackGANv2, stackgan_v2.build_networks, StackedObjective, "StackGAN++ (arXiv 1710.10916) section 4"),
    ArchSpec("hdgan", HDGAN, hdgan.build_networks, StackedObjective, "HDGAN (CVPR 2018 draft) section 3"),
    ArchSpec("sgan", SGAN, sgan.build_networks, InvertingObjective, "SGAN (Huang et al., CVPR 2017), poster"),
    ArchSpec("char-cnn-rnn", CharCNNRNN, char_cnn_rnn.build_networks, RetrievalObjective, "Reed et al., CVPR 2016 (arXiv 1605.05395)"),
    ArchSpec("classifier", Classifier, classifier.build_networks, ClassificationObjective, "StackGAN++ (arXiv 1710.10916) section 6"),
    ArchSpec("vs-similarity", VSSimilarity, similarity.build_networks, SimilarityObjective, "HDGAN (CVPR 2018 draft) Eq. 5"),
)


def find(name: str) -> ArchSpec:
    """The architecture called `name`. Raises ConfigError, with a suggestion, when there is none."""
    for spec in ARCHS:
        if spec.name == name:
            return spec
    names = [spec.name for spec in ARCHS]
    raise ConfigError(f"unknown architecture {name!r}{did_you_mean(name, names)}", where="model.arch", hint=f"one of: {', '.join(names)}")


def load_network(weights: Weights, name: str) -> nn.Module:
    """The network `name` of a weights file, fixed and in evaluation mode, on the CPU.

    It is built without memory: initial weights, of which orthogonal ones take half a minute at published sizes, would be thrown away.
    """
    model = weights.config.model
    with torch.device("meta"):
        network = find(model.arch).build(model)[name]
    network.load_state_dict(weights.tensors(name), assign=True)
    return network.requires_grad_(False).eval()
