"""`stackgan evaluate`: what the papers report, with the way it was made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stackgan_cli.cli.common import Device, TextEncoderFile, examples, session_of
from stackgan_cli.errors import UsageError
from stackgan_cli.metrics.table import METRICS

METRIC_HELP = "Metrics:\n\n\b\n" + "\n".join(f"  {metric.name:<18}{metric.help}" for metric in METRICS)
EPILOG = f"{METRIC_HELP}\n\n" + examples(
    "stackgan evaluate --metric fid",
    "stackgan evaluate v2-cub --metric fid,is,ms-ssim --protocol clean",
    "stackgan evaluate pictures/ photographs/ --metric kid --extractor torchscript:birds.pt",
    "stackgan evaluate --weights 'runs/v2-cub/weights/step-*' --metric fid --count 5000",
    "stackgan evaluate sgan-mnist --metric accuracy --count 1000",
    "torchrun --nproc-per-node 2 -m stackgan_cli evaluate --metric fid",
)


def evaluate(
    ctx: typer.Context,
    subject: Annotated[
        str, typer.Argument(help="A run, weights file, folder of pictures or CACHE[:SPLIT]. Default: the newest run.", show_default=False)
    ] = "",
    reference: Annotated[
        str,
        typer.Argument(help="The real pictures: a folder, CACHE[:SPLIT] or an .npz of statistics. Default: the run's.", show_default=False),
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
    protocol: Annotated[str, typer.Option(help="default, stackgan-is, ttur, clean, t2i-legacy or cifar.")] = "default",
    extractor: Annotated[
        str,
        typer.Option(
            help="tf-inception-2015, torchvision-inception, finetuned:FILE, classifier:RUN, torchscript:FILE or export:FILE. "
            "Default: the classifier of the dataset, else tf-inception-2015; for accuracy one that judges its labels.",
            show_default=False,
        ),
    ] = "",
    weights: Annotated[str, typer.Option(help="A pattern of weights files: a curve over training.", show_default=False)] = "",
    cache: Annotated[str, typer.Option(help="Dataset of captions and real pictures. Default: the run's.", show_default=False)] = "",
    split: Annotated[str, typer.Option(help="train, test or all. Default: the protocol's, else test.", show_default=False)] = "",
    count: Annotated[
        int | None, typer.Option(min=1, help="Pictures to draw. Default: the protocol's, else one a caption, at most 30,000.")
    ] = None,
    scale: Annotated[int | None, typer.Option(help="Side of the pictures. Default: the largest.", show_default=False)] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of captions, noise and subsets.")] = 0,
    splits: Annotated[int | None, typer.Option(min=1, help="Parts of the inception score. Default: 10.", show_default=False)] = None,
    joint: Annotated[
        str, typer.Option(help="vs-similarity or text encoder that judges captions: a run or a file.", show_default=False)
    ] = "",
    text_encoder: TextEncoderFile = None,
    compat: Annotated[str | None, typer.Option(help="ms-ssim: hdgan pairs pictures as its released script does.")] = None,
    weights_folder: Annotated[Path | None, typer.Option(help="Where weights of extractors lie. Default: extractors/.")] = None,
    save_statistics: Annotated[Path | None, typer.Option(help="Also write the statistics of the subject to this .npz file.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Pictures at a time. Default: as the device likes it.")] = None,
    device: Device = "auto",
) -> None:
    """Measure a run, weights or folders of pictures. Every figure says how it was made."""
    from stackgan_cli.cli.evaluation import Settings, evaluate_all

    session = session_of(ctx)
    if weights and subject:
        raise UsageError("give a subject or --weights, not both")
    if save_statistics is not None and save_statistics.suffix != ".npz":
        raise UsageError("statistics are kept in .npz files", where="--save-statistics")
    if compat not in (None, "hdgan"):
        raise UsageError(f"unknown way {compat!r}", where="--compat", hint="hdgan, or leave it out")
    settings = Settings(
        metrics=metric or ([] if save_statistics else ["fid"]),
        protocol=protocol,
        extractor=extractor,
        cache=cache,
        split=split,
        count=count,
        side=scale,
        seed=seed,
        splits=splits,
        joint=joint,
        text_encoder=text_encoder,
        compat=compat,
        weights_folder=weights_folder,
        save_statistics=save_statistics,
        batch_size=batch_size,
        device=device,
    )
    facts, text = evaluate_all(session, subject, reference, weights, settings)
    session.result(facts, text)
