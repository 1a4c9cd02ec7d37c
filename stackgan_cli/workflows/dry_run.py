"""`train --dry-run`: the resolved configuration, what a step costs, and what is missing. Nothing is made."""

from __future__ import annotations

from dataclasses import dataclass

from stackgan_cli.config.schema import RunConfig
from stackgan_cli.errors import UserError
from stackgan_cli.training.batches import check_batches, num_classes
from stackgan_cli.training.cost import Estimate, estimate
from stackgan_cli.training.inputs import ResolvedInputs, free_run_name, run_name
from stackgan_cli.training.loop import total_steps
from stackgan_cli.training.plan import Prerequisite, plan
from stackgan_cli.workflows.reporter import SILENT, Reporter
from stackgan_cli.workspace import Workspace, checked_name


@dataclass(frozen=True)
class DryRun:
    """What a training would take. `steps` is None where it depends on a cache that does not exist."""

    name: str
    config: RunConfig
    cost: Estimate
    steps: int | None
    missing: list[Prerequisite]


def dry_run(config: RunConfig, workspace: Workspace, reporter: Reporter = SILENT, *, name: str = "") -> DryRun:
    """The cost of training `config` into the run `name`. A cache that does not exist is a note, not an error.

    Raises ConfigError if its batches cannot be trained on.
    """
    named = checked_name(name or run_name(config.name, config.data.cache), "name of a run")
    steps: int | None = config.train.steps
    classes: int | None = None
    missing: list[Prerequisite] = []
    try:
        inputs = ResolvedInputs(config, workspace, fetch=False)
        config = inputs.config
        classes = num_classes(inputs)
        steps = total_steps(config.train, len(inputs.rows))
        missing = plan(inputs)
        named = name or free_run_name(named, inputs.cache, workspace)
    except UserError as error:
        reporter.warn(f"{error}; {error.hint}" if error.hint else str(error))
    check_batches(config, classes=classes)
    return DryRun(named, config, estimate(config), steps, missing)
