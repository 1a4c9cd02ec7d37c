"""Which network looks at the pictures of `evaluate`, `tsne` and `neighbours`, and which one judges captions, when the user names none."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackgan_cli.errors import MismatchError, UsageError

if TYPE_CHECKING:
    import torch

    from stackgan_cli.cli.ui import Session
    from stackgan_cli.data.cache import Cache
    from stackgan_cli.interop.extractors import Extractor
    from stackgan_cli.metrics.joint import JointSpace

GENERAL = "tf-inception-2015"
"""The extractor of datasets that have no classifier of their own."""
MADE_FOR = {"demo": "demo-classifier"}
"""Datasets whose classifier is trained when it is missing, as text encoders are: no published network knows what they show."""


def pick_extractor(
    session: Session, spec: str, cache: Cache | None, device: torch.device, *, weights_folder: Path | None = None, **settings: Any
) -> Extractor:
    """The extractor that `spec` names; without one the newest classifier trained on `cache`, else Inception of 2015.

    `settings` go to `open_extractor`. Raises EnvironmentProblem (exit 6) when its weights are neither here nor to be downloaded.
    """
    from stackgan_cli.interop.extractors import open_extractor

    spec = spec or default_extractor(session, cache, str(device))
    kind, _, name = spec.partition(":")
    if kind == "classifier":
        spec = f"classifier:{_weights_file(session, name)}"
    return open_extractor(spec, weights_folder=weights_folder or session.workspace.root / "extractors", device=device, **settings)


def default_extractor(session: Session, cache: Cache | None, device: str) -> str:
    """The extractor for pictures of a cache; the drawn birds' classifier is trained when it is not there."""
    if cache is None:
        return GENERAL
    run = _classifier_run(session, cache)
    if run is None and cache.dataset in MADE_FOR:
        from stackgan_cli.cli.work import Worker
        from stackgan_cli.config.presets import load_config
        from stackgan_cli.training.setup import run_name

        config = load_config(MADE_FOR[cache.dataset], [], {"data": {"cache": _name_of(session, cache)}})
        session.say(f"no classifier has been trained on {cache.path.stem} yet: {config.name} comes first")
        name = run_name(config.name, config.data.cache)
        Worker(session, device).train(config, name)
        run = name
    return GENERAL if run is None else f"classifier:{run}"


def pick_joint(session: Session, name: str, cache: Cache | None, device: torch.device) -> JointSpace:
    """The judge of captions: the run or file `name`, else the newest vs-similarity, else the newest text encoder, of the dataset.

    Raises MismatchError when there is none.
    """
    from stackgan_cli.metrics.joint import JointSpace
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
    """The newest finished classifier that was trained on this cache."""
    from stackgan_cli.runs import Run

    for name in session.workspace.run_names():
        run = Run(session.workspace.runs / name)
        if run.config.model.arch == "classifier" and _name_of(session, cache) == run.config.data.cache and run.status()["finished"]:
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
