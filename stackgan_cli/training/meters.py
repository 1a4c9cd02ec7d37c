"""Sums of losses that stay on the device between two lines of the log: reading them is the one device sync of a line."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class Meters:
    """Running means of named scalars, and whether each of them was always finite."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Count each scalar once."""
        given = {name: value.detach().float() for name, value in values.items()}
        known = [name for name in given if name in self._sums]
        if known:
            torch._foreach_add_([self._sums[name] for name in known], [given[name] for name in known])
        for name in given:
            if name not in self._sums:
                self._sums[name] = given[name].clone()
            self._counts[name] = self._counts.get(name, 0) + 1

    def read(self) -> dict[str, float]:
        """Means since the last call (one device sync); a value that was ever non-finite makes its mean so."""
        names = list(self._sums)
        values = torch.stack(list(self._sums.values())).tolist() if names else []
        means = {name: value / self._counts[name] for name, value in zip(names, values, strict=True)}
        self._sums.clear()
        self._counts.clear()
        return means
