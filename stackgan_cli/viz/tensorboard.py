"""Training curves for TensorBoard, an optional extra: the JSONL log has the same numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from stackgan_cli.errors import EnvironmentProblem


class Board:
    """Event files in `folder`. Steps from `step` on, left by an interrupted run, are removed."""

    def __init__(self, folder: Path, step: int = 0) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise EnvironmentProblem(
                "TensorBoard is not installed", where="--tensorboard", hint="pip install 'stackgan[tensorboard]'"
            ) from None
        self.writer = SummaryWriter(str(folder), purge_step=step + 1)

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        for name, value in scalars.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()
