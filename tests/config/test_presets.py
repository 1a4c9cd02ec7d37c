"""Presets, `extends`, overrides and writing a configuration as YAML."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from stackgan_cli.config.presets import diff, dump, find_preset, load_config, preset_names, read_preset
from stackgan_cli.config.problems import InvalidConfig, known_keys
from stackgan_cli.config.schema import RunConfig
from stackgan_cli.errors import ConfigError, UsageError


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_valid_and_survives_a_round_trip_through_yaml(name: str, tmp_path: Path) -> None:
    config = load_config(name)
    assert config.name == name
    assert config.summary and config.paper
    copy = tmp_path / "copy.yaml"
    copy.write_text(dump(config), encoding="utf-8")
    assert load_config(str(copy)) == config


@pytest.mark.parametrize("name", [name for name in preset_names() if load_config(name).requires.stage1])
def test_stage2_presets_name_a_stage1_that_fits(name: str) -> None:
    config = load_config(name).model
    model, stage1 = config.model_dump(), load_config(load_config(name).requires.stage1 or "").model.model_dump()
    assert stage1["stage"] == 1
    assert stage1["resolution"] == model.get("stage1_resolution", model["resolution"])
    assert config.SHARED_WITH_STAGE1
    for key, value in config.of_stage1().items():
        assert stage1[key] == value, key


def test_presets_follow_the_published_schedules() -> None:
    for stage in (1, 2):
        paper = load_config(f"v1-stage{stage}").train
        assert (paper.epochs, paper.batch_size, paper.optim.lr, paper.optim.decay_every) == (600, 64, 2e-4, 100)
    table4 = [load_config(name) for name in preset_names() if name.startswith("v1-table4-")]
    rows = {(c.model.stage, c.model.resolution, c.model.conditioning_augmentation, c.model.text_twice) for c in table4}  # type: ignore[union-attr]
    alone = {(1, side, ca, True) for side in (64, 256) for ca in (False, True)}
    both = {(2, side, ca, twice) for side in (128, 256) for ca, twice in ((True, False), (False, True), (True, True))}
    assert rows == alone | both
    assert all(load_config(f"v1-stage1-{name}").model.conditional is False for name in ("lsun-church", "imagenet-cat"))  # type: ignore[union-attr]


def test_overrides_win_over_extra_over_file_over_parent(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("extends: v1-stage1\ntrain:\n  batch_size: 32\n  seed: 5\n  tick_steps: 7\n")
    config = load_config(str(file), ["train.seed=9"], {"train": {"seed": 8, "tick_steps": 3}})
    assert (config.train.batch_size, config.train.tick_steps, config.train.seed, config.train.epochs) == (32, 3, 9, 600)
    assert config.name == "mine"


def test_extends_may_name_a_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(dump(load_config("tiny-stage1")))
    (tmp_path / "child.yaml").write_text("extends: base.yaml\nmodel:\n  gf_dim: 16\n")
    assert load_config(str(tmp_path / "child.yaml")).model.gf_dim == 16  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("train.optim.lr=2e-4", "lr", 2e-4),
        ("train.optim.lr=1E-3", "lr", 1e-3),
        ("train.optim.lr=.5", "lr", 0.5),
        ("train.optim.betas=[0, 0.9]", "betas", (0.0, 0.9)),
        ("train.optim.decay_every=null", "decay_every", None),
        ("train.optim={lr: 0.1, kind: rmsprop}", "kind", "rmsprop"),
    ],
)
def test_values_of_overrides_take_the_type_of_the_key(word: str, key: str, value: object) -> None:
    assert getattr(load_config("v1-stage1", [word]).train.optim, key) == value


def test_words_of_yaml_1_1_stay_words() -> None:
    config = load_config("v1-stage1", ["train.channels_last=on", "data.cache=010", "train.batch_size=010"])
    assert config.train.channels_last == "on"
    assert config.data.cache == "010"
    assert config.train.batch_size == 10
    assert load_config("v1-stage1", ["train.channels_last=off"]).train.channels_last == "off"


def test_text_that_looks_like_something_else_comes_back_as_text(tmp_path: Path) -> None:
    captions = ("2e-4", "null", "on", "1:30", "2026-01-01", "a: b", "- x", "#1", "", " ", "ünï 鳥", "0x1F", "~", "a\nb")
    config = load_config("tiny-stage1", [], {"samples": {"captions": captions}})
    (tmp_path / "c.yaml").write_text(dump(config), encoding="utf-8")
    assert load_config(str(tmp_path / "c.yaml")) == config


def test_steps_and_epochs_replace_each_other() -> None:
    assert load_config("v1-stage1", ["train.steps=5"]).train.epochs is None
    assert load_config("tiny-stage1", ["train.epochs=0.5"]).train.steps is None
    with pytest.raises(InvalidConfig, match=r"train\.steps = 5 \(command line\): give exactly one"):
        load_config("v1-stage1", ["train.steps=5", "train.epochs=2"])


def test_a_variant_fills_what_is_not_given_and_nothing_else() -> None:
    assert load_config("v1-stage1", ["model.variant=tensorflow"]).model.captions_per_embedding == 4  # type: ignore[union-attr]
    assert load_config("v1-stage1", ["model.variant=tensorflow", "model.kl_weight=7"]).model.kl_weight == 7  # type: ignore[union-attr]


def test_diff_names_changed_keys_with_both_values_and_no_descriptions() -> None:
    a = load_config("v1-stage1")
    b = load_config("v1-stage1", ["train.optim.lr=1e-3", "data.flip=false", "summary=other"])
    assert diff(a, b) == ["data.flip: true -> false", "train.optim.lr: 0.0002 -> 0.001"]
    assert diff(a, a) == []


def test_all_problems_come_at_once_each_with_its_place() -> None:
    words = [
        "train.optim.lr=-1",
        "train.batchsize=3",
        "lr=3",
        "model.gf_dim=true",
        "model.resolution=65",
        "data=null",
        "data.flip=7",
        "a=1",
        "a=2",
    ]
    with pytest.raises(InvalidConfig) as caught:
        load_config("v1-stage1", words)
    problems = {(problem.path, problem.given): problem for problem in caught.value.problems}
    assert problems["train.optim.lr", "-1"].problem == "must be greater than 0"
    assert problems["train.batchsize", "3"].hint == "did you mean 'train.batch_size'?"
    assert problems["lr", "3"].hint == "did you mean 'train.optim.lr'?"
    assert problems["model.gf_dim", "true"].problem == "must be a number"
    assert "64" in problems["model.resolution", "65"].hint
    assert problems["a", "2"].problem == "was given twice"
    assert all(problem.line == "command line" for problem in problems.values())
    assert len(caught.value.details()) == len(problems)


def test_a_problem_in_a_file_names_its_line(tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("extends: v1-stage1\ntrain:\n  batch_size: 0\nmodel:\n  stage: 2\n")
    with pytest.raises(InvalidConfig) as caught:
        load_config(str(file))
    by_path = {problem.path: problem for problem in caught.value.problems}
    assert by_path["train.batch_size"].line == "bad.yaml line 3"
    assert "Stage-II must enlarge" in by_path["model.resolution"].problem


def test_extends_goes_one_level_deep(tmp_path: Path) -> None:
    (tmp_path / "me.yaml").write_text("extends: me.yaml\n")
    with pytest.raises(ConfigError, match="one level deep"):
        load_config(str(tmp_path / "me.yaml"))


def test_unknown_presets_and_words_are_explained() -> None:
    with pytest.raises(ConfigError, match="did you mean 'v1-stage1'"):
        find_preset("v1-stag1")
    with pytest.raises(ConfigError, match="did you mean 'v1-stage2'"):
        find_preset("somewhere/v1-stage2.yaml")
    with pytest.raises(UsageError) as caught:
        load_config("v1-stage1", ["v1-stage2"])
    assert "--preset v1-stage2" in caught.value.hint


def test_known_keys_are_those_of_a_resolved_configuration() -> None:
    def leaves(model: BaseModel, prefix: str = "") -> set[str]:
        found = set()
        for name in type(model).model_fields:
            value = getattr(model, name)
            found |= leaves(value, f"{prefix}{name}.") if isinstance(value, BaseModel) else {f"{prefix}{name}"}
        return found

    config: RunConfig = load_config("v1-stage1")
    assert leaves(config) <= set(known_keys("stackgan-v1"))
    assert "model.margin" in known_keys("char-cnn-rnn")
    assert "model.margin" not in known_keys("stackgan-v1")


@pytest.mark.parametrize("name", preset_names())
def test_presets_say_only_what_their_variant_does_not(name: str) -> None:
    """A variant's own keys are left to the variant, so that `model.variant=...` on the command line changes all of them."""
    model, config = read_preset(name)[0]["model"], load_config(name).model
    row = getattr(config, "VARIANTS", {}).get(getattr(config, "variant", None), {})
    assert not {key for key in row if key in model and getattr(config, key) == row[key]}
    assert "wrong_pairs" not in model or model["wrong_pairs"] in ("none", "batch")
    assert not any(isinstance(value, float) and math.isnan(value) for value in model.values())


PREPARE = re.compile(r"stackgan prepare (\S+)((?: --[a-z-]+ [^\s`;,]+)*)")
"""A command in a comment: the dataset and the options."""


def prepared_caches(text: str) -> list[str]:
    """The names of the caches that the commands in a preset's comments make."""
    comments = "\n".join(line.partition("#")[2] for line in text.splitlines())
    found = []
    for dataset, options in PREPARE.findall(comments):
        words = options.split()
        found.append(words[words.index("--name") + 1] if "--name" in words else dataset.rstrip("`;,."))
    return found


@pytest.mark.parametrize("name", preset_names())
def test_the_command_in_a_comment_makes_the_cache_of_the_preset(name: str) -> None:
    assert set(prepared_caches(find_preset(name).read_text(encoding="utf-8"))) <= {load_config(name).data.cache}


def test_names_of_caches_are_found_in_comments() -> None:
    text = "# stackgan prepare cub --image-size 608 --name cub-608\n# `stackgan prepare demo --count 12`.\na: b  # stackgan prepare svhn; x"
    assert prepared_caches(text) == ["cub-608", "demo", "svhn"]
    assert prepared_caches(find_preset("demo-stage1").read_text(encoding="utf-8")) == ["demo", "demo"]
