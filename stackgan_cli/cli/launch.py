"""`--gpus N`: this command again, under torchrun."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from stackgan_cli.errors import EnvironmentProblem


def torchrun(gpus: int, words: Sequence[str]) -> NoReturn:
    """Replace this process by torchrun with `gpus` processes of the same command line. Raises EnvironmentProblem for too few GPUs."""
    import torch

    if torch.cuda.device_count() < gpus:
        raise EnvironmentProblem(
            f"{gpus} GPUs were asked for, but there are {torch.cuda.device_count()}", where="--gpus", hint="stackgan doctor"
        )
    kept: list[str] = []
    left = iter(words)
    for word in left:
        if word == "--gpus":
            next(left, None)
        elif not word.startswith("--gpus="):
            kept.append(word)
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={gpus}", "-m", "stackgan_cli"]
    os.execv(sys.executable, [sys.executable, *launcher, *kept])
