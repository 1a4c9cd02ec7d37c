"""stackgan: train, sample and measure stacked text-to-image GANs.

Every subcommand is a function here, and so are the objects that they take and return; each is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from stackgan_cli.runs import Run, Weights
    from stackgan_cli.sampling import Sampler
    from stackgan_cli.workflows.doctor import doctor
    from stackgan_cli.workflows.encode_text import encode_captions, encode_text
    from stackgan_cli.workflows.evaluate import evaluate, evaluate_weights
    from stackgan_cli.workflows.export_weights import export_weights
    from stackgan_cli.workflows.import_weights import import_weights
    from stackgan_cli.workflows.info import info
    from stackgan_cli.workflows.interpolate import interpolate
    from stackgan_cli.workflows.neighbours import neighbours
    from stackgan_cli.workflows.prepare import prepare
    from stackgan_cli.workflows.rank_study import make_rank_study, score_rank_study
    from stackgan_cli.workflows.report import report
    from stackgan_cli.workflows.reporter import Reporter
    from stackgan_cli.workflows.sample import sample
    from stackgan_cli.workflows.train import train
    from stackgan_cli.workflows.tsne import tsne
    from stackgan_cli.workspace import Workspace

_PLACES = {
    "Reporter": "workflows.reporter",
    "Run": "runs",
    "Sampler": "sampling",
    "Weights": "runs",
    "Workspace": "workspace",
    "doctor": "workflows.doctor",
    "encode_captions": "workflows.encode_text",
    "encode_text": "workflows.encode_text",
    "evaluate": "workflows.evaluate",
    "evaluate_weights": "workflows.evaluate",
    "export_weights": "workflows.export_weights",
    "import_weights": "workflows.import_weights",
    "info": "workflows.info",
    "interpolate": "workflows.interpolate",
    "make_rank_study": "workflows.rank_study",
    "neighbours": "workflows.neighbours",
    "prepare": "workflows.prepare",
    "report": "workflows.report",
    "sample": "workflows.sample",
    "score_rank_study": "workflows.rank_study",
    "train": "workflows.train",
    "tsne": "workflows.tsne",
}
"""Public name to the module that defines it."""

__all__ = [  # noqa: RUF022 - objects, then the verbs in the order in which they are used
    "Workspace",
    "Run",
    "Weights",
    "Sampler",
    "Reporter",
    "prepare",
    "encode_text",
    "encode_captions",
    "train",
    "sample",
    "interpolate",
    "tsne",
    "neighbours",
    "evaluate",
    "evaluate_weights",
    "report",
    "make_rank_study",
    "score_rank_study",
    "import_weights",
    "export_weights",
    "info",
    "doctor",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
