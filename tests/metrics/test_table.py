"""The table of metrics: importable without torch, and a new metric is one entry that gets what it asks for and nothing else."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, replace

import numpy as np
import pytest
from picture_files import pictures
from test_evaluation import MeanColour, generated

from stackgan_cli.errors import DataError, UsageError
from stackgan_cli.metrics.evaluation import Evaluation, check
from stackgan_cli.metrics.metric import Inputs, Metric, Score
from stackgan_cli.metrics.protocols import find_protocol
from stackgan_cli.metrics.table import METRICS, find_metrics

ALWAYS = {"count", "class_ids", "seed", "splits", "compat"}
"""Inputs that every metric gets."""


def test_the_table_imports_nothing_heavy() -> None:
    script = "import sys; import stackgan_cli.metrics.table; sys.exit(repr(sorted({'torch', 'numpy', 'scipy'} & set(sys.modules))) != '[]')"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_names_are_unique_and_every_metric_explains_itself() -> None:
    assert len({metric.name for metric in METRICS}) == len({metric.title for metric in METRICS}) == len(METRICS)
    assert find_metrics([",".join(metric.name for metric in METRICS)]) == list(METRICS)
    for metric in METRICS:
        assert 0 < len(metric.help) <= 60, "one line of `--help`"


@pytest.mark.parametrize(
    ("needs", "given"),
    [
        ({"moments": True}, {"moments"}),
        ({"features": True}, {"features"}),
        ({"logits": True}, {"logits"}),
        ({"images": True}, {"images", "image_indices"}),
        ({"moments": True, "reference": "required"}, {"moments", "real"}),
        ({"logits": True, "labels": True}, {"logits", "right", "outputs"}),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_a_new_metric_is_given_what_it_needs(needs: dict[str, object], given: set[str]) -> None:
    seen: list[Inputs] = []

    def function(inputs: Inputs) -> Score:
        seen.append(inputs)
        return Score(0.25, facts={"fact": 1}, more={"other": 2.0}, warning="is only a test")

    metric = Metric(name="new", title="New", help="a new metric", function=function, **needs)  # type: ignore[arg-type]
    images, classes = pictures(6), np.arange(6) % 3
    warnings: list[str] = []
    evaluation = Evaluation(
        generated(images, class_ids=classes), generated(images), find_protocol("default"), MeanColour(), right=classes, warn=warnings.append
    )
    (result,) = evaluation.run([metric])
    (inputs,) = seen
    assert {field.name for field in fields(inputs) if getattr(inputs, field.name) is not None} | {"compat"} == ALWAYS | given
    assert (result.value, result.protocol["fact"], result.more, warnings) == (0.25, 1, {"other": 2.0}, ["New is only a test"])
    if inputs.features is not None:
        assert np.allclose(inputs.features[:, :3], images.mean((1, 2)) / 255, atol=1e-5)


def test_the_minimum_may_depend_on_the_protocol() -> None:
    images = generated(pictures(5))
    protocol = find_protocol("default")
    (metric,) = find_metrics(["is"])
    check([metric], images, None, replace(protocol, splits=5))
    with pytest.raises(DataError, match="is needs at least 6 images, but there are 5"):
        check([metric], images, None, replace(protocol, splits=6))
    with pytest.raises(UsageError, match="needs a label for every image"):
        check(find_metrics(["accuracy"]), images, None, protocol)
