"""Captions for a demo bird: ten sentences in the manner of people who describe birds, each naming some of its attributes truthfully."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

_VIVID = ("red", "blue", "yellow", "green", "orange")


def captions(attributes: Mapping[str, str], rng: np.random.Generator, count: int = 10) -> tuple[str, ...]:
    """`count` captions that differ from one another. `attributes` holds the species' attributes and the image's pose."""
    found: dict[str, None] = {}
    while len(found) < count:
        found.setdefault(_caption(attributes, rng))
    return tuple(found)


def _caption(bird: Mapping[str, str], rng: np.random.Generator) -> str:
    grey = "gray" if rng.random() < 0.3 else "grey"

    def pick(*options: str) -> str:
        return options[int(rng.integers(len(options)))]

    def colour(part: str, plain: bool = False) -> str:
        name = bird[part]
        return f"bright {name}" if name in _VIVID and not plain and rng.random() < 0.15 else name

    wing, beak = rng.random() < 0.72, rng.random() < 0.57
    crown, belly, tail = rng.random() < 0.20, rng.random() < 0.20, rng.random() < 0.15
    ring = bird["eye_ring"] != "none" and rng.random() < 0.25
    size = f"{bird['size']} " if rng.random() < 0.25 else ""

    phrases: list[str] = []
    if wing and crown and bird["wing"] == bird["crown"] and rng.random() < 0.6:
        phrases.append(pick(f"{bird['wing']} on its crown and wings", f"a {bird['wing']} crown and wings"))
        crown = False
    elif wing and tail and bird["wing"] == bird["tail"] and rng.random() < 0.6:
        phrases.append(f"{colour('wing')} wings and tail")
        tail = False
    elif wing:
        phrases.append(f"{colour('wing')} wings")
    if beak:
        form = pick(
            "",
            "",
            f"{bird['beak_length']} ",
            f"{bird['beak_length']} ",
            f"{bird['beak_shape']} ",
            f"{bird['beak_length']} {bird['beak_shape']} ",
        )
        phrases.append(f"a {form}{colour('beak', plain=bool(form))} {pick('beak', 'beak', 'bill')}")
    elif rng.random() < 0.25:
        phrases.append(f"a {bird['beak_length']} {pick('', bird['beak_shape'] + ' ')}{pick('beak', 'bill')}")
    if crown:
        phrases.append(f"a {colour('crown')} crown")
    if belly:
        phrases.append(f"a {colour('belly')} belly")
    if tail:
        phrases.append(f"a {colour('tail')} tail")
    if ring:
        phrases.append(f"a {bird['eye_ring']} {pick('eye ring', 'eyering')}")
    if len(phrases) > 1 and rng.random() < 0.35:
        phrases = [phrases[place] for place in rng.permutation(len(phrases))]
    phrases = phrases[:4]

    listed = _join(phrases)
    named, body = rng.random() < 0.97, colour("body")
    subject = pick("this bird", "this bird", "this bird", "the bird", "this is a bird that")
    if size:
        subject = f"{pick('this', 'the')} {size}bird"
    if not named and listed:
        text = f"{subject.removesuffix(' that')} has {listed}" if "that" not in subject else f"this bird has {listed}"
    elif not listed:
        text = pick(f"a {size}{body} bird", f"{subject} is {body}", f"{subject} has a {body} body", f"{subject} is mostly {body}")
    else:
        text = pick(
            f"a {size}{body} bird with {listed}",
            f"a {size}{body} bird with {listed}",
            f"a {size}{body} bird with {listed}",
            f"a {size}{body} bird that has {listed}",
            f"{subject} is {body} with {listed}",
            f"{subject} is {body} and has {listed}",
            f"{subject} has a {body} body{',' if len(phrases) > 1 else ' and'} {listed}",
            f"{subject} has a {body} body with {listed}",
            f"this {size}{body} bird has {listed}",
            f"a {size}bird with a {body} body{',' if len(phrases) > 1 else ' and'} {listed}",
            f"with {listed}, this {size}bird is {pick('', 'mostly ')}{body}",
        )
    if rng.random() < 0.05:
        text += {
            "perched": pick(" and it is perched", ", sitting still"),
            "flying": pick(" and it is flying", ", in flight"),
            "swimming": pick(" and it is swimming", ", floating on water"),
        }[bird["pose"]]
    if rng.random() < 0.4:
        text += "."
    return text.replace("a orange", "an orange").replace("grey", grey)


def _join(phrases: list[str]) -> str:
    if len(phrases) < 3:
        return " and ".join(phrases)
    return ", ".join(phrases[:-1]) + " and " + phrases[-1]
