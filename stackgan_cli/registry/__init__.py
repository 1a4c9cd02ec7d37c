"""The architectures, in one table. A new one consists of a configuration, a model file, a row here and a preset."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from stackgan_cli.config.archs import DCGAN, HDGAN, SGAN, CharCNNRNN, Classifier, ModelConfig, StackGANv1, StackGANv2, VSSimilarity
from stackgan_cli.encoders import char_cnn_rnn, similarity
from stackgan_cli.errors import ConfigError, did_you_mean
from stackgan_cli.interop import published
from stackgan_cli.interop.published import State
from stackgan_cli.models import classifier, dcgan, hdgan, sgan, stackgan_v1, stackgan_v2
from stackgan_cli.objectives.adversarial import AdversarialObjective
from stackgan_cli.objectives.base import Objective
from stackgan_cli.objectives.classification import ClassificationObjective
from stackgan_cli.objectives.inverting import InvertingObjective
from stackgan_cli.objectives.matching import MatchingObjective
from stackgan_cli.objectives.retrieval import RetrievalObjective
from stackgan_cli.objectives.similarity import SimilarityObjective
from stackgan_cli.objectives.stacked import StackedObjective
from stackgan_cli.registry import starting
from stackgan_cli.registry.starting import Requirements, Sources
from stackgan_cli.runs import Weights


@dataclass(frozen=True)
class ArchSpec:
    """One architecture. Everything specific to it is a field of its row; no other code depends on which architecture it is."""

    name: str
    config: type[ModelConfig]
    build: Callable[[Any], dict[str, nn.Module]]
    """From a configuration to networks by name (`generator`, `discriminator`, ...), with random weights."""
    objective: Callable[[Any, dict[str, nn.Module]], Objective[Any]]
    """From a configuration and networks to the objective that trains them."""
    paper: str
    requirements: Callable[[Any], Requirements] = starting.of_images
    """What has to exist before a run can start."""
    complete: Callable[[Any, Sources], dict[str, Any]] = starting.complete_nothing
    """Values of the keys that a configuration may leave unset."""
    initialize: Callable[[dict[str, nn.Module], Any, Sources], dict[str, str]] = starting.from_nothing
    """Load the weights that a run starts from into its networks; returns their identities by kind, for `inputs.json`."""
    final_score: str | None = None
    """The measure in metrics/held_out.py that is computed when a run is finished."""
    export: Callable[[Any, Mapping[str, State], int], dict[str, dict[str, Tensor]]] | None = None
    """From a configuration, state dicts by network and the step to files in the published layout; None if nothing was published."""


ARCHS: tuple[ArchSpec, ...] = (
    ArchSpec(
        "stackgan-v1",
        StackGANv1,
        stackgan_v1.build_networks,
        MatchingObjective,
        "StackGAN++ (arXiv 1710.10916) section 4",
        initialize=starting.from_stage1,
        export=published.export_stackgan_v1,
    ),
    ArchSpec(
        "stackgan-v2",
        StackGANv2,
        stackgan_v2.build_networks,
        StackedObjective,
        "StackGAN++ (arXiv 1710.10916) section 5",
        export=published.export_stackgan_v2,
    ),
    ArchSpec(
        "hdgan",
        HDGAN,
        hdgan.build_networks,
        StackedObjective,
        "HDGAN (CVPR 2018 draft) section 3",
        initialize=starting.from_stage1,
        export=published.export_hdgan,
    ),
    ArchSpec(
        "sgan",
        SGAN,
        sgan.build_networks,
        InvertingObjective,
        "SGAN (Huang et al., CVPR 2017), poster",
        requirements=starting.of_sgan,
        complete=starting.complete_sgan,
        initialize=starting.from_encoder,
    ),
    ArchSpec("dcgan", DCGAN, dcgan.build_networks, AdversarialObjective, "DCGAN (Radford et al., arXiv 1511.06434)"),
    ArchSpec(
        "char-cnn-rnn",
        CharCNNRNN,
        char_cnn_rnn.build_networks,
        RetrievalObjective,
        "Reed et al., CVPR 2016 (arXiv 1605.05395)",
        requirements=starting.of_text_encoder,
        final_score="zero-shot",
    ),
    ArchSpec(
        "classifier",
        Classifier,
        classifier.build_networks,
        ClassificationObjective,
        "StackGAN++ (arXiv 1710.10916) section 6",
        requirements=starting.of_classifier,
        complete=starting.complete_classifier,
        initialize=starting.from_inception,
        final_score="accuracy",
    ),
    ArchSpec(
        "vs-similarity",
        VSSimilarity,
        similarity.build_networks,
        SimilarityObjective,
        "HDGAN (CVPR 2018 draft) Eq. 5",
        requirements=starting.of_similarity,
        complete=starting.complete_similarity,
        initialize=starting.from_classifier,
        final_score="vs-ranking",
    ),
)


def find(name: str) -> ArchSpec:
    """The architecture called `name`. Raises ConfigError, with a suggestion, if there is none."""
    for spec in ARCHS:
        if spec.name == name:
            return spec
    names = [spec.name for spec in ARCHS]
    raise ConfigError(f"unknown architecture {name!r}{did_you_mean(name, names)}", where="model.arch", hint=f"one of: {', '.join(names)}")


def load_network(weights: Weights, name: str) -> nn.Module:
    """The network `name` of a weights file on the CPU, in evaluation mode and without gradients.

    It is built on the meta device: computing initial weights takes up to half a minute at published sizes, only to be overwritten.
    """
    model = weights.config.model
    with torch.device("meta"):
        network = find(model.arch).build(model)[name]
    network.load_state_dict(weights.tensors(name), assign=True)
    return network.requires_grad_(False).eval()
