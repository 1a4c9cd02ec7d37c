"""From a configuration to a trainer: cache, text vectors, networks, objective, feed; and the weights file of a run.

What a run was started from (cache, encoder, Stage-I) is recorded in its `inputs.json`, and continuing with other inputs is refused.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stackgan_cli import registry
from stackgan_cli.config.measures import Classifier as ClassifierConfig
from stackgan_cli.config.measures import ExtractorFile
from stackgan_cli.config.measures import VSSimilarity as VSSimilarityConfig
from stackgan_cli.config.presets import load_config, preset_names
from stackgan_cli.config.schema import RunConfig
from stackgan_cli.config.sgan import SGAN
from stackgan_cli.data.batch import Needs
from stackgan_cli.data.cache import Cache
from stackgan_cli.data.feed import Feed
from stackgan_cli.data.labels import Labels, read_labels
from stackgan_cli.data.vectors import TextVectors
from stackgan_cli.errors import DataError, MismatchError
from stackgan_cli.files import write_json
from stackgan_cli.interop.extractor_weights import PUBLISHED, file_sha256, find_weights, given_weights
from stackgan_cli.interop.extractors import KINDS, open_extractor
from stackgan_cli.interop.measures import load_classifier
from stackgan_cli.interop.official import load_official, without_prefix
from stackgan_cli.interop.published import read_checkpoint
from stackgan_cli.interop.text_encoder import TextEncoder
from stackgan_cli.models.classifier import Classifier
from stackgan_cli.models.interface import Generator
from stackgan_cli.models.sgan_encoder import SGANEncoder
from stackgan_cli.models.similarity import VSSimilarity
from stackgan_cli.runs import Run, Weights, Workspace
from stackgan_cli.runtime import World, key_seed
from stackgan_cli.text.alphabet import encode_batch
from stackgan_cli.training.loop import Trainer

TENSORFLOW_CLASSES = 1008


@dataclass
class Job:
    """A run that is ready to train."""

    run: Run
    cache: Cache
    trainer: Trainer
    vectors: TextVectors | None
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


def find_vectors(config: RunConfig, cache: Cache, workspace: Workspace) -> TextVectors | None:
    """The text vectors to train on: those of the required encoder, else the newest of the right width; None when there are none."""
    width = getattr(config.model, "text_dim", None)
    found = [vectors for vectors in vectors_of(cache) if vectors.vectors.shape[1] == width]
    wanted = encoder_weights(config.requires.text_encoder, config, workspace)
    if wanted is not None:
        digest = TextEncoder.load(wanted).hash
        return next((vectors for vectors in found if vectors.encoder_hash == digest), None)
    return found[0] if found else None


def vectors_of(cache: Cache) -> list[TextVectors]:
    """The text vectors beside a cache, newest first; those made for an earlier cache of that name are passed over."""
    found = []
    for path in TextVectors.find(cache.path):
        with contextlib.suppress(MismatchError):
            found.append(TextVectors.open(path, cache))
    return found


def encoder_weights(requirement: str | None, config: RunConfig, workspace: Workspace) -> Path | None:
    """The weights file that a requirement (path, run, or preset whose run is finished) names; None when it is not there yet."""
    if requirement is None:
        return None
    path = Path(requirement).expanduser()
    if path.is_file():
        return path
    for folder in (path, workspace.runs / requirement, workspace.runs / run_name(requirement, config.data.cache)):
        if (folder / "config.yaml").is_file():
            run = Run(folder)
            if run.status()["finished"]:
                return run.latest_weights()
    return None


def run_name(preset: str, cache: str) -> str:
    """The default name of a run: the preset's name and the dataset's."""
    dataset = Path(cache).stem
    return preset if dataset in preset.split("-") else f"{preset}-{dataset}"


def resolve(config: RunConfig, workspace: Workspace, *, fetch: bool = True) -> RunConfig:
    """The configuration with what it leaves open filled in, so that a weights file can be rebuilt from its own header.

    A classifier's number of classes comes from the labels of the cache; the extractor of a similarity, and the encoder that SGAN inverts,
    from what `requires.extractor` names: a run or weights file, the preset that will make it, or (for a similarity) an extractor of
    another kind, which is downloaded if need be and `fetch` allows it. Raises DataError for the cache, MismatchError or
    EnvironmentProblem for the extractor.
    """
    model = config.model
    found: dict[str, Any] = {}
    if isinstance(model, ClassifierConfig):
        labels = _read_labels(config, Cache.open(workspace.cache_path(config.data.cache)))
        found["num_classes"] = len(labels.names)
    elif isinstance(model, VSSimilarityConfig) and model.extractor is None:
        found["extractor"] = _extractor_config(config, workspace, fetch)
    elif isinstance(model, SGAN) and model.encoder is None:
        found["encoder"] = _encoder_config(config, workspace)
    return config.model_copy(update={"model": model.model_copy(update=found)})


def _extractor_config(config: RunConfig, workspace: Workspace, fetch: bool) -> ClassifierConfig | ExtractorFile:
    wanted = config.requires.extractor
    if wanted is None:
        raise MismatchError("no extractor is named", where="requires.extractor", hint="stackgan train --preset demo-classifier makes one")
    if is_extractor(wanted):
        extractor = open_extractor(wanted, weights_folder=workspace.extractors, offline=None if fetch else True)
        spec = f"{wanted.partition(':')[0]}:{extractor.path.resolve()}"
        return ExtractorFile(spec=spec, sha256=extractor.sha256, num_features=extractor.feature_dim)
    return _classifier_config(config, workspace)


def _encoder_config(config: RunConfig, workspace: Workspace) -> ClassifierConfig:
    found = _classifier_config(config, workspace)
    if found.backbone != "sgan":
        raise MismatchError(
            f"{config.requires.extractor!r} has backbone {found.backbone!r}, and only one of backbone 'sgan' can be inverted",
            where="requires.extractor",
            hint="stackgan presets ls sgan-encoder shows some to train",
        )
    return found


def _classifier_config(config: RunConfig, workspace: Workspace) -> ClassifierConfig:
    """The classifier that `requires.extractor` names, of a file or of the preset that will make it."""
    wanted = config.requires.extractor
    if wanted is None:
        raise MismatchError("no encoder is named", where="requires.extractor", hint="stackgan presets ls sgan-encoder shows some to train")
    path = encoder_weights(wanted, config, workspace)
    if path is None and wanted not in preset_names():
        raise _no_extractor(wanted)
    found = Weights.open(path).config if path else resolve(load_config(wanted, [], {"data": {"cache": config.data.cache}}), workspace)
    return as_classifier(found, wanted)


def as_classifier(found: RunConfig, requirement: str) -> ClassifierConfig:
    """The model of what `requires.extractor` names. Raises MismatchError when it is no classifier."""
    if not isinstance(found.model, ClassifierConfig):
        raise MismatchError(
            f"{requirement!r} is a {found.model.arch}, and not a classifier",
            where="requires.extractor",
            hint="name a classifier's run, weights file or preset",
        )
    return found.model


def is_extractor(requirement: str) -> bool:
    """Whether a requirement names an extractor as `evaluate` takes it, which nothing has to be trained for."""
    return requirement.partition(":")[0] in KINDS


def _no_extractor(requirement: str) -> MismatchError:
    made = requirement in preset_names()
    hint = f"stackgan train --preset {requirement}" if made else "name a classifier's run, weights file or preset; see stackgan presets ls"
    return MismatchError(f"the extractor {requirement!r} is not there or not finished", where="requires.extractor", hint=hint)


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
    labels = _read_labels(config, cache) if needs.labels else None
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
        codes = encode_batch(cache.captions, lowercase=config.model.lowercase, unknown=config.model.unknown)  # type: ignore[union-attr]
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


def _read_labels(config: RunConfig, cache: Cache) -> Labels:
    """What a classifier is trained to tell apart, or SGAN to draw. Raises DataError when the cache has another number of labels."""
    model = config.model
    assert isinstance(model, (ClassifierConfig, SGAN))
    labels = read_labels(cache, model.label, config.data.split)
    if model.num_classes not in (None, len(labels.names)):
        raise DataError(
            f"the {config.data.split!r} split has {len(labels.names)} labels ({model.label}), and the classifier {model.num_classes}",
            where=cache.path,
            hint=f"model.num_classes={len(labels.names)}, or null for as many as there are"
            if isinstance(model, ClassifierConfig)
            else "give an encoder of this dataset with requires.extractor",
        )
    return labels


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
        raise _no_extractor(wanted)
    return load_classifier(path)


def _load_encoder(encoder: nn.Module, config: RunConfig, workspace: Workspace) -> str:
    """The encoder that SGAN inverts; it has to recognise the images of the cache. Returns the hash of its file."""
    assert isinstance(config.model, SGAN)
    weights, classifier = _required_classifier(config, workspace)
    if weights.config.model != config.model.encoder:
        raise MismatchError("this encoder is of another configuration than model.encoder", where=weights.path, hint="model.encoder=null")
    cache = Cache.open(workspace.cache_path(config.data.cache))
    right = _recognised(classifier, cache, _read_labels(config, cache), config)
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
    needs = Needs(images=(classifier.side,), text=False)
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
