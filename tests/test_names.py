"""Names of caches and runs: one rule, and every allowed name works everywhere."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from stackgan_cli.__main__ import main
from stackgan_cli.config.presets import dump, load_config
from stackgan_cli.errors import Exit, UsageError
from stackgan_cli.workspace import CacheFile, Workspace, checked_name

REFUSED = [
    "",
    ".",
    "..",
    "../x",
    "a/b",
    "a\\b",
    "a:b",
    ".hidden",
    "-x",
    "~x",
    "a\nb",
    "a\0b",
    " a",
    "a ",
    "a.",
    "a.h5",
    "a.0123abcd",
    "é" * 61,
]
ALLOWED = ["birds.v2", "2011", "null", "true", "1e3", "my birds", "birds #2", "[1]", "Vögel", "a=b", "a.0123abc", "a.stats-x"]


@pytest.mark.parametrize("name", REFUSED)
def test_refused_names(name: str, tmp_path: Path) -> None:
    for made in (
        lambda: checked_name(name),
        lambda: Workspace(tmp_path).cache_path_for(name),
        lambda: Workspace(tmp_path).run_folder(name),
    ):
        with pytest.raises(UsageError, match="cannot be the"):
            made()


@pytest.mark.parametrize("words", [["prepare", "demo", "--name=../x"], ["train", "--preset", "tiny-dcgan", "--name=../../x"]])
def test_a_refused_name_writes_nothing(words: list[str], workspace: Workspace) -> None:
    before = sorted(workspace.root.parent.rglob("*"))
    assert main([*words, "--workspace", str(workspace.root)]) == Exit.USAGE
    assert sorted(workspace.root.parent.rglob("*")) == before


@pytest.mark.parametrize("name", ALLOWED)
def test_allowed_names_are_listed_found_and_configured(name: str, workspace: Workspace) -> None:
    os.link(workspace.cache_path("demo"), workspace.cache_path_for(name))
    assert name in workspace.cache_names()
    for split in ("", ":test"):
        found = workspace.resolve(f"{name}{split}")
        assert isinstance(found, CacheFile) and found.open().identity == workspace.open_cache("demo").identity
        assert found.split == split[1:]
    for config in (load_config("tiny-dcgan", [f"data.cache={name}"]), load_config("tiny-dcgan", [], {"data": {"cache": name}})):
        assert config.data.cache == name
        path = workspace.root / "config.yaml"
        path.write_text(dump(config))
        assert load_config(str(path)).data.cache == name


def test_names_in_yaml_and_quoted_words(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("extends: tiny-stage1\ndata:\n  cache: 2011\n")
    assert load_config(str(path)).data.cache == "2011"
    assert load_config("tiny-stage1", ['data.cache="null"', "requires.text_encoder=7"]).requires.text_encoder == "7"
    assert load_config("tiny-stage1", ["requires.text_encoder=null"]).requires.text_encoder is None


def test_a_cache_by_a_path_with_colons(workspace: Workspace) -> None:
    folder = workspace.root / "12:00:00"
    folder.mkdir()
    os.link(workspace.cache_path("demo"), folder / "a:b.h5")
    assert workspace.resolve(f"{folder}/a:b.h5") == CacheFile(folder / "a:b.h5")
    assert workspace.resolve(f"{folder}/a:b.h5:train") == CacheFile(folder / "a:b.h5", "train")


def test_the_embeddings_of_a_cache_are_not_those_of_another_behind_a_dot(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["prepare", "demo", "--count", "100", "--species", "50", "--image-size", "76", "--workers", "1", "--name", "demo.v2"]
    assert main([*words, "--workspace", str(workspace.root)]) == 0
    assert main(["encode-text", "demo.v2", "--encoder", str(next(workspace.encoders.iterdir())), "--workspace", str(workspace.root)]) == 0
    capsys.readouterr()
    assert main(["info", "--json", "--workspace", str(workspace.root)]) == 0
    assert sorted(json.loads(capsys.readouterr().out)["result"]["caches"]) == ["demo", "demo.v2"]
