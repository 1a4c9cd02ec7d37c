"""The inputs of a run: the cache, text embeddings, text encoder, Stage-I, classifier and labels that its configuration names.

They are found and opened here, each once, and passed on as `ResolvedInputs`; no other module looks for them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np
from torch import Tensor

from stackgan_cli import registry
from stackgan_cli.config.archs import Classifier as ClassifierConfig
from stackgan_cli.config.archs import ExtractorFile
from stackgan_cli.config.presets import load_config, preset_names
from stackgan_cli.config.schema import RunConfig
from stackgan_cli.data.cache import Cache
from stackgan_cli.data.caption_vectors import CaptionVectors
from stackgan_cli.data.labels import Labels, read_labels
from stackgan_cli.data.stores import ImageStore
from stackgan_cli.encoders.classifier import load_classifier
from stackgan_cli.encoders.extractor import KINDS, open_extractor
from stackgan_cli.encoders.extractor_weights import PUBLISHED, find_weights, given_weights
from stackgan_cli.encoders.text_encoder import TextEncoder
from stackgan_cli.errors import DataError, MismatchError
from stackgan_cli.models.classifier import Classifier
from stackgan_cli.registry.starting import Requirements
from stackgan_cli.runs import Weights
from stackgan_cli.workspace import Workspace

IMAGES_AT_ONCE = 256


class ResolvedInputs:
    """The inputs of one configuration, each opened when it is first needed and then kept.

    `config` is complete, so that a network can be rebuilt from the header of a weights file. Inputs that do not exist yet are None
    (training/plan.py says how to make them). Raises DataError for the cache, MismatchError (exit 5) for inputs that do not belong
    together, and EnvironmentProblem for an extractor that cannot be downloaded, or may not be because `fetch` is false.
    """

    def __init__(self, config: RunConfig, workspace: Workspace, *, fetch: bool = True) -> None:
        self.workspace, self.fetch = workspace, fetch
        self.config = config
        self.cache: Cache = workspace.open_cache(config.data.cache)
        spec = registry.find(config.model.arch)
        self.requirements: Requirements = spec.requirements(config.model)
        found = spec.complete(config.model, self)
        if found:
            self.config = config.model_copy(update={"model": config.model.model_copy(update=found)})
            self.requirements = spec.requirements(self.config.model)
        self._check_classes()

    def _check_classes(self) -> None:
        """Raise DataError unless the cache has the classes, or the labels, that the model requires."""
        classes, cache = self.requirements.classes, self.cache
        if classes is not None:
            if (cache.class_ids < 0).any():
                raise DataError("some images have no class", where=cache.path, hint="use model.condition=text or none")
            if cache.class_ids.max() >= classes:
                found = int(cache.class_ids.max()) + 1
                raise DataError(f"has {found} classes, but the model has {classes}", where=cache.path, hint=f"model.num_classes={found}")
        wanted = self.requirements.num_labels
        if self.labels is not None and wanted not in (None, len(self.labels.names)):
            count = len(self.labels.names)
            needs_classifier = self.requirements.classifier
            raise DataError(
                f"the {self.config.data.split!r} split has {count} labels ({self.requirements.label}), but the model has {wanted}",
                where=cache.path,
                hint="set requires.extractor to an encoder that was trained on this dataset"
                if needs_classifier
                else f"set model.num_classes={count}, or null to use the number of labels",
            )

    # -- images and their labels ----------------------------------------------------------------------------------------------

    @property
    def rows(self) -> np.ndarray:
        """Rows of the training split in the cache, int64 (N,)."""
        return self.cache.rows(self.config.data.split)

    @property
    def trained_rows(self) -> np.ndarray | None:
        """Rows to train on if part of the split is held out; None for the whole split."""
        return self.labels.trained if self.requirements.holds_out and self.labels is not None else None

    @cached_property
    def labels(self) -> Labels | None:
        """The labels that a classifier predicts, or that SGAN generates images from; None if the model has none."""
        label = self.requirements.label
        return None if label is None else read_labels(self.cache, label, self.config.data.split)

    def images(self, side: int, rows: np.ndarray | None = None) -> Iterator[Tensor]:
        """Center crops (B, 3, side, side) in [-1, 1] of images of the cache; `rows` None: the training images."""
        if rows is None:
            rows = self.rows if self.trained_rows is None else self.trained_rows
        store = ImageStore(self.cache, rows, side, whole=self.config.data.whole)
        return map(store.centres, np.array_split(np.arange(len(rows)), len(rows) // IMAGES_AT_ONCE + 1))

    # -- captions -------------------------------------------------------------------------------------------------------------

    @cached_property
    def encoder_file(self) -> Path | None:
        """The file of the text encoder: the one that `requires.text_encoder` names, else the weights file of Stage-I if it contains one."""
        named = self._weights_of(self.config.requires.text_encoder)
        if named is not None or self.requirements.text_dim is None or self.stage1 is None:
            return named
        inside = self.stage1.text_encoder is not None and "config" in self.stage1.text_encoder
        return self.stage1.path if inside else None

    @cached_property
    def text_encoder(self) -> TextEncoder | None:
        """The text encoder; without `encoder_file`, the one in the workspace that made the embeddings. None if it is not known."""
        if self.requirements.text_dim is None:
            return None
        if self.encoder_file is not None:
            if self.stage1 is not None and self.encoder_file == self.stage1.path:
                return TextEncoder.inside(self.stage1)
            encoder = TextEncoder.load(self.encoder_file)
            self._check_stage1(encoder.hash)
            return encoder
        if self.vectors is None:
            return None
        kept = self.workspace.encoder_path(self.vectors.encoder_hash)
        return TextEncoder.load(kept) if kept.is_file() else None

    @cached_property
    def vectors(self) -> CaptionVectors | None:
        """Text embeddings of the captions: by the text encoder, else by that of Stage-I, else the newest ones of the right size."""
        width = self.requirements.text_dim
        if width is None:
            return None
        found = [vectors for vectors in vectors_of(self.cache) if vectors.vectors.shape[1] == width]
        wanted = self.stage1_encoder_hash if self.encoder_file is None else self._loaded_hash
        return next((vectors for vectors in found if wanted in (None, vectors.encoder_hash)), None)

    @property
    def _loaded_hash(self) -> str:
        assert self.text_encoder is not None
        return self.text_encoder.hash

    @property
    def stage1_encoder_hash(self) -> str | None:
        """The hash of the text encoder that Stage-I was trained with; None if it is not known, or if there is no Stage-I."""
        known = None if self.stage1 is None or self.stage1.text_encoder is None else str(self.stage1.text_encoder["hash"])
        return None if known == "unknown" else known

    def _check_stage1(self, encoder_hash: str) -> None:
        theirs = self.stage1_encoder_hash
        if theirs is not None and theirs != encoder_hash:
            assert self.stage1 is not None
            raise MismatchError(
                f"Stage-I was trained with text encoder {theirs[:8]}, but requires.text_encoder is {encoder_hash[:8]}",
                where=self.stage1.path,
                hint=f"use its encoder, requires.text_encoder={self.stage1.path}, or train a Stage-I with this one",
            )

    # -- trained networks -----------------------------------------------------------------------------------------------------

    @cached_property
    def stage1(self) -> Weights | None:
        """The weights of the Stage-I that `requires.stage1` names."""
        path = self._weights_of(self.config.requires.stage1)
        return None if path is None else Weights.open(path)

    @cached_property
    def classifier(self) -> tuple[Weights, Classifier] | None:
        """The classifier that `requires.extractor` names; None if it names another kind of extractor, or does not exist yet."""
        if not self.requirements.classifier or self.names_extractor:
            return None
        path = self._weights_of(self.config.requires.extractor)
        return None if path is None else load_classifier(path)

    @property
    def names_extractor(self) -> bool:
        """Whether `requires.extractor` names an extractor in the form of `evaluate --extractor`, which does not have to be trained."""
        return (self.config.requires.extractor or "").partition(":")[0] in KINDS

    def classifier_config(self) -> ClassifierConfig:
        """The configuration of the classifier that `requires.extractor` names, or that its preset will train. Raises MismatchError."""
        wanted = self.config.requires.extractor
        if wanted is None:
            hint = "to see presets that train one: stackgan presets ls classifier, or stackgan presets ls sgan-encoder"
            raise MismatchError("no classifier is named", where="requires.extractor", hint=hint)
        if self.classifier is not None:
            found = self.classifier[0].config
        elif wanted in preset_names():
            preset = load_config(wanted, [], {"data": {"cache": self.config.data.cache}})
            found = ResolvedInputs(preset, self.workspace, fetch=self.fetch).config
        else:
            raise no_extractor(wanted)
        return as_classifier(found, wanted)

    def extractor_config(self) -> ClassifierConfig | ExtractorFile:
        """The configuration of any kind of extractor. Raises MismatchError, or EnvironmentProblem if it cannot be downloaded."""
        wanted = self.config.requires.extractor
        if wanted is None or not self.names_extractor:
            return self.classifier_config()
        extractor = open_extractor(wanted, weights_folder=self.workspace.extractors, offline=None if self.fetch else True)
        spec = f"{wanted.partition(':')[0]}:{extractor.path.resolve()}"
        return ExtractorFile(spec=spec, sha256=extractor.sha256, num_features=extractor.feature_dim)

    def inception(self, name: str) -> Path:
        """The file of an Inception-v3 with a published name, or at a path. Raises EnvironmentProblem or UsageError."""
        return find_weights(name, self.workspace.extractors) if name in PUBLISHED else given_weights(Path(name))

    def _weights_of(self, requirement: str | None) -> Path | None:
        return weights_of(requirement, self.config.data.cache, self.cache, self.workspace)


def vectors_of(cache: Cache) -> list[CaptionVectors]:
    """The text embeddings next to a cache, newest first; those of an earlier cache with the same name are skipped."""
    found = []
    for path in CaptionVectors.find(cache.path):
        with contextlib.suppress(MismatchError, FileNotFoundError):
            found.append(CaptionVectors.open(path, cache))
    return found


def weights_of(requirement: str | None, name: str, cache: Cache, workspace: Workspace) -> Path | None:
    """The weights file that a requirement names: a path, or a run or preset that is finished. Else None.

    For a preset it is a run of it that was made from this very `cache`, called `name` in the configuration, whatever the runs are called.
    """
    if requirement is None:
        return None
    path = Path(requirement).expanduser()
    if path.is_file():
        return path
    of_preset = requirement in preset_names()
    names = [requirement, run_name(requirement, name), _with_identity(run_name(requirement, name), cache)] if of_preset else [requirement]
    runs = [run for run in map(workspace.run_at, names) if run is not None and (not of_preset or run.made_on(cache.identity))]
    return next((run.latest_weights() for run in runs if run.status()["finished"]), None)


def run_name(preset: str, cache: str) -> str:
    """The name of a run by default: the name of the preset and that of the dataset."""
    path = Path(cache)
    dataset = path.stem if path.suffix == ".h5" or len(path.parts) > 1 else cache
    return preset if dataset in preset.split("-") else f"{preset}-{dataset}"


def free_run_name(name: str, cache: Cache, workspace: Workspace) -> str:
    """`name`; or, if the run of that name was made from another cache, `name` and the beginning of this cache's identity."""
    run = workspace.run_at(name)
    return name if run is None or run.made_from().get("cache", cache.identity) == cache.identity else _with_identity(name, cache)


def default_run_name(preset: str, cache: str, workspace: Workspace) -> str:
    """The name of a run of a preset on `cache` (a name or a path) if the user gives none. Raises DataError if there is no such cache."""
    return free_run_name(run_name(preset, cache), workspace.open_cache(cache), workspace)


def _with_identity(name: str, cache: Cache) -> str:
    return f"{name}-{cache.identity[:8]}"


def as_classifier(found: RunConfig, requirement: str) -> ClassifierConfig:
    """The model of what `requires.extractor` names. Raises MismatchError if it is not a classifier."""
    model = found.model.as_a(ClassifierConfig)
    if model is None:
        raise MismatchError(
            f"{requirement!r} is a {found.model.arch}, not a classifier",
            where="requires.extractor",
            hint="give the run, weights file or preset of a classifier",
        )
    return model


def no_extractor(requirement: str) -> MismatchError:
    """The error for an extractor that does not exist or is not finished."""
    made = requirement in preset_names()
    hint = (
        f"stackgan train --preset {requirement}"
        if made
        else "give the run, weights file or preset of a classifier; see stackgan presets ls"
    )
    return MismatchError(f"the extractor {requirement!r} does not exist or is not finished", where="requires.extractor", hint=hint)
