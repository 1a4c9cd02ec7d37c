"""`stackgan evaluate`: the metrics that the papers report, with the protocol of each figure."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from stackgan_cli.cli.common import Device, TextEncoderFile, examples, session_of
from stackgan_cli.cli.ui import table
from stackgan_cli.errors import UsageError
from stackgan_cli.metrics.table import METRICS

if TYPE_CHECKING:
    from stackgan_cli.workflows.evaluate import Measured

METRIC_HELP = "Metrics:\n\n\b\n" + "\n".join(f"  {metric.name:<18}{metric.help}" for metric in METRICS)
EPILOG = f"{METRIC_HELP}\n\n" + examples(
    "stackgan evaluate --metric fid",
    "stackgan evaluate v2-cub --metric fid,is,ms-ssim --protocol clean",
    "stackgan evaluate pictures/ photographs/ --metric kid --extractor export:birds.pt2",
    "stackgan evaluate --weights 'runs/v2-cub/weights/step-*' --metric fid --count 5000",
    "stackgan evaluate sgan-mnist --metric accuracy --count 1000",
    "torchrun --nproc-per-node 2 -m stackgan_cli evaluate --metric fid",
)


def evaluate(
    ctx: typer.Context,
    subject: Annotated[
        str,
        typer.Argument(
            help="What to measure: a run, weights file, folder of images or CACHE[:SPLIT]. Default: the newest run.", show_default=False
        ),
    ] = "",
    reference: Annotated[
        str,
        typer.Argument(
            help="Real images to compare with: a folder, CACHE[:SPLIT] or a statistics file (.npz). Default: the run's dataset.",
            show_default=False,
        ),
    ] = "",
    metric: Annotated[
        list[str] | None,
        typer.Option(
            "--metric",
            "-m",
            help="Metrics to compute, separated by commas (see below). Default: fid, or none with --save-statistics.",
            show_default=False,
        ),
    ] = None,
    protocol: Annotated[str, typer.Option(help="Protocol: default, stackgan-is, ttur, clean, t2i-legacy or cifar.")] = "default",
    extractor: Annotated[
        str,
        typer.Option(
            help="Feature extractor: tf-inception-2015, torchvision-inception, finetuned:FILE, classifier:RUN, export:FILE or "
            "torchscript:FILE (a program, only with --trust). "
            "Default: the classifier of the dataset, else tf-inception-2015; for accuracy, a classifier of its labels.",
            show_default=False,
        ),
    ] = "",
    weights: Annotated[str, typer.Option(help="Glob pattern of weights files: a curve over training.", show_default=False)] = "",
    cache: Annotated[str, typer.Option(help="Cache of captions and real images. Default: the run's.", show_default=False)] = "",
    split: Annotated[
        str, typer.Option(help="Split of the cache: train, test or all. Default: the protocol's, else test.", show_default=False)
    ] = "",
    count: Annotated[
        int | None, typer.Option(min=1, help="Number of images to generate. Default: the protocol's, else one per caption, at most 30,000.")
    ] = None,
    scale: Annotated[int | None, typer.Option(help="Resolution of the generated images. Default: the largest.", show_default=False)] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed for captions, noise and subsets.")] = 0,
    splits: Annotated[
        int | None, typer.Option(min=1, help="Number of splits for the inception score. Default: 10.", show_default=False)
    ] = None,
    joint: Annotated[
        str, typer.Option(help="Run or file of the vs-similarity model or text encoder that scores captions.", show_default=False)
    ] = "",
    text_encoder: TextEncoderFile = None,
    compat: Annotated[str | None, typer.Option(help="For ms-ssim: hdgan pairs images as HDGAN's released script does.")] = None,
    weights_folder: Annotated[Path | None, typer.Option(help="Folder with published extractor weights. Default: extractors/.")] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Allow --extractor torchscript:FILE, which runs a program.")] = False,
    save_statistics: Annotated[Path | None, typer.Option(help="File (.npz) to write the subject's statistics to.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images per batch. Default: chosen for the device.")] = None,
    device: Device = "auto",
) -> None:
    """Measure a run, weights file, dataset or folder of images. Every figure is reported with its protocol."""
    from stackgan_cli.metrics.table import find_metrics
    from stackgan_cli.workflows import evaluate as workflow

    session = session_of(ctx)
    if weights and subject:
        raise UsageError("give a subject or --weights, not both")
    if save_statistics is not None and save_statistics.suffix != ".npz":
        raise UsageError("statistics files end in .npz", where="--save-statistics")
    if compat not in (None, "hdgan"):
        raise UsageError(f"unknown value {compat!r}", where="--compat", hint="hdgan, or leave it out")
    names = metric if metric else [] if save_statistics else ["fid"]
    settings: dict[str, Any] = {
        "protocol": protocol,
        "extractor": extractor,
        "cache": cache,
        "split": split,
        "count": count,
        "scale": scale,
        "seed": seed,
        "splits": splits,
        "joint": joint,
        "text_encoder": text_encoder,
        "compat": compat,
        "weights_folder": weights_folder,
        "trust": trust,
        "save_statistics": save_statistics,
        "batch_size": batch_size,
    }
    where: dict[str, Any] = {"workspace": session.workspace, "device": device, "reporter": session}
    if weights:
        curve = workflow.evaluate_weights(weights, reference, metrics=names, **where, **settings)
        text = _curve(curve, [metric.name for metric in find_metrics(names)])
        session.result({"results": [line for measured in curve for line in measured.lines()]}, text)
        return
    measured = workflow.evaluate(subject, reference, metrics=names, **where, **settings)
    facts: dict[str, Any] = {"results": measured.lines()}
    if save_statistics is not None:
        facts["statistics"] = str(save_statistics)
    session.result(facts, "\n".join(filter(None, (_figures(measured), facts.get("statistics", "")))))


def _figures(measured: Measured) -> str:
    rows = []
    for result in measured.results:
        spread = "" if result.std is None else f" ± {result.std:.3g}"
        beside = "  ".join(f"{key.replace('_', ' ')} {value:.4g}" for key, value in result.more.items() if isinstance(value, float))
        rows.append((result.title, f"{result.value:.5g}{spread}", beside))
    return table(rows)


def _curve(curve: list[Measured], metrics: list[str]) -> str:
    """A row per weights file; empty without results (only the first of several processes has them)."""
    if not any(measured.results for measured in curve):
        return ""
    paths = [measured.weights.path for measured in curve if measured.weights is not None]
    several = len({path.parent for path in paths}) > 1
    rows = []
    for path, measured in zip(paths, curve, strict=True):
        run = measured.weights.run if measured.weights is not None else None
        label = f"{run.name if run else path.stem} {measured.step:,}" if several else f"{measured.step:,}"
        rows.append((label, *(f"{result.value:.4g}" for result in measured.results)))
    return table(rows, ("step", *metrics))
