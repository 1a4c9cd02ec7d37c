"""Stages: which objective is used at which step."""

from __future__ import annotations

from typing import Any

import pytest

from stackgan_cli.objectives.base import Batch, Noise, Objective, Stage, Turn, objective_at


class Nothing(Objective[None]):
    def turns(self, step: int, memory: Any) -> tuple[Turn, ...]:
        return ()

    def draw(self, batch: Batch, noise: Noise) -> None: ...


def test_stages_follow_one_another() -> None:
    games = [Nothing() for _ in range(3)]
    stages = [Stage(games[0], 2), Stage(games[1], 3), Stage(games[2], None)]
    assert [games.index(objective_at(stages, step)) for step in (0, 1, 2, 4, 5, 1000)] == [0, 0, 1, 1, 2, 2]  # type: ignore[arg-type]
    with pytest.raises(AssertionError, match="last stage"):
        objective_at(stages[:2], 5)


def test_an_objective_alone_is_its_only_stage() -> None:
    game = Nothing()
    assert objective_at(game.stages, 10**9) is game
