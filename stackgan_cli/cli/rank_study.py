"""`stackgan rank-study`: a page that asks people which model's images are best, and the evaluation of their answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stackgan_cli.cli.common import Device, examples, session_of
from stackgan_cli.cli.ui import table

app = typer.Typer(
    help="Ask people which model's images are best, or which image is real.", no_args_is_help=False, invoke_without_command=True
)


@app.callback(
    epilog=examples("stackgan rank-study make demo-stage1-demo demo-stage2-demo", "stackgan rank-study score answers-*.csv --key key.json")
)
def rank_study(ctx: typer.Context) -> None:
    """Ask people which model's images are best, or which image is real."""
    if ctx.invoked_subcommand is None:
        session_of(ctx).result({}, ctx.get_help())


@app.command(
    epilog=examples(
        "stackgan rank-study make demo-stage1-demo demo-stage2-demo",
        "stackgan rank-study make runs/a/weights/latest.safetensors runs/b/weights/latest.safetensors --questions 100 --images 3",
        "stackgan rank-study make demo-v2-demo --real --questions 40",
    )
)
def make(
    ctx: typer.Context,
    models: Annotated[list[str], typer.Argument(metavar="RUN_OR_WEIGHTS...", help="Runs or weights files to compare.")],
    real: Annotated[bool, typer.Option("--real", help="Show one generated and one real image per question and ask which is real.")] = False,
    captions_per_class: Annotated[int, typer.Option(min=1, help="Maximum number of captions per class (50 in the papers).")] = 50,
    questions: Annotated[int, typer.Option(min=1, help="Maximum number of questions.")] = 50,
    images: Annotated[
        int | None, typer.Option(min=1, max=20, help="Number of images per caption and model. Default: 5.", show_default=False)
    ] = None,
    cache: Annotated[str, typer.Option(help="Cache to take test captions from. Default: the first model's.", show_default=False)] = "",
    jpeg: Annotated[bool, typer.Option("--jpeg", help="Store JPEG images: a third of the size, slightly lossy.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed for captions, order and noise.")] = 0,
    output: Annotated[Path | None, typer.Option(help="Output folder. Default: a new folder in rank-studies/.", show_default=False)] = None,
    device: Device = "auto",
) -> None:
    """Write a self-contained page with the questions, and a key that says which model made which image.

    Send the page to the participants and keep key.json to yourself. Images are lossless PNG unless --jpeg is given.
    """
    from stackgan_cli.workflows.rank_study import make_rank_study

    session = session_of(ctx)
    facts = make_rank_study(
        models,
        real=real,
        captions_per_class=captions_per_class,
        questions=questions,
        images=images,
        cache=cache,
        jpeg=jpeg,
        seed=seed,
        output=output,
        workspace=session.workspace,
        device=device,
        reporter=session,
    )
    lines = (
        f"{facts['page']}: {facts['questions']} questions, {facts['bytes'] / 1e6:.1f} MB",
        f"{facts['key']}: which model made which image",
    )
    session.result(facts, "\n".join(lines))


@app.command(epilog=examples("stackgan rank-study score answers-*.csv --key rank-studies/001/key.json"))
def score(
    ctx: typer.Context,
    answers: Annotated[list[Path], typer.Argument(metavar="CSV...", help="Answers saved by the page.")],
    key: Annotated[Path, typer.Option(help="The key.json written with the page.")],
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
) -> None:
    """Report mean ranks with 95% intervals and agreement, or how often generated images were taken for real."""
    from stackgan_cli.workflows.rank_study import score_rank_study

    found = score_rank_study(answers, key, seed=seed)
    kind, of = found.pop("kind"), found.pop("of_questions")
    head = f"{found['answers']} answers by {found['respondents']} to {found['questions']} of {of} questions"
    if kind == "rank":
        columns = ("MODEL", "MEAN RANK", "95 %", "RANKED FIRST")
        rows = [(m["model"], f"{m['mean_rank']:.2f}", f"{m['low']:.2f} to {m['high']:.2f}", f"{m['best']:.0%}") for m in found["models"]]
        last = f"Kendall's W {found['kendall_w']:.3f}; Friedman chi2 {found['friedman_chi2']:.2f}, p = {found['p']:.2g}"
    else:
        columns = ("MODEL", "TAKEN FOR REAL", "95 %", "ANSWERS")
        rows = [(m["model"], f"{m['rate']:.1%}", f"{m['low']:.1%} to {m['high']:.1%}", str(m["answers"])) for m in found["models"]]
        last = "chance level is 50%"
    session_of(ctx).result(found, f"{head}\n{table(rows, columns)}\n{last}")
