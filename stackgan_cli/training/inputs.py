"""What a configuration requires, and what it leaves open: text vectors, runs of other presets, labels, classifiers and encoders."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from stackgan_cli.config.archs import SGAN, ExtractorFile
from stackgan_cli.config.archs import Classifier as ClassifierConfig
from stackgan_cli.config.archs import VSSimilarity as VSSimilarityConfig
from stackgan_cli.config.presets import load_config, preset_names
from stackgan_cli.config.schema import RunConfig
from stackgan_cli.data.cache import Cache
from stackgan_cli.data.caption_vectors import CaptionVectors
from stackgan_cli.data.labels import Labels, read_labels
from stackgan_cli.encoders.extractor import KINDS, open_extractor
from stackgan_cli.encoders.text_encoder import TextEncoder
from stackgan_cli.errors import DataError, MismatchError
from stackgan_cli.runs import Run, Weights, Workspace


def find_vectors(config: RunConfig, cache: Cache, workspace: Workspace) -> CaptionVectors | None:
    """The text vectors to train on: those of the required encoder, else the newest of the right width; None when there are none."""
    width = getattr(config.model, "text_dim", None)
    found = [vectors for vectors in vectors_of(cache) if vectors.vectors.shape[1] == width]
    wanted = encoder_weights(config.requires.text_encoder, config, workspace)
    if wanted is not None:
        digest = TextEncoder.load(wanted).hash
        return next((vectors for vectors in found if vectors.encoder_hash == digest), None)
    return found[0] if found else None


def vectors_of(cache: Cache) -> list[CaptionVectors]:
    """The text vectors beside a cache, newest first; those made for an earlier cache of that name are passed over."""
    found = []
    for path in CaptionVectors.find(cache.path):
        with contextlib.suppress(MismatchError):
            found.append(CaptionVectors.open(path, cache))
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
        labels = labels_of(config, Cache.open(workspace.cache_path(config.data.cache)))
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
        raise no_extractor(wanted)
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


def no_extractor(requirement: str) -> MismatchError:
    made = requirement in preset_names()
    hint = f"stackgan train --preset {requirement}" if made else "name a classifier's run, weights file or preset; see stackgan presets ls"
    return MismatchError(f"the extractor {requirement!r} is not there or not finished", where="requires.extractor", hint=hint)


def labels_of(config: RunConfig, cache: Cache) -> Labels:
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
