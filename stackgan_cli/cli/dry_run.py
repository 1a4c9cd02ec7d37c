"""`stackgan train --dry-run`: the resolved configuration, what a step costs, and what is missing. Nothing is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stackgan_cli.cli.ui import Session, table
from stackgan_cli.errors import UserError

if TYPE_CHECKING:
    from stackgan_cli.config.schema import RunConfig


def dry_run(session: Session, config: RunConfig, name: str) -> None:
    """Report on `config` as the run `name`. A cache that is not there is a note, not an error."""
    from stackgan_cli.config.presets import dump
    from stackgan_cli.data.cache import Cache
    from stackgan_cli.training.cost import estimate
    from stackgan_cli.training.inputs import resolve
    from stackgan_cli.training.loop import total_steps
    from stackgan_cli.training.plan import plan

    steps, missing = config.train.steps, []
    try:
        cache = Cache.open(session.workspace.cache_path(config.data.cache))
        config = resolve(config, session.workspace, fetch=False)
        missing = plan(config, session.workspace)
        steps = total_steps(config.train, len(cache.rows(config.data.split)))
    except UserError as error:
        session.warn(f"{error}; {error.hint}" if error.hint else str(error))
    cost = estimate(config)
    rows = [
        ("run", str(session.workspace.runs / name)),
        *((f"parameters of {network}", f"{count:,}") for network, count in cost.parameters.items()),
        ("FLOPs a step", f"{cost.flops:.3e}"),
        ("memory, about", f"{cost.memory / 2**30:.2f} GiB"),
        ("steps", f"{steps:,}" if steps else f"{config.train.epochs:g} epochs"),
        *(("needs first", f"{item.what}: {item.cost}  ({item.command})") for item in missing),
    ]
    needs = [{"kind": item.kind, "what": item.what, "cost": item.cost, "command": item.command} for item in missing]
    data = {"name": name, "config": config.model_dump(mode="json"), **cost.as_dict(), "steps": steps, "missing": needs}
    session.result(data, f"{dump(config)}\n{table(rows)}")
