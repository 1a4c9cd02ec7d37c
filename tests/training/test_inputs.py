"""What a run is made from: found once, opened once, and refused where its parts do not belong together."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import torch

import stackgan_cli.runs as runs
from stackgan_cli.__main__ import main
from stackgan_cli.config.archs import CharCNNRNN as Config
from stackgan_cli.config.presets import load_config
from stackgan_cli.data.caption_vectors import CaptionVectors
from stackgan_cli.encoders.text_encoder import TextEncoder
from stackgan_cli.errors import MismatchError
from stackgan_cli.models.char_cnn_rnn import CharCNNRNN
from stackgan_cli.training.inputs import ResolvedInputs
from stackgan_cli.training.plan import plan
from stackgan_cli.workspace import Workspace

QUICK = ["train.steps=2", "train.tick_steps=2", "samples.rows=1", "samples.columns=1", "--device", "cpu", "--quiet"]
STAGES = [("tiny-stage1", "tiny-stage2"), ("tiny-hdgan", "tiny-hdgan-stage2")]


def train(workspace: Workspace, *words: str) -> int:
    return main(["train", "--preset", *words, *QUICK, "--workspace", str(workspace.root)])


def another_encoder(workspace: Workspace, seed: int = 1) -> TextEncoder:
    """A text encoder other than the workspace's, kept in its `encoders/`."""
    torch.manual_seed(seed)
    config = Config(text_dim=64, conv_dims=(8, 8), rnn_dim=16)
    encoder = TextEncoder.from_state(config, CharCNNRNN(config.variant, 64, (8, 8), 16).state_dict())
    encoder.save(workspace.encoder_path(encoder.hash))
    return encoder


@pytest.fixture
def large(tmp_path: Path) -> Workspace:
    """100 birds at 152 px, without caption vectors."""
    workspace = Workspace(tmp_path / "large")
    words = ["prepare", "demo", "--count", "100", "--species", "50", "--image-size", "152", "--workers", "1", "--quiet"]
    assert main([*words, "--workspace", str(workspace.root)]) == 0
    return workspace


def test_training_a_stage2_opens_every_file_once(large: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    assert train(large, "tiny-stage2", "--name", "first") == 0  # makes the text encoder, its vectors and Stage-I
    opened: Counter[str] = Counter()
    encoders: list[str] = []

    def counting(path: Path, framework: str) -> object:
        opened[Path(path).parent.parent.name] += 1
        return safe_open(path, framework)

    safe_open, from_state = runs.safe_open, TextEncoder.from_state.__func__
    monkeypatch.setattr(runs, "safe_open", counting)
    monkeypatch.setattr(
        TextEncoder, "from_state", classmethod(lambda cls, config, state: (encoders.append("loaded"), from_state(cls, config, state))[1])
    )
    assert train(large, "tiny-stage2", "--name", "second") == 0
    assert opened == {"tiny-encoder-demo": 1, "tiny-stage1-demo": 1}
    assert encoders == ["loaded"]


@pytest.mark.parametrize(("stage1", "stage2"), STAGES)
def test_a_stage1_of_another_text_encoder_is_refused(
    large: Workspace, stage1: str, stage2: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(large, stage1) == 0
    other = another_encoder(large)
    cache = large.open_cache("demo")
    CaptionVectors.write(cache, other.encode(cache.captions), other.identity, other.hash)
    path = large.encoder_path(other.hash)
    capsys.readouterr()
    code = main(["train", "--preset", stage2, f"requires.text_encoder={path}", *QUICK[:-1], "--json", "--workspace", str(large.root)])
    error = json.loads(capsys.readouterr().out)["error"]
    assert code == 5 and "Stage-I was trained with text encoder" in error["message"] and "requires.text_encoder=" in error["hint"]
    assert not (large.runs / f"{stage2}-demo").exists()
    assert train(large, stage2) == 0  # with the encoder of both


@pytest.mark.parametrize(("stage1", "stage2"), STAGES)
def test_the_text_encoder_of_stage1_is_taken_before_one_is_trained(large: Workspace, stage1: str, stage2: str) -> None:
    assert train(large, stage1) == 0
    trained = large.find_run("tiny-encoder-demo")
    encoder = TextEncoder.load(trained.latest_weights() or Path())
    for path in [*large.caches.glob("demo.*.h5"), *large.encoders.iterdir(), *trained.folder.rglob("*.*")]:
        path.unlink()
    inputs = ResolvedInputs(load_config(stage2), large)
    weights = large.runs / f"{stage1}-demo" / "weights" / "latest.safetensors"
    assert [item.command for item in plan(inputs)] == [f"stackgan encode-text demo --encoder {weights}"]
    assert train(large, stage2) == 0
    assert large.run_names() == [f"{stage2}-demo", f"{stage1}-demo"]  # no second text encoder was trained
    assert json.loads((large.runs / f"{stage2}-demo" / "inputs.json").read_text())["text_encoder"] == encoder.hash


def test_a_stage1_whose_encoder_is_not_here(workspace: Workspace) -> None:
    """It does not carry its encoder: only the vectors were there when it was trained."""
    for path in workspace.encoders.iterdir():
        path.unlink()
    assert train(workspace, "tiny-stage1", "requires.text_encoder=null", "--name", "bare") == 0
    for path in workspace.caches.glob("demo.*.h5"):
        path.unlink()
    inputs = ResolvedInputs(load_config("tiny-stage2", ["requires.stage1=bare"]), workspace)
    with pytest.raises(MismatchError, match="which was not found"):
        plan(inputs)


def test_inputs_that_are_asked_of_a_model_without_an_earlier_stage(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(workspace, "tiny-stage1", "requires.text_encoder=null", "--name", "one") == 0
    assert train(workspace, "tiny-stage1", "requires.text_encoder=null", "requires.stage1=one", "--name", "two") == 3
    assert "this model has no earlier stage" in capsys.readouterr().err
