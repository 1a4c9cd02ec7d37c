"""From resolved inputs to a trainer (networks, objective, feed), and the weights file of a run.

The inputs that a run was started from (cache, encoder, Stage-I) are recorded in its `inputs.json`; continuing with others is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from stackgan_cli import registry
from stackgan_cli.data.feed import Conditions, Feed
from stackgan_cli.errors import MismatchError
from stackgan_cli.files import write_json
from stackgan_cli.runs import Run
from stackgan_cli.runtime import World, key_seed
from stackgan_cli.text.alphabet import encode_batch
from stackgan_cli.training.inputs import ResolvedInputs
from stackgan_cli.training.loop import Trainer
from stackgan_cli.training.plan import plan


@dataclass
class Job:
    """A run that is ready to train."""

    run: Run
    inputs: ResolvedInputs
    trainer: Trainer

    def save_weights(self, trainer: Trainer) -> None:
        """Write a complete weights file: networks (the average of the generator if one is kept) and the text encoder if it is known."""
        inputs, tensors = self.inputs, dict[str, Tensor]()
        for name in trainer.objective.modules:
            module = trainer.sampling_module(name)
            tensors |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
        identity = None
        if inputs.vectors is not None:
            identity = {"hash": inputs.vectors.encoder_hash, "identity": inputs.vectors.encoder}
            if inputs.text_encoder is not None:
                identity = inputs.text_encoder.reference
                tensors |= inputs.text_encoder.tensors
        classes = None if inputs.labels is None else inputs.labels.names
        if inputs.requirements.classes == len(inputs.cache.class_names):
            classes = tuple(inputs.cache.class_names)
        keep = trainer.config.keep_weights
        self.run.save_weights(tensors, step=trainer.step, text_encoder=identity, classes=classes, keep=keep)


def open_job(inputs: ResolvedInputs, run: Run, *, device: torch.device, world: World | None = None) -> Job:
    """Create everything that a run needs before its first step. `inputs` must be complete (training/plan.py).

    Raises MismatchError if one is missing, or if they differ from those that the run was started with.
    """
    config, cache, needs_of = inputs.config, inputs.cache, inputs.requirements
    for item in plan(inputs):
        raise MismatchError(f"{item.what} is missing", where=config.name, hint=item.command)
    spec = registry.find(config.model.arch)
    torch.manual_seed(key_seed(config.train.seed, "init"))
    networks = spec.build(config.model)
    started_from: dict[str, Any] = {"cache": cache.identity}
    if not run.state_path.is_file():
        started_from |= spec.initialize(networks, config.model, inputs)
    objective = spec.objective(config.model, networks)
    if inputs.vectors is not None:
        started_from["text_encoder"] = inputs.vectors.encoder_hash
    _check_same(run, started_from)
    feed = Feed(
        cache,
        objective.needs,
        config.data,
        Conditions(
            vectors=None if inputs.vectors is None else inputs.vectors.vectors,
            codes=None if needs_of.characters is None else encode_batch(cache.captions, **needs_of.characters),
            labels=None if inputs.labels is None else inputs.labels.ids,
        ),
        batch_size=config.train.batch_size,
        batches_per_step=objective.batches_per_step,
        rows=inputs.trained_rows,
        device=device,
        seed=config.train.seed,
    )
    return Job(run, inputs, Trainer(objective, feed, config.train, device=device, world=world))


def _check_same(run: Run, inputs: dict[str, Any]) -> None:
    if not run.inputs_path.is_file():
        write_json(run.inputs_path, inputs)
        return
    before = run.made_from()
    changed = [key for key, value in inputs.items() if key in before and before[key] != value]
    if changed:
        raise MismatchError(
            f"this run was started with another {' and another '.join(key.replace('_', ' ') for key in changed)}",
            where=run.folder,
            hint="give the new run a different name with --name",
        )
