"""A classifier that starts from a published Inception-v3: all layers except the last come from the file."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_loop import job

from stackgan_cli.errors import MismatchError
from stackgan_cli.models.inception import InceptionV3
from stackgan_cli.workspace import Workspace

WORDS = ("data.cache=demo", "data.split=train", "model.resolution=32", "model.label=body", "train.batch_size=2", "train.ema=0")


def published(path: Path, classes: int) -> dict[str, torch.Tensor]:
    """A random state dict in the published names, with an auxiliary head, written to `path`."""
    torch.manual_seed(0)
    with torch.device("meta"):
        network = InceptionV3(classes)
    state = {key: torch.randn(value.shape) for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked")}
    torch.save({**state, "AuxLogits.fc.weight": torch.zeros(classes, 768)}, path)
    return state


def test_all_but_the_last_layer_comes_from_the_file(workspace: Workspace, tmp_path: Path) -> None:
    state = published(tmp_path / "inception.pth", 1000)
    made = job(workspace, "tuned", *WORDS, f"model.weights={tmp_path / 'inception.pth'}", preset="classifier")
    found = made.trainer.objective.modules["classifier"].network.state_dict()  # type: ignore[union-attr,operator]
    assert all(torch.equal(found[key], value) for key, value in state.items() if not key.startswith("fc."))
    assert found["fc.weight"].shape == (8, 2048) and 0 < found["fc.weight"].std() < 0.1
    assert "weights" in (made.run.folder / "inputs.json").read_text()


@pytest.mark.parametrize(("classes", "expected"), [(1008, "TensorFlow's Inception of 2015"), (None, "do not fit the network")])
def test_other_files_are_refused(workspace: Workspace, tmp_path: Path, classes: int | None, expected: str) -> None:
    path = tmp_path / "other.pth"
    if classes:
        published(path, classes)
    else:
        torch.save({"conv.weight": torch.zeros(3)}, path)
    with pytest.raises(MismatchError, match=expected):
        job(workspace, "tuned", *WORDS, f"model.weights={path}", preset="classifier")
