"""What a run starts from: the inputs that it needs, the configuration keys that follow from them, and its initial weights.

Each row of `registry.ARCHS` refers to functions in this file. Their inputs come from `Sources` (training/inputs.py), which opens every
file once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from stackgan_cli.config.archs import SGAN, CharCNNRNN, ExtractorFile, ImageModelConfig, ModelConfig, VSSimilarity
from stackgan_cli.config.archs import Classifier as ClassifierConfig
from stackgan_cli.data.labels import Labels
from stackgan_cli.encoders.extractor_weights import file_sha256
from stackgan_cli.errors import ConfigError, MismatchError
from stackgan_cli.interop.published import read_checkpoint
from stackgan_cli.interop.state_dicts import load_official, without_prefix
from stackgan_cli.models.classifier import Classifier
from stackgan_cli.models.interface import Generator
from stackgan_cli.models.sgan_encoder import SGANEncoder
from stackgan_cli.models.similarity import VSSimilarity as VSSimilarityNetwork
from stackgan_cli.runs import Weights

Networks = Mapping[str, nn.Module]
TENSORFLOW_CLASSES = 1008
"""Number of outputs of TensorFlow's Inception of 2015."""
RECOGNIZED_OF = 500
"""Approximate number of training images on which an encoder is tested before it is inverted."""


@dataclass(frozen=True)
class Requirements:
    """What has to exist before a run can start, besides its cache and, if `requires.stage1` names one, its Stage-I."""

    text_dim: int | None = None
    """Text embeddings of this size."""
    characters: Mapping[str, Any] | None = None
    """The captions themselves, coded by `text.alphabet.encode_batch` with these arguments."""
    classes: int | None = None
    """A class for every image, with this number of classes."""
    label: str | None = None
    """Labels of the images (data/labels.py)."""
    num_labels: int | None = None
    """Required number of distinct labels; None: any number."""
    holds_out: bool = False
    """Whether the images on which the trained network is scored are held out from training."""
    classifier: bool = False
    """Whether the classifier (for some architectures: any extractor) that `requires.extractor` names is required."""


class Sources(Protocol):
    """The inputs of a run, each opened once. An input that does not exist yet is None, or an error if it cannot be made."""

    @property
    def stage1(self) -> Weights | None: ...

    @property
    def classifier(self) -> tuple[Weights, Classifier] | None: ...

    @property
    def labels(self) -> Labels | None: ...

    @property
    def rows(self) -> np.ndarray:
        """Rows of the training split in the cache, int64 (N,)."""
        ...

    def classifier_config(self) -> ClassifierConfig:
        """The configuration of the classifier that `requires.extractor` names, or that its preset will train. Raises MismatchError."""
        ...

    def extractor_config(self) -> ClassifierConfig | ExtractorFile:
        """The configuration of any kind of extractor. Raises MismatchError, or EnvironmentProblem if it cannot be downloaded."""
        ...

    def inception(self, name: str) -> Path:
        """The file of an Inception-v3 with a published name, or at a path. Raises EnvironmentProblem or UsageError."""
        ...

    def images(self, side: int, rows: np.ndarray | None = None) -> Iterator[Tensor]:
        """Center crops (B, 3, side, side) in [-1, 1] of images of the cache; `rows` None: the training images."""
        ...


# -- what is required -------------------------------------------------------------------------------------------------------


def of_images(model: ImageModelConfig) -> Requirements:
    """Text embeddings of the captions, or classes, if the model is conditional on them."""
    return Requirements(
        text_dim=model.text_dim if model.conditioning == "text" else None,
        classes=model.num_classes if model.conditioning == "class" else None,
    )


def of_sgan(model: SGAN) -> Requirements:
    """Labels, and the encoder that predicts them."""
    return Requirements(label=model.label, num_labels=model.num_classes if model.encoder else None, classifier=True)


def of_text_encoder(model: CharCNNRNN) -> Requirements:
    """The characters of the captions."""
    return Requirements(characters={"lowercase": model.lowercase, "unknown": model.unknown})


def of_classifier(model: ClassifierConfig) -> Requirements:
    """Labels, and held-out images on which to measure the accuracy."""
    return Requirements(label=model.label, num_labels=model.num_classes, holds_out=True)


def of_similarity(model: VSSimilarity) -> Requirements:
    """Text embeddings of the captions, and an extractor."""
    return Requirements(text_dim=model.text_dim, classifier=not isinstance(model.extractor, ExtractorFile))


# -- keys that a configuration leaves unset ---------------------------------------------------------------------------------


def complete_nothing(model: ModelConfig, sources: Sources) -> dict[str, Any]:
    """No key is left unset."""
    return {}


def complete_classifier(model: ClassifierConfig, sources: Sources) -> dict[str, Any]:
    """`num_classes` is the number of labels."""
    assert sources.labels is not None
    return {"num_classes": model.num_classes or len(sources.labels.names)}


def complete_similarity(model: VSSimilarity, sources: Sources) -> dict[str, Any]:
    """`extractor` is what `requires.extractor` names."""
    return {} if model.extractor is not None else {"extractor": sources.extractor_config()}


def complete_sgan(model: SGAN, sources: Sources) -> dict[str, Any]:
    """`encoder` is the classifier that `requires.extractor` names; its backbone must be `sgan`."""
    if model.encoder is not None:
        return {}
    encoder = sources.classifier_config()
    if encoder.backbone != "sgan":
        raise MismatchError(
            f"the encoder has backbone {encoder.backbone!r}, but only encoders with backbone 'sgan' can be inverted",
            where="requires.extractor",
            hint="to see presets that train one: stackgan presets ls sgan-encoder",
        )
    return {"encoder": encoder}


# -- initial weights --------------------------------------------------------------------------------------------------------


def from_stage1(networks: Networks, model: ModelConfig, sources: Sources) -> dict[str, str]:
    """Load Stage-I into a Stage-II generator, if one is required."""
    weights = sources.stage1
    if weights is None:
        return {}
    generator = networks["generator"]
    assert isinstance(generator, Generator)
    if generator.earlier_stage is None:
        raise ConfigError("this model has no earlier stage", where="requires.stage1", hint="set it to null, or model.stage=2")
    load_official(generator.earlier_stage, weights.tensors("generator"), where=weights.path)
    return {"stage1": weights.label}


def from_classifier(networks: Networks, model: VSSimilarity, sources: Sources) -> dict[str, str]:
    """Load a classifier into a similarity; an extractor in its own file stays there."""
    if isinstance(model.extractor, ExtractorFile):
        return {}
    assert sources.classifier is not None
    weights, classifier = sources.classifier
    if weights.config.model != model.extractor:
        raise MismatchError(
            "the configuration of this classifier differs from model.extractor", where=weights.path, hint="set model.extractor=null"
        )
    similarity = networks["similarity"]
    assert isinstance(similarity, VSSimilarityNetwork)
    similarity.extractor.load_state_dict(classifier.state_dict())
    return {"extractor": weights.label}


def from_encoder(networks: Networks, model: SGAN, sources: Sources) -> dict[str, str]:
    """Load the encoder that SGAN inverts. Raises MismatchError if it does not recognize the images of the cache."""
    assert sources.classifier is not None and sources.labels is not None
    weights, classifier = sources.classifier
    if weights.config.model != model.encoder:
        raise MismatchError(
            "the configuration of this encoder differs from model.encoder", where=weights.path, hint="set model.encoder=null"
        )
    right = _recognized(classifier, sources.labels, sources)
    if right < 0.5:
        raise MismatchError(
            f"recognizes {100 * right:.0f} of 100 training images of this dataset: it was trained on another one, or not long enough",
            where=weights.path,
            hint="set requires.extractor to an encoder that was trained on this dataset",
        )
    networks["encoder"].load_state_dict(classifier.state_dict())
    return {"encoder": file_sha256(weights.path)}


@torch.inference_mode()
def _recognized(classifier: Classifier, labels: Labels, sources: Sources) -> float:
    """Fraction of a few hundred training images that are classified correctly."""
    rows = sources.rows[:: max(1, len(sources.rows) // RECOGNIZED_OF)]
    found = torch.cat([classifier(batch).argmax(1) for batch in sources.images(classifier.side, rows)]).numpy()
    return float((found == labels.ids[rows]).mean())


def from_inception(networks: Networks, model: ClassifierConfig, sources: Sources) -> dict[str, str]:
    """Load all layers of a published Inception-v3 except the last; set the mean image of an encoder that takes centered images."""
    inputs = {}
    network = networks["classifier"].get_submodule("network")
    if model.weights is not None:
        path = sources.inception(model.weights)
        _load_inception(network, path)
        inputs["weights"] = file_sha256(path)
    if isinstance(network, SGANEncoder):
        network.center_on(sources.images(model.resolution))
    return inputs


def _load_inception(network: nn.Module, path: Path) -> None:
    state = {key: value for key, value in without_prefix(read_checkpoint(path)).items() if not key.startswith("AuxLogits.")}
    if len(state.get("fc.bias", ())) == TENSORFLOW_CLASSES:
        raise MismatchError(
            "this is TensorFlow's Inception of 2015, whose pooling layers differ", where=path, hint="use torchvision-inception"
        )
    last = {key: value for key, value in network.state_dict().items() if key.startswith("fc.")}
    load_official(network, {**state, **last}, where=path)


def from_nothing(networks: Networks, model: ModelConfig, sources: Sources) -> dict[str, str]:
    """Keep the random weights."""
    return {}
