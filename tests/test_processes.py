"""Which of several processes this is: one rule for every combination of a launcher's variables."""

from __future__ import annotations

import pytest

from stackgan_cli.cli.ui import Session
from stackgan_cli.errors import EnvironmentProblem
from stackgan_cli.processes import Place, place
from stackgan_cli.runtime import World

VARIABLES = (
    "RANK",
    "WORLD_SIZE",
    "LOCAL_RANK",
    "MASTER_ADDR",
    "SLURM_NTASKS",
    "SLURM_PROCID",
    "SLURM_STEP_NUM_TASKS",
    "TORCHELASTIC_RUN_ID",
)
GROUP = {"WORLD_SIZE": "4", "MASTER_ADDR": "localhost", "RANK": "3"}


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, Place()),
        ({"RANK": "", "WORLD_SIZE": "", "LOCAL_RANK": ""}, Place()),
        ({"RANK": "3"}, Place()),
        ({"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4"}, Place()),
        ({"RANK": "3", "MASTER_ADDR": "localhost"}, Place()),
        ({"RANK": "x", "WORLD_SIZE": "1", "MASTER_ADDR": "localhost"}, Place()),
        ({"WORLD_SIZE": "two", "MASTER_ADDR": "localhost"}, Place()),
        (GROUP, Place(3, 4, 3)),
        ({**GROUP, "LOCAL_RANK": "1"}, Place(3, 4, 1)),
        ({**GROUP, "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, Place(3, 4, 3)),
        ({"SLURM_NTASKS": "4"}, Place()),
        ({"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, Place()),
        ({"SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"}, Place()),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "1"}, Place()),
    ],
)
def test_one_rule(variables: dict[str, str], expected: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    assert place() == expected
    assert World.from_environment() == World(expected.rank, expected.size, expected.local_rank)
    assert Session().silent is (expected.rank != 0)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({**GROUP, "RANK": ""}, "RANK: must be a number from 0 to 3"),
        ({**GROUP, "RANK": "4"}, "not '4'"),
        ({"SLURM_NTASKS": "2", "SLURM_PROCID": "1"}, "SLURM started 2 tasks"),
        ({"SLURM_NTASKS": "1", "SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "1"}, "SLURM started 8 tasks"),
    ],
)
def test_a_group_that_is_none(variables: dict[str, str], words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in variables.items():
        monkeypatch.setenv(variable, value)
    with pytest.raises(EnvironmentProblem, match=words) as caught:
        place()
    assert "torchrun" in caught.value.hint
    assert not Session().silent  # the error is shown
