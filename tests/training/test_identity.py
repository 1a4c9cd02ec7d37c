"""What a run was made from is compared by content: caches of one name in two folders share nothing."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from stackgan_cli.__main__ import main
from stackgan_cli.config.presets import load_config
from stackgan_cli.runs import Run
from stackgan_cli.training.inputs import ResolvedInputs, default_run_name, run_name
from stackgan_cli.training.plan import plan
from stackgan_cli.workflows.encode_text import default_encoder
from stackgan_cli.workspace import Workspace

QUICK = ["train.steps=2", "train.tick_steps=2", "samples.rows=1", "samples.columns=1", "--device", "cpu", "--quiet"]


@pytest.fixture
def twins(tmp_path: Path) -> tuple[Workspace, str, str]:
    """A workspace, and two caches called birds with different images, in two other folders."""
    paths = []
    for seed in ("0", "7"):
        other = Workspace(tmp_path / seed)
        words = ["prepare", "demo", "--count", "100", "--species", "50", "--image-size", "76", "--workers", "1", "--quiet"]
        assert main([*words, "--seed", seed, "--name", "birds", "--workspace", str(other.root)]) == 0
        paths.append(str(other.cache_path("birds")))
    return Workspace(tmp_path / "workspace"), paths[0], paths[1]


def test_each_of_two_caches_has_an_encoder_and_runs_of_its_own(twins: tuple[Workspace, str, str]) -> None:
    workspace, first, second = twins
    train = ["train", "--preset", "tiny-stage1", *QUICK, "--workspace", str(workspace.root)]
    for cache in (first, second, first):
        assert main([*train, f"data.cache={cache}"]) == 0
    suffix = workspace.open_cache(second).identity[:8]
    names = {"tiny-encoder-birds", "tiny-stage1-birds", f"tiny-encoder-birds-{suffix}", f"tiny-stage1-birds-{suffix}"}
    assert set(workspace.run_names()) == names
    encoders = [Run(workspace.runs / name).made_from()["text_encoder"] for name in ("tiny-stage1-birds", f"tiny-stage1-birds-{suffix}")]
    assert encoders[0] != encoders[1]
    assert default_encoder(workspace, first) == "tiny-encoder-birds"
    assert default_encoder(workspace, second) == f"tiny-encoder-birds-{suffix}"
    assert default_run_name("tiny-stage1", second, workspace) == f"tiny-stage1-birds-{suffix}"


def test_a_run_called_like_a_preset_counts_for_its_own_cache_only(twins: tuple[Workspace, str, str]) -> None:
    workspace, first, second = twins
    train = ["train", "--preset", "tiny-encoder", "--name", "tiny-encoder", *QUICK, "--workspace", str(workspace.root)]
    assert main([*train, f"data.cache={first}"]) == 0
    plans = [plan(ResolvedInputs(load_config("tiny-stage1", [f"data.cache={cache}"]), workspace)) for cache in (first, second)]
    assert [[item.kind for item in missing] for missing in plans] == [["vectors"], ["text-encoder", "vectors"]]


def test_a_copy_of_a_cache_shares_what_was_made(twins: tuple[Workspace, str, str], tmp_path: Path) -> None:
    workspace, first, _ = twins
    assert main(["train", "--preset", "tiny-encoder", *QUICK, "--workspace", str(workspace.root), f"data.cache={first}"]) == 0
    (tmp_path / "copies").mkdir()
    copy = shutil.copy(first, tmp_path / "copies" / "birds.h5")
    inputs = ResolvedInputs(load_config("tiny-stage1", [f"data.cache={copy}"]), workspace)
    assert [item.kind for item in plan(inputs)] == ["vectors"]


def test_commands_quote_names(workspace: Workspace) -> None:
    shutil.copy(workspace.cache_path("demo"), workspace.cache_path_for("my birds.v2"))
    missing = plan(ResolvedInputs(load_config("tiny-stage1", ["data.cache=my birds.v2"]), workspace))
    assert [item.command for item in missing] == [
        "stackgan train --preset tiny-encoder 'data.cache=my birds.v2'",
        "stackgan encode-text 'my birds.v2'",
    ]


def test_default_names() -> None:
    assert run_name("tiny-stage1", "birds.v2") == "tiny-stage1-birds.v2"
    assert run_name("tiny-stage1", "a/birds.h5") == "tiny-stage1-birds"
    assert run_name("demo-stage1", "demo") == "demo-stage1"


def test_a_damaged_record_is_a_data_error(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    train = ["train", "--preset", "tiny-dcgan", *QUICK, "--workspace", str(workspace.root)]
    assert main(train) == 0
    run = workspace.find_run("tiny-dcgan-demo")
    assert json.loads(run.inputs_path.read_text())["cache"] == workspace.open_cache("demo").identity
    run.inputs_path.write_text("{")
    assert main([*train, "--resume", "never"]) == 4
    assert "inputs.json" in capsys.readouterr().err
