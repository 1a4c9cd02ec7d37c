"""Trained classifiers, read from our weights files."""

from __future__ import annotations

from pathlib import Path

from stackgan_cli.config.archs import Classifier as ClassifierConfig
from stackgan_cli.errors import MismatchError
from stackgan_cli.models.classifier import Classifier, build_classifier
from stackgan_cli.runs import Weights


def load_classifier(path: Path) -> tuple[Weights, Classifier]:
    """The header of a weights file, which lists the class names, and its classifier, frozen and in evaluation mode.

    Raises UsageError when the file does not exist, MismatchError (exit 5) when it is not a classifier.
    """
    weights = Weights.open(path)
    config = weights.config.model.as_a(ClassifierConfig)
    if config is None:
        raise not_a(weights, "classifier")
    network = build_classifier(config)
    network.load_state_dict(weights.tensors("classifier"))
    network.requires_grad_(False).eval()
    return weights, network


def not_a(weights: Weights, wanted: str) -> MismatchError:
    """The error for weights of another architecture than expected."""
    return MismatchError(
        f"these weights are a {weights.config.model.arch}, not a {wanted}",
        where=weights.path,
        hint=f"train one with `stackgan train --preset {wanted}`",
    )
