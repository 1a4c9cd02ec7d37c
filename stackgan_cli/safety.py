"""The oldest PyTorch with which files from elsewhere may be opened."""

from __future__ import annotations

import re

import torch

from stackgan_cli.errors import EnvironmentProblem

OLDEST = (2, 10)
REASON = "before 2.6, a file could run code although only tensors were asked for, and before 2.10 it could corrupt memory"


def is_safe(version: str = torch.__version__) -> bool:
    """Whether this version of PyTorch reads files without published vulnerabilities that let them run code or corrupt memory."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return found is not None and (int(found[1]), int(found[2])) >= OLDEST


def check_torch() -> None:
    """Raise EnvironmentProblem (exit 6) if the installed PyTorch is too old to open a file that may come from someone else."""
    if not is_safe(torch.__version__):
        raise EnvironmentProblem(
            f"PyTorch {torch.__version__} cannot open files safely: {REASON}", hint="pip install 'torch>=2.10' 'torchvision>=0.25'"
        )
