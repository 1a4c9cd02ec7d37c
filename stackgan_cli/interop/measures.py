"""Trained networks that measure, from their weights files: classifiers and visual-semantic similarities."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from torch import nn

from stackgan_cli.config.archs import Classifier as ClassifierConfig
from stackgan_cli.config.archs import VSSimilarity as VSSimilarityConfig
from stackgan_cli.errors import MismatchError
from stackgan_cli.models.classifier import Classifier, build_classifier
from stackgan_cli.models.similarity import VSSimilarity, build_similarity
from stackgan_cli.runs import Weights

Network = TypeVar("Network", bound=nn.Module)


def load_classifier(path: Path) -> tuple[Weights, Classifier]:
    """A classifier, fixed and in evaluation mode, and its file's header, where its classes are named.

    Raises UsageError when there is no such file, MismatchError (exit 5) when it is something else.
    """
    weights = Weights.open(path)
    config = weights.config.model
    if not isinstance(config, ClassifierConfig):
        raise MismatchError(
            f"these weights are a {config.arch}, and not a classifier",
            where=path,
            hint="train one with `stackgan train --preset classifier`",
        )
    return weights, _loaded(build_classifier(config), weights, "classifier")


def load_similarity(path: Path) -> tuple[Weights, VSSimilarity]:
    """A visual-semantic similarity with its extractor, fixed and in evaluation mode, and its file's header, which names its text encoder.

    Raises as `load_classifier` does.
    """
    weights = Weights.open(path)
    config = weights.config.model
    if not isinstance(config, VSSimilarityConfig):
        raise MismatchError(
            f"these weights are a {config.arch}, and not a vs-similarity",
            where=path,
            hint="train one with `stackgan train --preset vs-similarity`",
        )
    return weights, _loaded(build_similarity(config), weights, "similarity")


def _loaded(network: Network, weights: Weights, name: str) -> Network:
    network.load_state_dict(weights.tensors(name))
    return network.requires_grad_(False).eval()
