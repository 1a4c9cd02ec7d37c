"""Captions for a demo bird: sentences like those of people who describe birds, each naming some of its true attributes.

Nearly every caption names the color of the body, and more than seven in ten those of wings and beak; others are named less often.
Every color comes right before the part it belongs to, after "is" or "are", or in "<color> on its <part>".
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

_VIVID = ("red", "blue", "yellow", "green", "orange")
_SIZES = {"small": ("small", "little", "tiny"), "medium": ("medium sized",), "large": ("large", "big")}
_MANNERS = {
    "perched": (" and it is perched", ", sitting still"),
    "flying": (" and it is flying", ", in flight"),
    "swimming": (" and it is swimming", ", floating on water"),
}


def captions(attributes: Mapping[str, str], rng: np.random.Generator, count: int = 10) -> tuple[str, ...]:
    """`count` distinct captions. `attributes` holds the species' attributes and the image's pose."""
    found: dict[str, None] = {}
    while len(found) < count:
        found.setdefault(_Writer(attributes, rng.random(64).tolist()).sentence())
    return tuple(found)


class _Writer:
    """Writes one sentence; its choices come from a list of uniform random numbers."""

    def __init__(self, bird: Mapping[str, str], numbers: list[float]) -> None:
        self.bird = bird
        self._numbers = iter(numbers)

    def chance(self, share: float) -> bool:
        return next(self._numbers) < share

    def pick(self, *options: str) -> str:
        return options[int(next(self._numbers) * len(options))]

    def colour(self, part: str) -> str:
        """The color of the part, occasionally a "bright" one."""
        name = self.bird[part]
        return f"bright {name}" if self.chance(0.12) and name in _VIVID else name

    def sentence(self) -> str:
        grey = "gray" if self.chance(0.3) else "grey"
        phrases = self._phrases()
        text = self._frame(phrases) if phrases else self._bare()
        if self.chance(0.05):
            text += self.pick(*_MANNERS[self.bird["pose"]])
        if self.chance(0.4):
            text += "."
        return text.replace("a orange", "an orange").replace("grey", grey)

    def _phrases(self) -> list[str]:
        """The parts of the bird other than its body, as noun phrases."""
        bird = self.bird
        wing, beak = self.chance(0.78), self.chance(0.80)
        crown, belly, tail = (self.chance(0.06 if bird[part] == bird["body"] else 0.18) for part in ("crown", "belly", "tail"))
        found: list[str] = []
        if wing and crown and bird["wing"] == bird["crown"] and self.chance(0.7):
            found.append(self.pick(f"{bird['wing']} on its crown and wings", f"a {bird['wing']} crown and wings"))
            crown = False
        elif wing and tail and bird["wing"] == bird["tail"] and self.chance(0.7):
            found.append(self.pick(f"{bird['wing']} wings and tail", f"{bird['wing']} on its wings and tail"))
            tail = False
        elif wing:
            found.append(f"{self.colour('wing')} wings")
        if beak:
            found.append(self._beak())
        elif self.chance(0.25):
            found.append(f"a {bird['beak_length']} {self.pick('', bird['beak_shape'] + ' ')}{self.pick('beak', 'bill')}")
        for part, named in (("crown", crown), ("belly", belly), ("tail", tail)):
            if named:
                found.append(f"a {self.colour(part)} {part}")
        if bird["eye_ring"] != "none" and self.chance(0.2):
            found.append(f"a {bird['eye_ring']} {self.pick('eye ring', 'eyering')}")
        if len(found) > 1 and self.chance(0.35):
            turn = 1 + int(next(self._numbers) * (len(found) - 1))
            found = found[turn:] + found[:turn]
        return found[:4]

    def _beak(self) -> str:
        length, shape = f"{self.bird['beak_length']} ", f"{self.bird['beak_shape']} "
        form = self.pick("", "", length, length, shape, length + shape)
        return f"a {form}{self.colour('beak') if not form else self.bird['beak']} {self.pick('beak', 'beak', 'bill')}"

    def _size(self, share: float) -> str:
        """The size of the bird and a space, or an empty string."""
        named = self.chance(share)
        return self.pick(*_SIZES[self.bird["size"]]) + " " if named else ""

    def _frame(self, phrases: list[str]) -> str:
        """A sentence about the body that includes the noun phrases."""
        listed, many = _join(phrases), len(phrases) > 1
        size, body = self._size(0.25), self.colour("body")
        this = f"{self.pick('this', 'this', 'the')} {size}bird"
        kind = next(self._numbers)
        if kind < 0.32:
            return f"a {size}{body} bird {self.pick('with', 'with', 'with', 'that has')} {listed}"
        if kind < 0.54:
            return f"{this} is {self.pick('', '', 'mostly ')}{body} {self.pick('with', 'and has')} {listed}"
        if kind < 0.70:
            return f"{this} has a {body} body{self.pick(' with', ',' if many else ' and')} {listed}"
        if kind < 0.78:
            return f"this {size}{body} bird has {listed}"
        if kind < 0.84:
            return f"a {size}bird with a {body} body{',' if many else ' and'} {listed}"
        if kind < 0.88:
            return f"with {listed}, {this} is {body}"
        if kind < 0.92:
            return f"{this} has {listed}, and its body is {body}"
        if kind < 0.97:
            wing, beak = self.bird["wing"], self.bird["beak"]
            rest = self.pick(f"its wings are {wing}", f"its beak is {beak}", f"its wings are {wing} and its beak is {beak}")
            return f"{this} is {body}, {rest}"
        return f"{this} has {listed}"

    def _bare(self) -> str:
        """A sentence about the body alone."""
        size, body = self._size(0.5), self.colour("body")
        return self.pick(
            f"a {size}{body} bird",
            f"this {size}bird is {body}",
            f"this {size}bird has a {body} body",
            f"a {size}bird that is mostly {body}",
        )


def _join(phrases: list[str]) -> str:
    if len(phrases) < 3:
        return " and ".join(phrases)
    return ", ".join(phrases[:-1]) + " and " + phrases[-1]
