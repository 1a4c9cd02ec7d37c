"""Whether a classifier recognizes the labels of images, or the labels they were generated for: pure functions, no networks.

An accuracy depends on the classifier, which must not be the network that the generator was trained with.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from stackgan_cli.errors import MismatchError


def match_outputs(
    labels: np.ndarray, names: Sequence[str] | None, outputs: Sequence[str] | None, num_outputs: int, *, where: object = ""
) -> np.ndarray:
    """The classifier output, (N,) int64, that is right for each of `labels` (N,).

    Labels and outputs are matched by name if the names of both are known, otherwise by number among `num_outputs`.
    Raises MismatchError when the classifier has no output for a label, or when it is not known which output it is.
    """
    present = np.unique(labels)
    if names is None or outputs is None:
        count = int(present[-1]) + 1 if names is None else len(names)
        if count > num_outputs or (names is not None and count != num_outputs):
            raise MismatchError(
                f"this classifier has {num_outputs:,} classes, and it is not known which of them correspond to the {count:,} labels",
                where=where,
                hint="give a classifier of these labels with --extractor classifier:RUN",
            )
        return labels
    numbers = {name: number for number, name in enumerate(outputs)}
    unknown = [names[label] for label in present if names[label] not in numbers]
    if unknown:
        raise MismatchError(
            f"this classifier does not know {unknown[0]!r}{f' and {len(unknown) - 1:,} more labels' if unknown[1:] else ''}",
            where=where,
            hint="its classes are " + ", ".join([*outputs[:6], *(["..."] if len(outputs) > 6 else [])]) + "; give another with --extractor",
        )
    table = np.full(int(present[-1]) + 1, -1, np.int64)
    table[present] = [numbers[names[label]] for label in present]
    return table[labels]


def agreement(logits: np.ndarray, right: np.ndarray) -> tuple[float, dict[int, float]]:
    """The share of rows of `logits` (N, K) whose largest entry is at `right` (N,): over all rows, and by right output."""
    found = logits.argmax(1) == right
    return float(found.mean()), {int(output): float(found[right == output].mean()) for output in np.unique(right)}


def accuracy_facts(by_output: dict[int, float], outputs: Sequence[str] | None) -> dict[str, Any]:
    """The accuracy for each label, by name, and the lowest of them."""
    named = {outputs[output] if outputs is not None else str(output): share for output, share in by_output.items()}
    return {"lowest": min(named.values()), "by_label": named}
