"""One step of the largest network at its published size: the memory that it needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

STEP = """
import resource
import torch
from stackgan_cli import registry
from stackgan_cli.config.presets import load_config
from stackgan_cli.objectives.base import Batch
from stackgan_cli.training.loop import Trainer

config = load_config("hdgan-cub-512", ["train.batch_size=1", "train.precision=fp32"])
objective = registry.find(config.model.arch).objective(config.model, registry.find(config.model.arch).build(config.model))
images = torch.rand(1, 3, 512, 512) * 2 - 1
batch = Batch(images={512: images}, text=torch.randn(1, config.model.text_dim), wrong_images={512: images.flip(3)})

class Feed:
    batch_size = 1
    def __len__(self): return 1
    def batch(self, *_): return batch

trainer = Trainer(objective, Feed(), config.train, device=torch.device("cpu"))
trainer.run_step()
assert all(value == value for value in trainer.meters.read().values())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow
def test_a_step_of_hdgan_at_512_px_fits_in_20_gib() -> None:
    done = subprocess.run([sys.executable, "-c", STEP], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 20 * 2**30, f"{int(done.stdout) / 2**30:.1f} GiB"
