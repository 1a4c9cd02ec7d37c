"""`stackgan presets`: list, show, copy and check configurations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stackgan_cli.cli.common import examples, session_of
from stackgan_cli.cli.ui import table

app = typer.Typer(help="List, show, copy and check presets.", no_args_is_help=False, invoke_without_command=True)
Overrides = Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Configuration keys to change.", show_default=False)]


@app.callback(
    epilog=examples("stackgan presets ls", "stackgan presets show v1-stage1 --resolved", "stackgan presets cp demo-stage1 mine.yaml")
)
def presets(ctx: typer.Context) -> None:
    """List, show, copy and check presets."""
    if ctx.invoked_subcommand is None:
        ls(ctx)


@app.command(epilog=examples("stackgan presets ls", "stackgan presets ls table4"))
def ls(
    ctx: typer.Context, pattern: Annotated[str, typer.Argument(help="Text that the names must contain.", show_default=False)] = ""
) -> None:
    """List the presets."""
    from stackgan_cli.config.presets import load_config, preset_names

    configs = [load_config(name) for name in preset_names() if pattern in name]
    found = [{"name": c.name, "arch": c.model.arch, "cache": c.data.cache, "summary": c.summary, "paper": c.paper} for c in configs]
    rows = [(entry["name"], entry["cache"], entry["summary"]) for entry in found]
    session_of(ctx).result({"presets": found}, table(rows, ("PRESET", "CACHE", "SUMMARY")))


@app.command(epilog=examples("stackgan presets show v1-stage1", "stackgan presets show demo-stage1 --resolved train.batch_size=16"))
def show(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Preset or YAML file.")],
    overrides: Overrides = None,
    resolved: Annotated[bool, typer.Option("--resolved", help="Show every key, including defaults and overrides.")] = False,
) -> None:
    """Print a preset as written, or with every key."""
    from stackgan_cli.config.presets import dump, find_preset, load_config
    from stackgan_cli.config.yaml_text import read_text

    config = load_config(name, overrides or [])
    text = dump(config) if resolved or overrides else read_text(find_preset(name))
    session_of(ctx).result(config.model_dump(mode="json"), text.rstrip("\n"))


@app.command(epilog=examples("stackgan presets cp demo-stage1 mine.yaml", "stackgan train --preset mine.yaml"))
def cp(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(help="Preset or YAML file.")],
    target: Annotated[Path, typer.Argument(help="File to write.")],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Copy a preset to a new file."""
    from stackgan_cli.config.presets import find_preset
    from stackgan_cli.config.yaml_text import read_text
    from stackgan_cli.errors import UsageError
    from stackgan_cli.files import write_text

    source = find_preset(name)
    target = target / source.name if target.is_dir() else target
    if target.exists() and not force:
        raise UsageError("this file exists already", where=target, hint="--force replaces it")
    write_text(target, read_text(source))
    session_of(ctx).result({"path": str(target)}, f"{target}")


@app.command(epilog=examples("stackgan presets validate mine.yaml", "stackgan presets validate demo-stage1 train.optim.lr=1e-3"))
def validate(ctx: typer.Context, name: Annotated[str, typer.Argument(help="Preset or YAML file.")], overrides: Overrides = None) -> None:
    """Check a configuration and report everything that is wrong with it."""
    from stackgan_cli.config.presets import load_config

    config = load_config(name, overrides or [])
    session_of(ctx).result({"name": config.name, "valid": True}, f"{name}: valid ({config.model.arch})")
