"""Whatever is wrong with a configuration file or an override, the user sees one readable error and the right exit code.

The broken input is a list of kinds of mistakes, and presets with seeded random damage; all of it goes through the real `main()`.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import yaml

from stackgan_cli.__main__ import main
from stackgan_cli.config.presets import load_config, preset_names

GOOD = yaml.safe_dump(load_config("tiny-stage1").model_dump(mode="json"), sort_keys=False)

FILES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty"),
    "only comments": (b"# nothing here\n", "empty"),
    "a list": (b"- 1\n- 2\n", "mapping"),
    "a word": (b"hello\n", "mapping"),
    "a number": (b"3\n", "mapping"),
    "binary": (bytes(range(256)), "UTF-8"),
    "a picture": (b"\x89PNG\r\n\x1a\n\x00\x00", "UTF-8"),
    "utf-16": (GOOD.encode("utf-16"), "UTF-8"),
    "control characters": (b"train:\n  steps: \x01\n", "characters"),
    "a tab": (b"train:\n\tsteps: 3\n", "line 2, column 1"),
    "an unclosed bracket": (b"train: {steps: 3\nmodel: [", "line"),
    "an unclosed quote": (b'name: "x\ntrain:\n  steps: 1\n', "line"),
    "bad indentation": (b"train:\n  steps: 3\n seed: 1\n", "line 3"),
    "a key twice": (b"train:\n  steps: 3\n  steps: 4\n", "'train.steps' was already given in line 2"),
    "a section twice": (b"train:\n  steps: 3\ntrain:\n  seed: 4\n", "'train' was already given in line 1"),
    "a list as key": (b"? [a, b]\n: 3\n", "a key must be a word"),
    "an unknown anchor": (b"train: *nothing\n", "undefined alias"),
    "a tag": (b"train: !!python/object:os.system {}\n", "constructor"),
    "two documents": (b"train: 1\n---\ntrain: 2\n", "document"),
    "nested too deeply": (b"train: " + b"[" * 1100, "nested too deeply"),
    "a number of 5,000 digits": (b"train:\n  steps: " + b"9" * 5000 + b"\n", "valid"),
    "longer than any configuration": (b"# " + b"x" * (1 << 20), "larger than"),
    "no model": (b"train:\n  steps: 3\n", "model: this key is missing"),
    "no train": (b"model:\n  arch: stackgan-v1\n", "train: this key is missing"),
    "no arch": (b"model:\n  gf_dim: 8\ntrain:\n  steps: 3\n", "model"),
    "unknown arch": (b"model:\n  arch: stackgan-v9\ntrain:\n  steps: 3\n", "'stackgan-v9'"),
    "model null": (b"model:\ntrain:\n  steps: 3\n", "model = null"),
    "extends nothing": (b"extends: v1-stag1\n", "did you mean 'v1-stage1'"),
    "extends a list": (b"extends: [v1-stage1]\n", "must name a preset"),
    "extends too deeply": (b"extends: v1-stage1-pytorch\n", "one level deep"),
    "itself as an anchor": (b"extends: tiny-stage1\nmodel: &a\n  gf_dim: *a\n", "nested too deeply"),
    "a numeric key": (b"extends: tiny-stage1\n3: 4\n", "a key must be a word, not 3"),
}

OVERRIDES: list[tuple[str, str]] = [
    ("train.batch_size=0", "train.batch_size = 0"),
    ("train.batch_size=-3", "must be at least 1"),
    ("train.batch_size=1.5", "must be a whole number"),
    ("train.batch_size=many", "must be a whole number"),
    ("train.batch_size=true", "must be a number"),
    ("train.batch_size=null", "must be a whole number"),
    ("train.batch_size=[1]", "must be a whole number"),
    ("train.batch_size={a: 1}", "train.batch_size = {'a': 1}"),
    ("train.batch_size=1" + "0" * 40, "must be at most"),
    ("train.batch_size=", "must be a whole number"),
    ("train.accumulate=3", "must divide"),
    ("train.optim.lr=.inf", "finite"),
    ("train.optim.lr=.nan", "train.optim.lr"),
    ("train.optim.lr=-2e-4", "must be greater than 0"),
    ("train.optim.betas=[0.5]", "has too few items"),
    ("train.optim.betas=[0.5, 1]", "less than 1"),
    ("train.optim.betas=0.5", "must be a list"),
    ("train.optim.kind=sgd", "'adam' or 'rmsprop'"),
    ("train.optim=adam", "section"),
    ("train.lr=1", "did you mean 'train.optim.lr'?"),
    ("train.Batch_Size=1", "did you mean 'train.batch_size'?"),
    ("optim.lr=1", "did you mean 'train.optim.lr'?"),
    ("batch_size=1", "did you mean 'train.batch_size'?"),
    ("train=3", "must be a section of keys"),
    ("train=null", "must be a section of keys"),
    ("data.flip=maybe", "must be true or false"),
    ("paper=3", "must be text"),
    ("data.residency=disk", "'mmap'"),
    ("model.arch=gan", "'gan'"),
    ("model.arch=char-cnn-rnn", "unknown key"),
    ("model.stage=3", "1 or 2"),
    ("model.stage=2", "must enlarge"),
    ("model.stage1_gf_dim=8", "belongs to a Stage-II"),
    ("model.conditional=false", "unconditional model has no captions"),
    ("model.margin=0.5", "unknown key"),
    ("model.residual_blocks=1000000000", "must be at most 64"),
    ("samples.captions=a bird", "must be a list"),
    ("samples.captions=[1]", "must be text"),
    ("train.optim.lr={", "not a valid value"),
    ("train.seed=!!python/object:os.system {}", "not a valid value"),
    ("train.seed=" + "[" * 1100, "not a valid value"),
    ("train.seed=*a", "not a valid value"),
    (".=1", "unknown key"),
    ("=1", "unknown key"),
    ("train..steps=1", "unknown key"),
    ("train.steps.more=1", "unknown key"),
    ("Ünï=1", "unknown key"),
]


def one_readable_error(capsys: pytest.CaptureFixture[str], words: list[str], expect: str, codes: tuple[int, ...] = (3,)) -> str:
    code = main(words)
    out, err = capsys.readouterr()
    assert code in codes, err
    assert out == ""
    assert err.startswith("✗ ") and err.count("✗") == 1, err
    assert expect in err, err
    assert "Traceback" not in err and "bug" not in err and "pydantic" not in err, err
    assert max(len(line) for line in err.splitlines()) < 500, err
    return err


@pytest.mark.parametrize("kind", FILES)
def test_broken_files(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, expect = FILES[kind]
    file = tmp_path / "bad.yaml"
    file.write_bytes(content)
    err = one_readable_error(capsys, ["presets", "validate", str(file)], expect)
    assert "bad.yaml" in err or "extends" in kind, err
    one_readable_error(capsys, ["train", "--preset", str(file), "--dry-run"], expect)


def test_paths_that_are_not_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one_readable_error(capsys, ["presets", "validate", str(tmp_path / "absent.yaml")], "no such file")
    (tmp_path / "folder.yaml").mkdir()
    one_readable_error(capsys, ["presets", "validate", str(tmp_path / "folder.yaml")], "folder")
    one_readable_error(capsys, ["presets", "validate", "v1-stag1"], "did you mean 'v1-stage1'")


@pytest.mark.parametrize(("word", "expect"), OVERRIDES)
def test_broken_overrides(word: str, expect: str, capsys: pytest.CaptureFixture[str]) -> None:
    one_readable_error(capsys, ["presets", "validate", "tiny-stage1", word], expect)


@pytest.mark.parametrize("word", ["lr", "train.steps", "demo-stage1", "", "--nonsense=3", "--steps"])
def test_words_that_are_not_overrides_are_usage_errors(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    one_readable_error(capsys, ["train", "--preset", "tiny-stage1", word], "", codes=(2,))


def test_a_key_twice_and_several_mistakes_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    one_readable_error(capsys, ["presets", "validate", "tiny-stage1", "train.seed=1", "train.seed=2"], "given twice")
    one_readable_error(capsys, ["presets", "validate", "v1-stage1", "model.resolution=256", "model.gf_dim=12"], "model.gf_dim = 12")
    err = one_readable_error(capsys, ["train", "--preset", "tiny-stage1", "train.sed=1", "data.flip=7", "model.stage=9"], "3 problems")
    assert all(key in err for key in ("train.sed", "data.flip", "model.stage"))


def damage(rng: random.Random, tree: dict[str, object]) -> str:
    """Break one random key of a resolved configuration; returns a word that the error must contain."""
    path: list[str] = []
    node = tree
    while True:
        key = rng.choice([k for k in node if k not in ("summary", "paper", "name", "arch")])
        path.append(key)
        value = node[key]
        if not isinstance(value, dict) or rng.random() < 0.15:
            break
        node = value
    kind = rng.choice(["typo", "type", "section", "extra"])
    if kind == "typo" and len(key) > 2:
        place = rng.randrange(len(key) - 1)
        wrong = key[:place] + key[place + 1] + key[place] + key[place + 2 :]
        if wrong != key:
            node[wrong] = node.pop(key)
            return wrong
    if kind == "extra":
        node[f"{key}_"] = 1
        return f"{key}_"
    if kind == "type":
        node[key] = rng.choice([{"a": [1, {"b": 2}]}, [[["x"]]], [None], {"": 1}])
        return path[0]
    node[key] = {"nested": {"deeper": "x" * 1000}}
    return path[0]


@pytest.mark.parametrize("seed", range(60))
def test_random_damage(seed: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(seed)
    names = [name for name in preset_names() if not name.startswith("v1-table4")]
    tree = load_config(rng.choice(names)).model_dump(mode="json")
    tree["samples"].pop("captions")
    expect = damage(rng, tree)
    file = tmp_path / "damaged.yaml"
    file.write_text(yaml.safe_dump(tree), encoding="utf-8")
    code = main(["--json", "presets", "validate", str(file)])
    out, err = capsys.readouterr()
    assert code == 3, err
    document = json.loads(out)
    assert document["ok"] is False and document["error"]["code"] == 3
    assert expect in document["error"]["message"], (expect, err)
    assert any(expect in problem["path"] for problem in document["error"]["problems"])
    assert "Traceback" not in err and "bug" not in err
    assert max(len(line) for line in err.splitlines()) < 500
