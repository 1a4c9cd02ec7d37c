"""The Typer application: root options and the table of subcommands. Imports nothing heavy, so that `--help` stays fast."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from stackgan_cli import __version__
from stackgan_cli.cli import (
    doctor,
    encode_text,
    evaluate,
    export_weights,
    import_weights,
    info,
    interpolate,
    neighbours,
    prepare,
    presets,
    rank_study,
    report,
    sample,
    train,
    tsne,
)
from stackgan_cli.cli.common import examples, from_home, session_of

app = typer.Typer(
    name="stackgan",
    help="Train, sample and measure stacked text-to-image GANs.",
    epilog=examples(
        "stackgan prepare demo",
        "stackgan train --preset demo-stage1",
        'stackgan sample "a red bird with black wings"',
    ),
    rich_markup_mode="rich" if sys.stdout is not None and sys.stdout.isatty() else None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"stackgan {__version__}\n")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    workspace: Annotated[
        Path | None, typer.Option(help="Folder of caches and runs. Default: $STACKGAN_HOME, else the current folder.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print exactly one JSON document on stdout.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors only.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback with every error.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Train, sample and measure stacked text-to-image GANs.

    The options below may come before or after the subcommand.
    """
    session = session_of(ctx)
    session.json, session.quiet, session.debug, session.root = json, quiet, debug, workspace
    session.command = ctx.invoked_subcommand or ""
    if ctx.invoked_subcommand is None:
        sys.stdout.write(ctx.get_help() + "\n")
        raise typer.Exit


app.command("prepare", epilog=prepare.EPILOG)(prepare.prepare)
app.command("encode-text", epilog=encode_text.EPILOG)(encode_text.encode_text)
app.command("train", epilog=train.EPILOG)(train.train)
app.command("sample", epilog=sample.EPILOG)(sample.sample)
app.command("interpolate", epilog=interpolate.EPILOG)(interpolate.interpolate)
app.command("tsne", epilog=tsne.EPILOG)(tsne.tsne)
app.command("neighbours", epilog=neighbours.EPILOG)(neighbours.neighbours)
app.command("evaluate", epilog=evaluate.EPILOG)(evaluate.evaluate)
app.command("info", epilog=info.EPILOG)(info.info)
app.add_typer(presets.app, name="presets")
app.add_typer(rank_study.app, name="rank-study")
app.command("report", epilog=report.EPILOG)(report.report)
app.command("import", epilog=import_weights.EPILOG)(import_weights.import_weights)
app.command("export", epilog=export_weights.EPILOG)(export_weights.export)
app.command("doctor", epilog=doctor.EPILOG)(doctor.doctor)

for _commands in (app, presets.app, rank_study.app):
    for _command in _commands.registered_commands:
        assert _command.callback is not None
        _command.callback = from_home(_command.callback)
