"""Whether the batches of a configuration can be trained on, checked before anything starts."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from stackgan_cli import registry
from stackgan_cli.config.schema import RunConfig
from stackgan_cli.errors import ConfigError
from stackgan_cli.objectives.base import Objective
from stackgan_cli.training.inputs import ResolvedInputs


def check_inputs(inputs: ResolvedInputs, ranks: int = 1) -> None:
    """`check_batches` for the classes of the images that are trained on."""
    check_batches(inputs.config, ranks, num_classes(inputs))


def num_classes(inputs: ResolvedInputs) -> int:
    """Number of classes among the images that are trained on."""
    rows = inputs.rows if inputs.trained_rows is None else inputs.trained_rows
    return len(np.unique(inputs.cache.class_ids[rows]))


def check_batches(config: RunConfig, ranks: int = 1, classes: int | None = None) -> None:
    """Raise ConfigError (exit 3) unless every part of a batch, on `ranks` processes, can be trained on.

    `classes` is the number of classes among the training images; None if it is not known.
    """
    train, objective = config.train, _objective(config)
    batch, parts = train.batch_size, ranks * train.accumulate
    if classes is not None and objective.needs.wrong != "none" and classes < 2:
        raise ConfigError(
            "mismatched pairs need images of at least two classes, but there is one",
            where="model.wrong_pairs",
            hint="use model.wrong_pairs=none, or data.split=all",
        )
    limited = ""
    if objective.needs.distinct_classes and classes is not None and classes < batch:
        batch, limited = classes, " (one per class)"
    least, reason = least_part(config, objective)
    size = batch // parts
    if batch % parts == 0 and size >= least:
        return
    if batch % parts:
        problem = f"a batch of {batch} images{limited} cannot be divided into {parts} equal parts"
    else:
        problem = f"{reason} at least {least} images in a batch{' or part of one' if parts > 1 else ''}, not {size}{limited}"
    if parts > 1:
        problem += f" (processes: {ranks}, train.accumulate={train.accumulate})"
    hint = "use fewer parts, or a dataset with more classes" if limited else f"use train.batch_size={max(size, least) * parts}"
    raise ConfigError(problem, where="train.batch_size", hint=hint)


def least_part(config: RunConfig, objective: Objective[Any] | None = None) -> tuple[int, str]:
    """The least number of images in a part of a batch, and what needs them, with its verb."""
    objective = objective or _objective(config)
    for module in objective.modules.values():
        module.train()
        if any(isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d) and child.training for child in module.modules()):
            return 2, "batch statistics need"
    if objective.needs.distinct_classes:
        return 2, "ranking captions needs"
    if objective.needs.wrong == "batch" or config.model.model_dump().get("wrong_pairs") == "shift":
        return 2, "mismatched pairs within a batch need"
    return 1, ""


def memory_hint(config: RunConfig, ranks: int, *, on_gpu: bool) -> str:
    """What can be done about a lack of memory: only values with which this configuration can be trained."""
    train, least = config.train, least_part(config)[0]
    parts = ranks * train.accumulate
    splits = range(train.accumulate + 1, train.batch_size // (ranks * least) + 1)
    found = [f"train.accumulate={split}" for split in splits if train.batch_size % (ranks * split) == 0][:1]
    smaller = train.batch_size // 2 // parts * parts
    if smaller >= least * parts:
        found.append(f"train.batch_size={smaller}")
    ways = [f"start a new run (--name) with {' or '.join(found)}"] if found else []
    if on_gpu and parts == 1 and train.cuda_graphs != "off":
        ways.append("continue this one with train.cuda_graphs=off")
    return ", or ".join(ways) or "no smaller batch is possible: use a device with more memory, or a smaller model"


def _objective(config: RunConfig) -> Objective[Any]:
    """The objective of the first stage, with networks that take no memory."""
    spec = registry.find(config.model.arch)
    with torch.device("meta"):
        return spec.objective(config.model, spec.build(config.model)).stages[0].objective
