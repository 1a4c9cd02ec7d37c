"""examples/tables.py: its numbers, its scales against the schema, its layout, and two tables from nothing."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from stackgan_cli.config.presets import find_preset, load_config
from stackgan_cli.workspace import Workspace

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))
published, scales, tables = (importlib.import_module(name) for name in ("published", "scales", "tables"))
MODELS, TABLES, SCALES = published.MODELS, published.TABLES, scales.SCALES


def workshop(scale: str = "tiny", **changed: Any) -> Any:
    settings = {"suffix": scale, "train": True, "caches": {}, "runs": {}, "overrides": {}, "metric_words": [], "count": None}
    return tables.Workshop(SCALES[scale], **{**settings, **changed})


def cells_of(table: str) -> list[Any]:
    return [cell for _, row in TABLES[table].rows for cell in row]


# -- numbers --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_rectangular_and_name_models_and_metrics_that_exist(name: str) -> None:
    from stackgan_cli.metrics.table import METRICS

    table = TABLES[name]
    for labels, row in table.rows:
        assert len(labels) == len(table.labels)
        assert len(row) == len(table.columns)
        for cell in row:
            assert re.fullmatch(r"-|\d+\.\d+( ± \.\d+)?", cell.published)
            assert not cell.model or (cell.model in MODELS and cell.metric in {metric.name for metric in METRICS})
            assert not cell.model or cell.metric in tables.DIGITS


def test_published_numbers_are_those_of_the_presets() -> None:
    compared = 0
    for table in TABLES:
        for cell in cells_of(table):
            text = find_preset(MODELS[cell.model].preset).read_text(encoding="utf-8") if cell.model else ""
            for value, spread in re.findall(r"Inception score in the table: (\S+) \+- (\S+)", text):
                assert cell.published == f"{value} ± {spread}", cell.model
                compared += 1
    assert compared == 10 + 3  # Table 4, and what HDGAN's Table 2 takes from there


def test_published_numbers_agree_with_one_another() -> None:
    def column(table: str, name: str) -> dict[str, str]:
        place = TABLES[table].columns.index(name)
        return {" ".join(labels): row[place].published for labels, row in TABLES[table].rows}

    def ranks(*words: str) -> float:
        return sum(float(word.split()[0]) for word in words)

    for data, others in (("CUB", ("GAN-INT-CLS", "GAWWN")), ("Oxford", ("GAN-INT-CLS",)), ("COCO", ("GAN-INT-CLS",))):
        ours, all_sets = column("2", f"{data} v1"), column("3", data)
        assert (ours["FID"], ours["IS"]) == (all_sets["FID StackGAN-v1"], all_sets["IS StackGAN-v1"])
        small = column("2", f"{data} GAN-INT-CLS")
        assert (small["FID"], small["IS"]) == (small["FID*"], small["IS*"])  # its pictures have 64 px
        assert ranks(ours["HR"], *(column("2", f"{data} {other}")["HR"] for other in others)) == pytest.approx(3 * len(others))
    for data in TABLES["3"].columns:
        found = column("3", data)
        assert ranks(found["HR StackGAN-v1"], found["HR StackGAN-v2"]) == pytest.approx(3)
    best = {"3": "v2", "4": "v1-256", "5": "v2", "hdgan-6": "hdgan"}
    scores = {(key, cell.metric): cell.published for key in best for cell in cells_of(key) if cell.model == best[key]}
    assert (scores["3", "is"], scores["4", "is"], scores["hdgan-6", "is"]) == ("4.04 ± .05", "3.70 ± .04", "4.15 ± .05")
    assert scores["3", "is"] == scores["5", "is"]


# -- scales ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("key", MODELS)
def test_every_model_is_valid_at_every_scale(key: str, scale: str) -> None:
    preset, chosen = MODELS[key].preset, SCALES[scale]
    full = load_config(preset)
    config = load_config(preset, tables.as_words({**scales.changes(full.model_dump(mode="json"), chosen), "data.cache": "demo"}))
    divisor = chosen.divided_by.get(full.model.arch, 1)
    if full.model.arch == "stackgan-v1":
        assert config.model.resolution * divisor == full.model.resolution
    else:
        assert [side * divisor for side in config.model.sides] == list(full.model.sides)
        assert list(config.model.judges.values()) == list(full.model.judges.values())
    if full.requires.stage1 is not None:
        other = load_config(full.requires.stage1)
        stage1 = load_config(full.requires.stage1, tables.as_words(scales.changes(other.model_dump(mode="json"), chosen)))
        assert stage1.model.resolution == config.model.stage1_resolution
        for name, value in config.model.of_stage1().items():
            assert getattr(stage1.model, name) == value, name
    if chosen.encoder and full.requires.text_encoder:
        assert load_config(config.requires.text_encoder or "").model.text_dim == config.model.text_dim
    if chosen.similarity:
        similarity = load_config(chosen.similarity)
        assert similarity.requires.extractor == chosen.classifier
        assert similarity.requires.text_encoder == chosen.encoder["requires.text_encoder"]


@pytest.mark.parametrize("preset, cache", [("v2-cub", "cub"), ("v2-cub", "demo"), ("tiny-vs", "/data/birds.h5"), ("demo-vs", "demo")])
def test_runs_are_called_as_train_calls_them(preset: str, cache: str) -> None:
    from stackgan_cli.training.inputs import run_name

    assert tables.run_name(preset, cache) == run_name(preset, cache)
    assert tables.run_name(preset, cache, "tiny") == f"{run_name(preset, cache)}-tiny"


# -- what is run ----------------------------------------------------------------------------------------------------------------


class Commands(list[list[str]]):
    """Stands for the `stackgan` command: shows presets, says that everything has been trained, and gives every metric the value 3."""

    def __init__(self, root: Path, broken: str = "") -> None:
        super().__init__()
        self.root, self.broken = root, broken

    def __call__(self, *words: str) -> dict[str, Any]:
        self.append(list(words))
        if words[0] == "info":
            return {"dataset": "demo" if "demo" in words[1] else "cub"}
        if words[0] == "presets":
            return load_config(words[-1]).model_dump(mode="json")
        if self.broken and self.broken in " ".join(words):
            raise tables.Failed("it diverged", 7)
        if words[0] == "train":
            cache = next(word.partition("=")[2] for word in words if word.startswith("data.cache="))
            name = words[words.index("--name") + 1] if "--name" in words else tables.run_name(words[2], cache)
            (self.root / "runs" / name / "weights").mkdir(parents=True)
            (self.root / "runs" / name / "weights" / "latest.safetensors").touch()
            return {}
        metrics = [words[i + 1] for i, word in enumerate(words) if word == "--metric"]
        protocol = {"name": "default", "seed": 0, "n_fake": 100}
        return {
            "results": [{"metric": name, "title": name, "value": 3.0, "std": 0.5, "step": 20, "protocol": protocol} for name in metrics]
        }

    def of(self, verb: str) -> list[list[str]]:
        return [words for words in self if words[0] == verb]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STACKGAN_HOME", str(tmp_path))
    (tmp_path / "caches").mkdir()
    (tmp_path / "caches" / "demo.h5").touch()
    return tmp_path


def test_a_stage1_is_trained_before_what_continues_it_and_only_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = Commands(home)
    monkeypatch.setattr(tables, "stackgan", commands)
    found, failures = tables.fill(TABLES["4"], workshop(caches={"cub": "demo"}, overrides={"train.epochs": "2", "train.seed": "5"}))
    assert not failures
    assert len(found) == 10
    names = [words[words.index("--name") + 1] for words in commands.of("train") if "--name" in words]
    assert names[:2] == ["v1-table4-64-noca-demo-tiny", "v1-table4-64-ca-demo-tiny"]
    assert len(names) == len(set(names)) == 10
    once = next(words for words in commands.of("train") if "v1-table4-128-ca-once" in words)
    assert {"requires.stage1=v1-table4-64-ca-demo-tiny", "model.resolution=64", "train.epochs=2", "train.seed=5"} <= set(once)
    assert not any(word.startswith("train.steps=") for word in once)
    for words in commands.of("evaluate"):
        assert words[words.index("--extractor") + 1] == "classifier:tiny-classifier-demo"


def test_nothing_is_trained_unless_asked_for(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    commands = Commands(home)
    monkeypatch.setattr(tables, "stackgan", commands)
    assert tables.main(["hdgan-2", "--cache", "demo", "--run", "hdgan=mine", "--metric-args", "--extractor export:net.pt2"]) == 0
    assert not commands.of("train")
    sides = [words[words.index("--scale") + 1] for words in commands.of("evaluate")]
    assert sides == ["64", "128", "256"]
    assert all(words[1] == "mine" and words[-2:] == ["--extractor", "export:net.pt2"] for words in commands.of("evaluate"))
    shown = capsys.readouterr().out
    assert "3.46 ± .04 | 3.00 ± .50 | 3.85 ± .04 | 3.00 ± .50" in shown
    assert "No runs of: v1-64, v1-128, v1-256." in shown
    assert "Runs: mine (20 steps)." in shown
    assert "Scale" not in shown  # nobody knows at which it was trained
    assert "demo stands for cub" in shown


def test_metrics_of_a_run_are_measured_together_and_undivided_datasets_whole(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands = Commands(home)
    monkeypatch.setattr(tables, "stackgan", commands)
    found, _ = tables.fill(TABLES["3"], workshop(caches={"cub": "demo", "lsun-church": "demo"}, count=50))
    assert len(found) == 8
    evaluated = {words[1]: words for words in commands.of("evaluate")}
    assert list(evaluated) == [
        *("v1-stage2-demo-tiny", "v1-stage2-lsun-church-demo-tiny", "v2-cub-demo-tiny", "v2-lsun-church-demo-tiny"),
    ]
    assert evaluated["v2-cub-demo-tiny"][2:8] == ["--metric", "fid", "--metric", "is", "--count", "50"]
    assert "--split" not in evaluated["v2-cub-demo-tiny"]
    church = evaluated["v2-lsun-church-demo-tiny"]
    assert church[church.index("--split") + 1] == "all"


def test_instruments_are_made_when_they_are_needed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def trained(scale: str, cache: str, words: list[str]) -> tuple[list[str], list[str]]:
        commands = Commands(home / f"{scale}-{cache}")
        monkeypatch.setattr(tables, "stackgan", commands)
        (commands.root / "caches").mkdir(parents=True)
        (commands.root / "caches" / f"{cache}.h5").touch()
        monkeypatch.setenv("STACKGAN_HOME", str(commands.root))
        options = workshop(scale, suffix="", caches={"cub": cache}, metric_words=words).instruments(MODELS["v2"], ["vs-similarity"])
        return [" ".join(found[2:]) for found in commands.of("train")], options

    tiny = ["tiny-classifier data.cache=birds model.label=class data.split=test", "tiny-vs data.cache=birds"]
    assert trained("tiny", "birds", []) == (tiny, ["--joint", "tiny-vs-birds"])
    assert trained("full", "birds", []) == (["vs-similarity data.cache=birds"], ["--joint", "vs-similarity-birds"])
    assert trained("full", "demo", []) == (["demo-vs data.cache=demo"], ["--joint", "demo-vs"])
    assert trained("small", "demo", ["--joint=mine"]) == ([], [])


def test_a_failure_costs_one_cell_and_is_the_exit_code(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tables, "stackgan", Commands(home, broken="3g3"))
    assert tables.main(["5", "--cache", "demo", "--scale", "tiny", "--train", "--json"]) == 7
    document = json.loads(capsys.readouterr().out)
    ours = {cell["model"]: cell["ours"] for cell in document["cells"]}
    assert [key for key, line in ours.items() if line is None] == ["3g3"]
    assert ours["v2"]["value"] == 3.0
    assert "Failed: 3g3: it diverged." in document["notes"]


def test_a_dataset_that_is_not_here_stays_empty(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    commands = Commands(home)
    monkeypatch.setattr(tables, "stackgan", commands)
    assert tables.main(["2", "--train"]) == 0
    assert not commands
    shown = capsys.readouterr().out
    assert "Not prepared here: cub, oxford-102, coco." in shown
    assert "rank-study" in shown


@pytest.mark.parametrize("words", [["6"], [], ["5", "--run", "v3=x"], ["5", "--set", "steps"], ["5", "--cache", "moon=demo"]])
def test_a_wrong_command_line_is_a_usage_error(words: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        tables.main(words)
    assert stopped.value.code == 2


# -- layout ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TABLES)
def test_markdown_has_one_width_and_a_column_of_ours_where_there_is_a_model(name: str) -> None:
    table = TABLES[name]
    lines = tables.markdown(table, {}).splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines]
    assert len({len(line) for line in lines}) == 1
    assert len(lines) == 2 + len(table.rows)
    with_model = sum(any(row[i].model for _, row in table.rows) for i in range(len(table.columns)))
    assert [word.strip() for word in rows[0]].count("ours") == with_model
    assert re.fullmatch(r"[|\- ]+", lines[1])


def test_figures_are_printed_as_the_papers_print_them() -> None:
    line = {"value": 4.0449, "std": 0.0512, "real": 0.302, "real_std": 0.1514}
    assert tables.figure(published.Cell("", "v2", "is"), line) == "4.04 ± .05"
    assert tables.figure(published.Cell("", "v2", "fid"), {**line, "std": None}) == "4.04"
    assert tables.figure(published.Cell("", "hdgan", "vs-similarity", of="real"), line) == "0.302 ± .151"
    assert tables.figure(published.Cell("", "hdgan", "vs-similarity", of="real"), {"value": 1.0, "std": 0.1}) == "-"
    assert tables.figure(published.Cell("", "v2", "is"), {"value": 12.0, "std": 1.5}) == "12.00 ± 1.50"


# -- from nothing ---------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_tables_from_nothing_on_drawn_birds(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STACKGAN_HOME", str(workspace.root))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    words = [sys.executable, str(EXAMPLES / "tables.py"), "5", "--cache", "demo", "--scale", "tiny", "--train", "--set", "train.steps=4"]
    done = subprocess.run([*words, "--json"], cwd=EXAMPLES.parent, env=os.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for cell in json.loads(done.stdout)["cells"]:
        ours = cell["ours"]
        assert 0.999 < ours["value"] <= 8  # as many as there are colours of bodies
        assert (ours["step"], ours["protocol"]["n_fake"], ours["protocol"]["extractor"]) == (4, 100, "classifier")
    alone = replace(TABLES["4"], rows=TABLES["4"].rows[:2])  # 64 px
    found, failures = tables.fill(alone, workshop(caches={"cub": "demo"}, overrides={"train.steps": "4"}, count=40))
    assert not failures
    assert [line["run"] for line in found.values()] == ["v1-table4-64-noca-demo-tiny", "v1-table4-64-ca-demo-tiny"]
    shown = tables.markdown(alone, found)
    assert re.search(r"64x64 Stage-I \| yes \| - +\| 2\.95 ± \.02 \| \d\.\d\d ± \.\d\d ", shown)
    assert all((workspace.runs / line["run"] / "metrics.jsonl").is_file() for line in found.values())
