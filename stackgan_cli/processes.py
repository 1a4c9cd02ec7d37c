"""Which of several processes this one is. Torch-free.

One rule: a process is one of several if `WORLD_SIZE` is a number above 1 and `MASTER_ADDR` is set, as torchrun does; otherwise it is alone
and the first, whatever `RANK` and `LOCAL_RANK` say. Clusters set those for processes of which each should work alone.
"""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass

from stackgan_cli.errors import EnvironmentProblem, UserError


@dataclass(frozen=True)
class Place:
    """The number of this process among `size`, and its number on this machine."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0


def place() -> Place:
    """The place of this process by its environment.

    Raises EnvironmentProblem (exit 6) if its number in the group is missing or wrong, or if SLURM started several tasks without torchrun,
    which would all do the same.
    """
    size = _number("WORLD_SIZE")
    if size is None or size < 2 or not os.environ.get("MASTER_ADDR"):
        _refuse_slurm()
        return Place()
    rank = _number("RANK")
    if rank is None or rank >= size:
        found = os.environ.get("RANK", "")
        raise EnvironmentProblem(
            f"must be a number from 0 to {size - 1} in a group of {size} processes, not {found!r}",
            where="RANK",
            hint="start the processes with torchrun, or unset WORLD_SIZE",
        )
    local_rank = _number("LOCAL_RANK")
    return Place(rank, size, rank if local_rank is None else local_rank)


def is_first() -> bool:
    """Whether this process speaks for its group: alone, or number 0."""
    try:
        return place().rank == 0
    except UserError:
        return True


def _number(variable: str) -> int | None:
    text = os.environ.get(variable, "").strip()
    return int(text) if text.isascii() and text.isdigit() else None


def _refuse_slurm() -> None:
    if "TORCHELASTIC_RUN_ID" in os.environ:  # torchrun with one process
        return
    tasks = _number("SLURM_STEP_NUM_TASKS") or _number("SLURM_NTASKS") or 1  # those of this `srun`, else those of the job
    if tasks > 1 and _number("SLURM_PROCID") is not None:
        words = shlex.join(sys.argv[1:])
        raise EnvironmentProblem(
            f"SLURM started {tasks} tasks, which do not form a group of processes",
            where="SLURM_NTASKS",
            hint=f"srun --ntasks=1 torchrun --standalone --nproc-per-node={tasks} -m stackgan_cli {words}\n"
            f"  or, for one process: srun --ntasks=1 stackgan {words}",
        )
