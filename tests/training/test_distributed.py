"""Two gloo processes: equal to each other, and to one process on the joined batch for a network without batch statistics."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_loop import CPU, NormFree, finish, job, tiny

from stackgan_cli.training.loop import Trainer
from stackgan_cli.workspace import Workspace

DRIVER = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
folder, root, here = sys.argv[1:]
sys.path.insert(0, here)
from test_loop import CPU, NormFree, finish, job, tiny
from stackgan_cli.workspace import Workspace
from stackgan_cli.runtime import World
from stackgan_cli.training.loop import Trainer
world = World.from_environment()
world.start(CPU)
feed = job(Workspace(Path(root)), f"feed-{world.rank}").trainer.feed
trainer = Trainer(NormFree(), feed, tiny(), device=CPU, world=world)
for _ in range(6):
    trainer.run_step()
torch.save(trainer.objective.modules["net"].state_dict(), f"{folder}/rank-{world.rank}.pt")
"""


@pytest.mark.slow
def test_two_processes_are_one_on_the_joined_batch(workspace: Workspace, tmp_path: Path) -> None:
    script = tmp_path / "driver.py"
    script.write_text(DRIVER)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    words = [*launch, str(tmp_path), str(workspace.root), str(Path(__file__).parent)]
    done = subprocess.run(words, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    first, second = (torch.load(tmp_path / f"rank-{rank}.pt", weights_only=True) for rank in (0, 1))
    alone = Trainer(NormFree(), job(workspace, "alone").trainer.feed, tiny(), device=CPU)
    for _ in range(6):
        alone.run_step()
    for key, value in alone.objective.modules["net"].state_dict().items():
        assert torch.equal(first[key], second[key])
        torch.testing.assert_close(first[key], value, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_torchrun_trains_resumes_and_only_the_first_rank_writes(workspace: Workspace) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "stackgan_cli"]
    words = ["train", "--preset", "tiny-stage1", "requires.text_encoder=null", "--device", "cpu", "--workspace", str(workspace.root)]
    for _ in range(2):
        done = subprocess.run(
            [*launch, *words], env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=180, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stdout.count("latest.safetensors") == 1
    lines = (workspace.runs / "tiny-stage1-demo" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, 21))


def test_the_joined_batch_is_a_fixed_point_of_splitting(workspace: Workspace) -> None:
    """Checks the comparison above: two runs of one process agree bit for bit."""
    assert all(torch.equal(a, b) for a, b in zip(finish(job(workspace, "a")).values(), finish(job(workspace, "b")).values(), strict=True))
