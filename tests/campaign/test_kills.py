"""A subcommand that is killed at any moment and repeated ends as if it had not been killed; so do two that run at the same time."""

from __future__ import annotations

import itertools
import os
import random
import signal
import time
from typing import Any

import pytest
from conftest import KILLS, PAIRS, SEED, Place, contents, end, row, run, start

pytestmark = pytest.mark.slow
VERBS = ("prepare", "encode-text", "train", "sample", "evaluate", "report")
REFUSED = (2, 3, 4, 5, 6)


def undisturbed(place: Place, *verbs: str) -> tuple[dict[str, Any], float]:
    """The files after the verbs have run one after the other, and how long they took."""
    place.reset()
    started = time.monotonic()
    for verb in verbs:
        assert run(place.verbs()[verb], place.log) == 0, place.log.read_text()
    return contents(place.ws), time.monotonic() - started


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


@pytest.mark.parametrize("verb", VERBS)
def test_killed_at_random_moments(verb: str, place: Place) -> None:
    expected, _ = undisturbed(place, verb)
    again, duration = undisturbed(place, verb)  # the first time, the process also imports and compiles
    assert not differing(expected, again), "not repeatable even undisturbed"
    moments = random.Random(f"{SEED} {verb}")
    outcomes, problems = row(f"kill `{verb}`, then repeat it"), []
    for _ in range(max(1, KILLS // len(VERBS))):
        place.reset()
        moment = moments.uniform(0, duration)
        child = start(place.verbs()[verb], place.log)
        time.sleep(moment)
        os.kill(child, signal.SIGKILL)
        killed = end(child) == -signal.SIGKILL
        code = run(place.verbs()[verb], place.log)
        wrong = differing(expected, contents(place.ws))
        if code or wrong or not place.untouched():
            outcomes["different"] += 1
            problems.append((moment, code, wrong, place.log.read_text()[-500:]))
        else:
            outcomes["same as undisturbed" if killed else "had ended before the kill"] += 1
    assert not problems


def pairs() -> list[tuple[str, str]]:
    """`PAIRS` of the 21 pairs of subcommands, in an order that the seed decides."""
    every = list(itertools.combinations_with_replacement(VERBS, 2))
    random.Random(SEED).shuffle(every)
    return every[:PAIRS]


@pytest.mark.parametrize(("one", "other"), pairs())
def test_two_at_the_same_time(one: str, other: str, place: Place) -> None:
    expected, _ = undisturbed(place, *sorted({one, other}))
    place.reset()
    children = [start(place.verbs()[verb], place.log) for verb in (one, other)]
    codes = [end(child) for child in children]
    text = place.log.read_text()
    outcomes = row(f"`{one}` and `{other}` at the same time")
    outcomes[" and ".join("done" if code == 0 else f"exit {code}" for code in codes)] += 1
    assert all(code == 0 or code in REFUSED for code in codes) and "Traceback" not in text, (codes, text)
    refused = {verb for verb, code in zip((one, other), codes, strict=True) if code}
    for verb in sorted(refused | ({one, other} & {"report"})):  # a report shows what is there when it is made
        assert run(place.verbs()[verb], place.log) == 0, place.log.read_text()
    assert not differing(expected, contents(place.ws)) and place.untouched()
