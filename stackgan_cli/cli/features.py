"""Which network looks at the pictures of `evaluate`, `tsne` and `neighbours`, and which one judges captions, when the user names none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackgan_cli.errors import MismatchError, UsageError

if TYPE_CHECKING:
    import numpy as np
    import torch

    from stackgan_cli.cli.ui import Session
    from stackgan_cli.data.cache import Cache
    from stackgan_cli.encoders.extractor import Extractor
    from stackgan_cli.metrics.image_sets import ImageSet
    from stackgan_cli.metrics.joint_space import JointSpace
    from stackgan_cli.runs import Weights

GENERAL = "tf-inception-2015"
"""The extractor of datasets that have no classifier of their own."""
JUDGE_SEED = 1
"""Seed of the accuracy judge, so that it is another network than the encoder that a stack of generators inverts."""


def pick_extractor(
    session: Session, spec: str, cache: Cache | None, device: torch.device, *, weights_folder: Path | None = None, **settings: Any
) -> Extractor:
    """The extractor that `spec` names; without one the newest classifier trained on `cache`, else Inception of 2015.

    `settings` go to `open_extractor`. Raises EnvironmentProblem (exit 6) when its weights are neither here nor to be downloaded.
    """
    from stackgan_cli.encoders.extractor import open_extractor

    spec = spec or default_extractor(session, cache, str(device))
    kind, _, name = spec.partition(":")
    if kind == "classifier":
        spec = f"classifier:{_weights_file(session, name)}"
    return open_extractor(spec, weights_folder=weights_folder or session.workspace.root / "extractors", device=device, **settings)


def default_extractor(session: Session, cache: Cache | None, device: str) -> str:
    """The extractor for pictures of a cache; a classifier of the datasets that have a preset for one is trained when it is not there."""
    from stackgan_cli.data.sources import dataset_of

    if cache is None:
        return GENERAL
    run, dataset = _classifier_run(session, cache), dataset_of(cache)
    if run is not None:
        return f"classifier:{run}"
    if dataset.classifier is not None:
        from stackgan_cli.training.inputs import run_name

        return _trained(session, cache, dataset.classifier, [], run_name(dataset.classifier, _name_of(session, cache)), device)
    return GENERAL if dataset.judge is None else _judge(session, cache, dataset.judge, device)


def default_judge(session: Session, cache: Cache | None, device: str) -> str:
    """The classifier that says whether pictures show their labels: never the encoder that a stack of generators was trained to please.

    It is trained when it is not there. Raises MismatchError for datasets without a preset, of which no classifier is there either.
    """
    from stackgan_cli.data.sources import dataset_of

    run = None if cache is None else _classifier_run(session, cache)
    preset = None if cache is None else dataset_of(cache).judge
    if cache is not None and preset is not None:
        return _judge(session, cache, preset, device)
    if run is None:
        name = "NAME" if cache is None else _name_of(session, cache)
        raise MismatchError(
            "no classifier is there that could judge these pictures",
            hint=f"stackgan train --preset classifier --name judge data.cache={name}, and then --extractor classifier:judge",
        )
    return f"classifier:{run}"


def _judge(session: Session, cache: Cache, preset: str, device: str) -> str:
    return _trained(session, cache, preset, [f"train.seed={JUDGE_SEED}"], f"judge-{cache.path.stem}", device)


def _trained(session: Session, cache: Cache, preset: str, overrides: list[str], name: str, device: str) -> str:
    """The classifier `name`, made or finished where it is not."""
    from stackgan_cli.cli.work import Worker
    from stackgan_cli.config.presets import load_config
    from stackgan_cli.runs import Run

    folder = session.workspace.runs / name
    if not ((folder / "config.yaml").is_file() and Run(folder).status()["finished"]):
        config = load_config(preset, overrides, {"data": {"cache": _name_of(session, cache)}})
        words = " ".join(["stackgan train --preset", preset, f"--name {name}", *overrides, f"data.cache={config.data.cache}"])
        session.say(f"no classifier has been trained on {cache.path.stem} yet: {words} comes first")
        Worker(session, device).train(config, name)
    return f"classifier:{name}"


def right_outputs(session: Session, pictures: ImageSet, extractor: Extractor, weights: Path | None) -> np.ndarray:
    """(N,) int64: the output of a classifier that is right for each picture, that of its label.

    Real images are labelled with what the classifier tells apart (`model.label`). Raises MismatchError when it does not know the labels.
    """
    from stackgan_cli.data.labels import read_labels
    from stackgan_cli.metrics.accuracy import match_outputs
    from stackgan_cli.metrics.image_sets import CacheSet
    from stackgan_cli.runs import Weights

    labels, names = pictures.labels, pictures.label_names
    if extractor.name == "classifier":
        judge = Weights.open(extractor.path)
        label = judge.config.model.label  # type: ignore[attr-defined]
        if isinstance(pictures, CacheSet) and label != "class":
            found = read_labels(pictures.cache, label, pictures.split)
            labels, names = found.ids[pictures.rows], found.names
        if weights is not None and _is_inverted(judge, Weights.open(weights)):
            session.warn(f"the generators were trained to please {extractor.label}: have it judged by a classifier trained separately")
    assert labels is not None and extractor.num_classes is not None
    return match_outputs(labels, names, extractor.classes, extractor.num_classes, where=extractor.path)


def _is_inverted(judge: Weights, generators: Weights) -> bool:
    """Whether a classifier is the encoder inside the weights of a stack of generators."""
    inside, own = generators.tensors("encoder"), judge.tensors("classifier")
    return inside.keys() == own.keys() and all(bool((inside[key] == own[key]).all()) for key in own)


def pick_joint(session: Session, name: str, cache: Cache | None, device: torch.device) -> JointSpace:
    """The judge of captions: the run or file `name`, else the newest vs-similarity, else the newest text encoder, of the dataset.

    Raises MismatchError when there is none.
    """
    from stackgan_cli.metrics.joint_space import JointSpace
    from stackgan_cli.runs import Run

    if name:
        return JointSpace.open(_weights_file(session, name, "--joint"), device)
    for arch in ("vs-similarity", "char-cnn-rnn"):
        for run in (Run(session.workspace.runs / run_name) for run_name in session.workspace.run_names()):
            weights = run.latest_weights()
            mine = cache is not None and run.config.data.cache == _name_of(session, cache)
            if run.config.model.arch == arch and weights is not None and mine:
                session.say(f"captions are judged by {run.name}")
                return JointSpace.open(weights, device)
    raise MismatchError("nothing here can compare pictures with captions", hint="stackgan train --preset vs-similarity, or --joint FILE")


def _classifier_run(session: Session, cache: Cache) -> str | None:
    """The newest finished classifier that was trained on this cache; encoders to be inverted do not count."""
    from stackgan_cli.runs import Run

    for name in session.workspace.run_names():
        run = Run(session.workspace.runs / name)
        model = run.config.model
        if model.arch != "classifier" or model.backbone == "sgan":  # type: ignore[attr-defined]
            continue
        if _name_of(session, cache) == run.config.data.cache and run.status()["finished"]:
            return name
    return None


def _name_of(session: Session, cache: Cache) -> str:
    """What `data.cache` calls it: its name in the workspace, else its path."""
    return cache.path.stem if cache.path.parent.resolve() == session.workspace.caches.resolve() else str(cache.path)


def _weights_file(session: Session, name: str, option: str = "--extractor") -> Path:
    path = Path(name).expanduser()
    if path.is_file():
        return path
    found = session.workspace.find_run(name).latest_weights()
    if found is None:
        raise UsageError(f"the run {name!r} has no weights yet", where=option)
    return found
