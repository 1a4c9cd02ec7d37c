"""Which network computes features for `evaluate`, `tsne` and `neighbours`, and which one scores captions, if the user names none."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stackgan_cli import registry
from stackgan_cli.data.cache import Cache
from stackgan_cli.data.labels import read_labels
from stackgan_cli.data.sources import dataset_of
from stackgan_cli.encoders.extractor import Extractor, open_extractor
from stackgan_cli.errors import MismatchError
from stackgan_cli.metrics.accuracy import match_outputs
from stackgan_cli.metrics.image_sets import CacheSet, ImageSet
from stackgan_cli.metrics.joint_space import JointSpace
from stackgan_cli.runs import Weights
from stackgan_cli.training.inputs import free_run_name, run_name
from stackgan_cli.viz.maps import REPEAT_SIDE, pixel_features
from stackgan_cli.workflows.reporter import Progress, Reporter
from stackgan_cli.workflows.train import Training
from stackgan_cli.workspace import Workspace

GENERAL = "tf-inception-2015"
"""The extractor for datasets without a classifier of their own."""
JUDGE_SEED = 1
"""Seed of the accuracy classifier, so that it differs from the encoder that a stack of generators inverts."""


def pick_extractor(
    spec: str,
    cache: Cache | None,
    device: torch.device,
    workspace: Workspace,
    reporter: Reporter,
    *,
    weights_folder: Path | None = None,
    trust: bool = False,
    **settings: Any,
) -> Extractor:
    """The extractor that `spec` names; by default the newest classifier trained on `cache`, else Inception of 2015.

    `trust` allows TorchScript files; `settings` go to `open_extractor`. A download shows its progress. Raises EnvironmentProblem (exit 6)
    if its weights are neither available nor downloadable.
    """
    spec = spec or default_extractor(cache, str(device), workspace, reporter)
    kind, _, name = spec.partition(":")
    if kind == "classifier":
        spec = f"classifier:{_weights_file(name, workspace)}"
    with ExitStack() as stack:
        bars: list[Progress] = []

        def show(done: int, total: int) -> None:
            if not bars:  # only when something is downloaded
                bars.append(stack.enter_context(reporter.progress(f"downloading {kind}", unit="bytes")))
            bars[0].update(done, total)

        folder = weights_folder or workspace.extractors
        return open_extractor(spec, weights_folder=folder, device=device, progress=show, trust=trust, **settings)


def default_extractor(cache: Cache | None, device: str, workspace: Workspace, reporter: Reporter) -> str:
    """The default extractor for images of a cache. If the dataset names a preset for a classifier, it is trained if necessary."""
    if cache is None:
        return GENERAL
    run, dataset = _classifier_run(cache, workspace), dataset_of(cache)
    if run is not None:
        return f"classifier:{run}"
    if dataset.classifier is not None:
        name = run_name(dataset.classifier, workspace.name_of(cache))
        return _trained(cache, dataset.classifier, [], name, device, workspace, reporter)
    return GENERAL if dataset.judge is None else _judge(cache, dataset.judge, device, workspace, reporter)


def default_judge(cache: Cache | None, device: str, workspace: Workspace, reporter: Reporter) -> str:
    """The classifier that decides whether images show their labels; never the encoder that a stack of generators was trained to invert.

    It is trained if necessary. Raises MismatchError for datasets that have neither a preset for one nor a trained classifier.
    """
    run = None if cache is None else _classifier_run(cache, workspace)
    preset = None if cache is None else dataset_of(cache).judge
    if cache is not None and preset is not None:
        return _judge(cache, preset, device, workspace, reporter)
    if run is None:
        name = "NAME" if cache is None else workspace.name_of(cache)
        raise MismatchError(
            "no classifier is available for these images",
            hint=f"stackgan train --preset classifier --name judge data.cache={shlex.quote(name)}, and then --extractor classifier:judge",
        )
    return f"classifier:{run}"


def _judge(cache: Cache, preset: str, device: str, workspace: Workspace, reporter: Reporter) -> str:
    return _trained(cache, preset, [f"train.seed={JUDGE_SEED}"], f"judge-{cache.path.stem}", device, workspace, reporter)


def _trained(cache: Cache, preset: str, overrides: list[str], name: str, device: str, workspace: Workspace, reporter: Reporter) -> str:
    """The classifier `name`, trained if necessary."""
    name, data = free_run_name(name, cache, workspace), workspace.name_of(cache)
    run = workspace.run_at(name)
    if run is None or not run.status()["finished"]:
        words = shlex.join(["stackgan", "train", "--preset", preset, "--name", name, *overrides, f"data.cache={data}"])
        reporter.say(f"no classifier has been trained on {cache.path.stem} yet; first: {words}")
        Training(workspace, reporter, device).trained(preset, overrides, data, name)
    return f"classifier:{name}"


def right_outputs(images: ImageSet, extractor: Extractor, weights: Weights | None, reporter: Reporter) -> np.ndarray:
    """(N,) int64: the classifier output that is correct for each image, given its label.

    Real images are labeled by what the classifier was trained on (`model.label`). Raises MismatchError if it does not know the labels.
    """
    labels, names = images.labels, images.label_names
    if extractor.name == "classifier":
        judge = Weights.open(extractor.path)
        label = registry.find(judge.config.model.arch).requirements(judge.config.model).label
        if isinstance(images, CacheSet) and label is not None and label != "class":
            found = read_labels(images.cache, label, images.split)
            labels, names = found.ids[images.rows], found.names
        if weights is not None and _is_inverted(judge, weights):
            reporter.warn(f"the generators were trained to invert {extractor.label}: use a classifier that was trained separately")
    assert labels is not None and extractor.num_classes is not None
    return match_outputs(labels, names, extractor.classes, extractor.num_classes, where=extractor.path)


def _is_inverted(judge: Weights, generators: Weights) -> bool:
    """Whether a classifier is the encoder in the weights of a stack of generators."""
    inside, own = generators.tensors("encoder"), judge.tensors("classifier")
    return inside.keys() == own.keys() and all(bool((inside[key] == own[key]).all()) for key in own)


def pick_joint(name: str, cache: Cache | None, device: torch.device, workspace: Workspace, reporter: Reporter) -> JointSpace:
    """The joint space that scores captions: the run or file `name`, else the dataset's newest vs-similarity, else its newest text encoder.

    Raises MismatchError when there is none.
    """
    if name:
        return JointSpace.open(_weights_file(name, workspace), device)
    for arch in ("vs-similarity", "char-cnn-rnn"):
        for run in workspace.all_runs():
            weights = run.latest_weights()
            if run.config.model.arch == arch and weights is not None and cache is not None and run.made_on(cache.identity):
                reporter.say(f"captions are scored by {run.name}")
                return JointSpace.open(weights, device)
    raise MismatchError(
        "no model is available that compares images with captions", hint="stackgan train --preset vs-similarity, or --joint FILE"
    )


def _classifier_run(cache: Cache, workspace: Workspace) -> str | None:
    """The newest finished classifier trained on this cache; encoders made to be inverted do not count."""
    classifiers = (run for run in workspace.all_runs() if run.config.model.scores_images and run.made_on(cache.identity))
    return next((run.name for run in classifiers if run.status()["finished"]), None)


def _weights_file(name: str, workspace: Workspace) -> Path:
    return workspace.weights(name).path


Extract = Callable[[np.ndarray], np.ndarray]
"""uint8 (N, S, S, 3) -> float32 (N, D)."""


def extract_function(
    spec: str,
    cache: Cache | None,
    device: torch.device,
    workspace: Workspace,
    reporter: Reporter,
    *,
    weights_folder: Path | None = None,
    trust: bool = False,
) -> tuple[Extract, dict[str, Any]]:
    """A feature function and its description. `spec` is `pixels`, an extractor, or empty for the default of `evaluate`."""
    if spec == "pixels":
        return pixel_features, {"extractor": "pixels", "side": REPEAT_SIDE, "resize": "area"}
    extractor = pick_extractor(spec, cache, device, workspace, reporter, weights_folder=weights_folder, trust=trust)

    def extract(images: np.ndarray) -> np.ndarray:
        features: np.ndarray = extractor(torch.from_numpy(images).permute(0, 3, 1, 2)).features.cpu().numpy()
        return features

    return extract, extractor.identity
