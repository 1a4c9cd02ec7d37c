"""Sums of losses, kept on the device between two lines of the log: reading them is the only device sync per line."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class Meters:
    """Running means of named scalars; a mean is not finite if any of its values was not."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add one value to each of the named means."""
        given = {name: value.detach().float() for name, value in values.items()}
        known = [name for name in given if name in self._sums]
        if known:
            torch._foreach_add_([self._sums[name] for name in known], [given[name] for name in known])
        for name in given:
            if name not in self._sums:
                self._sums[name] = given[name].clone()
            self._counts[name] = self._counts.get(name, 0) + 1

    def read(self) -> dict[str, float]:
        """The means since the last call (one device sync)."""
        names = list(self._sums)
        values = torch.stack(list(self._sums.values())).tolist() if names else []
        means = {name: value / self._counts[name] for name, value in zip(names, values, strict=True)}
        self._sums.clear()
        self._counts.clear()
        return means
