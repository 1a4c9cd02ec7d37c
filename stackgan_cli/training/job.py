"""From a configuration to a trainer: cache, text vectors, networks, objective, feed; and the weights file of a run.

What a run was started from (cache, encoder, Stage-I) is recorded in its `inputs.json`, and continuing with other inputs is refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stackgan_cli import registry
from stackgan_cli.config.archs import SGAN, ExtractorFile
from stackgan_cli.config.archs import Classifier as ClassifierConfig
from stackgan_cli.config.archs import VSSimilarity as VSSimilarityConfig
from stackgan_cli.config.schema import RunConfig
from stackgan_cli.data.batch import Needs
from stackgan_cli.data.cache import Cache
from stackgan_cli.data.caption_vectors import CaptionVectors
from stackgan_cli.data.feed import Feed
from stackgan_cli.data.labels import Labels
from stackgan_cli.encoders.classifier import load_classifier
from stackgan_cli.encoders.extractor_weights import PUBLISHED, file_sha256, find_weights, given_weights
from stackgan_cli.encoders.text_encoder import TextEncoder
from stackgan_cli.errors import DataError, MismatchError
from stackgan_cli.files import write_json
from stackgan_cli.interop.published import read_checkpoint
from stackgan_cli.interop.state_dicts import load_official, without_prefix
from stackgan_cli.models.classifier import Classifier
from stackgan_cli.models.interface import Generator
from stackgan_cli.models.sgan_encoder import SGANEncoder
from stackgan_cli.models.similarity import VSSimilarity
from stackgan_cli.runs import Run, Weights, Workspace
from stackgan_cli.runtime import World, key_seed
from stackgan_cli.text.alphabet import encode_batch
from stackgan_cli.training.inputs import encoder_weights, find_vectors, labels_of, no_extractor
from stackgan_cli.training.loop import Trainer

TENSORFLOW_CLASSES = 1008


@dataclass
class Job:
    """A run that is ready to train."""

    run: Run
    cache: Cache
    trainer: Trainer
    vectors: CaptionVectors | None
    text_encoder: TextEncoder | None
    labels: Labels | None

    def save_weights(self, trainer: Trainer) -> None:
        """Write a complete weights file: networks (the averaged generator where one is kept) and the text encoder when it is known."""
        tensors: dict[str, Tensor] = {}
        for name in trainer.objective.modules:
            module = trainer.sampling_module(name)
            tensors |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
        identity = None
        if self.vectors is not None:
            identity = {"hash": self.vectors.encoder_hash, "identity": self.vectors.encoder}
            if self.text_encoder is not None:
                identity = self.text_encoder.reference
                tensors |= self.text_encoder.tensors
        model = self.run.config.model
        classes = None if self.labels is None else self.labels.names
        if getattr(model, "conditioning", "") == "class" and getattr(model, "num_classes", None) == len(self.cache.class_names):
            classes = tuple(self.cache.class_names)
        keep = trainer.config.keep_weights
        self.run.save_weights(tensors, step=trainer.step, text_encoder=identity, classes=classes, keep=keep)


def open_job(config: RunConfig, run: Run, workspace: Workspace, *, device: torch.device, world: World | None = None) -> Job:
    """Open and check everything that the run needs before anything is trained. `config` leaves nothing open (`resolve`).

    Raises DataError for the cache, MismatchError when the inputs are not those that the run was started with.
    """
    cache = Cache.open(workspace.cache_path(config.data.cache))
    spec = registry.find(config.model.arch)
    torch.manual_seed(key_seed(config.train.seed, "init"))
    networks = spec.build(config.model)
    inputs: dict[str, Any] = {"cache": cache.identity}
    if not run.state_path.is_file():
        inputs |= _load_earlier(networks, config, workspace)
    objective = spec.objective(config.model, networks)
    needs = objective.needs
    _check_classes(config, cache)
    labels = labels_of(config, cache) if needs.labels else None
    vectors = find_vectors(config, cache, workspace) if needs.text else None
    encoder = None
    if needs.text:
        if vectors is None:
            raise MismatchError("no text vectors for this cache", where=cache.path, hint=f"stackgan encode-text {config.data.cache}")
        inputs["text_encoder"] = vectors.encoder_hash
        stored = workspace.encoder_path(vectors.encoder_hash)
        encoder = TextEncoder.load(stored) if stored.is_file() else None
    codes = None
    if needs.characters:
        codes = encode_batch(cache.captions, lowercase=config.model.lowercase, unknown=config.model.unknown)  # type: ignore[attr-defined]
    _check_inputs(run, inputs)
    feed = Feed(
        cache,
        needs,
        batch_size=config.train.batch_size,
        vectors=None if vectors is None else vectors.vectors,
        codes=codes,
        labels=None if labels is None else labels.ids,
        split=config.data.split,
        rows=labels.trained if isinstance(config.model, ClassifierConfig) and labels is not None else None,
        flip=config.data.flip,
        random_crop=config.data.random_crop,
        whole=config.data.whole,
        residency=config.data.residency,
        device=device,
        seed=config.train.seed,
    )
    if isinstance(config.model, ClassifierConfig) and not run.state_path.is_file():
        _centre(networks["classifier"], feed)
    trainer = Trainer(objective, feed, config.train, device=device, world=world)
    return Job(run, cache, trainer, vectors, encoder, labels)


def _centre(classifier: nn.Module, feed: Feed) -> None:
    """Give an encoder that takes centred images the mean of those that it is trained on."""
    network = classifier.get_submodule("network")
    if isinstance(network, SGANEncoder):
        parts = np.array_split(np.arange(len(feed)), len(feed) // 256 + 1)
        network.centre_on(feed.images(part)[feed.resolution] for part in parts)


def _check_classes(config: RunConfig, cache: Cache) -> None:
    """A class-conditional model needs a label from 0 to `num_classes - 1` for every image."""
    num_classes = getattr(config.model, "num_classes", None)
    if num_classes is None or getattr(config.model, "conditioning", None) != "class":
        return
    if (cache.class_ids < 0).any():
        raise DataError("some images have no class", where=cache.path, hint="use model.condition=text or none")
    if cache.class_ids.max() >= num_classes:
        found = int(cache.class_ids.max()) + 1
        raise DataError(f"has {found} classes, and the model {num_classes}", where=cache.path, hint=f"model.num_classes={found}")


def _load_earlier(networks: Mapping[str, nn.Module], config: RunConfig, workspace: Workspace) -> dict[str, str]:
    """Put the weights that a run starts from into its networks: Stage-I, a classifier, a published Inception. Returns what they were."""
    inputs = {}
    if config.requires.stage1 is not None:
        inputs["stage1"] = _load_stage1(networks["generator"], config, workspace)
    model = config.model
    if isinstance(model, VSSimilarityConfig) and not isinstance(model.extractor, ExtractorFile):
        inputs["extractor"] = _load_extractor(networks["similarity"], config, workspace)
    if isinstance(model, SGAN):
        inputs["encoder"] = _load_encoder(networks["encoder"], config, workspace)
    if isinstance(model, ClassifierConfig) and model.weights is not None:
        inputs["weights"] = _load_inception(networks["classifier"], model.weights, workspace)
    return inputs


def _load_extractor(similarity: nn.Module, config: RunConfig, workspace: Workspace) -> str:
    assert isinstance(config.model, VSSimilarityConfig) and isinstance(similarity, VSSimilarity)
    weights, classifier = _required_classifier(config, workspace)
    if weights.config.model != config.model.extractor:
        raise MismatchError(
            "this classifier is of another configuration than model.extractor", where=weights.path, hint="model.extractor=null"
        )
    similarity.extractor.load_state_dict(classifier.state_dict())
    return f"{weights.path.parent.parent.name} at step {weights.step}"


def _required_classifier(config: RunConfig, workspace: Workspace) -> tuple[Weights, Classifier]:
    wanted = config.requires.extractor or ""
    path = encoder_weights(wanted, config, workspace)
    if path is None:
        raise no_extractor(wanted)
    return load_classifier(path)


def _load_encoder(encoder: nn.Module, config: RunConfig, workspace: Workspace) -> str:
    """The encoder that SGAN inverts; it has to recognise the images of the cache. Returns the hash of its file."""
    assert isinstance(config.model, SGAN)
    weights, classifier = _required_classifier(config, workspace)
    if weights.config.model != config.model.encoder:
        raise MismatchError("this encoder is of another configuration than model.encoder", where=weights.path, hint="model.encoder=null")
    cache = Cache.open(workspace.cache_path(config.data.cache))
    right = _recognised(classifier, cache, labels_of(config, cache), config)
    if right < 0.5:
        raise MismatchError(
            f"recognises {100 * right:.0f} of 100 training images of {cache.path.stem}: it was trained on another dataset, or too short",
            where=weights.path,
            hint=f"give one that was trained on {cache.path.stem} with requires.extractor",
        )
    encoder.load_state_dict(classifier.state_dict())
    return file_sha256(weights.path)


@torch.inference_mode()
def _recognised(classifier: Classifier, cache: Cache, labels: Labels, config: RunConfig) -> float:
    """Share of a few hundred training images that get their label."""
    rows = cache.rows(config.data.split)[:: max(1, len(cache.rows(config.data.split)) // 500)]
    needs = Needs(images=(classifier.side,))
    feed = Feed(cache, needs, batch_size=len(rows), rows=rows, whole=config.data.whole, residency="ram")
    found = classifier(feed.images(np.arange(len(rows)))[classifier.side]).argmax(1).numpy()
    return float((found == labels.ids[rows]).mean())


def _load_inception(classifier: nn.Module, wanted: str, workspace: Workspace) -> str:
    """All layers but the last from a state dict of torchvision's Inception-v3."""
    path = find_weights(wanted, workspace.extractors) if wanted in PUBLISHED else given_weights(Path(wanted))
    state = {key: value for key, value in without_prefix(read_checkpoint(path)).items() if not key.startswith("AuxLogits.")}
    if len(state.get("fc.bias", ())) == TENSORFLOW_CLASSES:
        raise MismatchError(
            "is TensorFlow's Inception of 2015, which pools in another way", where=path, hint="start from torchvision-inception"
        )
    network = classifier.get_submodule("network")
    last = {key: value for key, value in network.state_dict().items() if key.startswith("fc.")}
    load_official(network, {**state, **last}, where=path)
    return file_sha256(path)


def _load_stage1(generator: nn.Module, config: RunConfig, workspace: Workspace) -> str:
    assert isinstance(generator, Generator) and generator.earlier_stage is not None
    requirement = config.requires.stage1
    path = encoder_weights(requirement, config, workspace)
    if path is None:
        raise MismatchError(f"the Stage-I run {requirement!r} is not there or not finished", hint=f"stackgan train --preset {requirement}")
    weights = Weights.open(path)
    load_official(generator.earlier_stage, weights.tensors("generator"), where=path)
    return f"{path.parent.parent.name} at step {weights.step}"


def _check_inputs(run: Run, inputs: dict[str, Any]) -> None:
    path = run.folder / "inputs.json"
    if not path.is_file():
        write_json(path, inputs)
        return
    before = json.loads(path.read_text(encoding="utf-8"))
    changed = [key for key, value in inputs.items() if key in before and before[key] != value]
    if changed:
        raise MismatchError(
            f"this run was started with another {' and '.join(key.replace('_', ' ') for key in changed)}",
            where=run.folder,
            hint="give the new run a name of its own with --name",
        )
