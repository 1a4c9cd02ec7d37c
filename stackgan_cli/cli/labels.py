"""Class labels as they are typed and shown: numbers and names, ranges, several with commas."""

from __future__ import annotations

import re
from collections.abc import Sequence

from stackgan_cli.errors import UsageError, did_you_mean

SHOWN = 12
"""Names that an error lists."""


def label_name(label: int | None, names: Sequence[str] | None) -> str:
    """What a label is called: its name, or `class 3` where it has none; nothing for no label."""
    if label is None:
        return ""
    return names[label] if names is not None and label < len(names) else f"class {label}"


def label_word(label: int, names: Sequence[str] | None) -> str:
    """A label as a command says it: its number, but where that is the name of another class its name."""
    return label_name(label, names) if str(label) in (names or ()) else str(label)


def parse_labels(words: Sequence[str], num_classes: int, names: Sequence[str] | None) -> list[int]:
    """The labels of words like `3`, `0-9`, `0,3,7`, `airplane,ship`, in their order; a name goes before a number.

    Raises UsageError, with a suggestion, for a class that there is not.
    """
    known = {name: number for number, name in enumerate(names or ())}
    parts = [part for word in words for part in ([word] if word in known else word.split(","))]
    return [label for part in parts for label in _labels(part.strip(), num_classes, known)]


def _labels(text: str, num_classes: int, known: dict[str, int]) -> list[int]:
    if text in known:
        return [known[text]]
    listed = ", ".join([*list(known)[:SHOWN], *(["..."] if len(known) > SHOWN else [])])
    hint = f"0 to {num_classes - 1}" + (f", or a name: {listed}" if known else "")
    match = re.fullmatch(r"(-?\d{1,9})(?:-(\d{1,9}))?", text)
    if match is None:
        raise UsageError(f"there is no class {text!r}{did_you_mean(text, known)}", where="--labels", hint=hint)
    first, last = int(match[1]), int(match[2] or match[1])
    for number in (first, last):
        if not 0 <= number < num_classes:
            raise UsageError(f"there is no class {number}", where="--labels", hint=hint)
    if last < first:
        raise UsageError(f"{text!r} is no range of classes", where="--labels", hint=f"the smaller number first: {last}-{first}")
    return list(range(first, last + 1))
