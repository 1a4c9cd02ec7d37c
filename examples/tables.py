"""Recompute a table of the papers: the values of your own models beside the published ones.

    python examples/tables.py --list                                        list the tables; `5 --list` lists the models of table 5
    python examples/tables.py 5 --cache demo --scale tiny --train           train what is missing, measure, print
    python examples/tables.py hdgan-2 --run hdgan=my-run                    measure runs that exist
    python examples/tables.py 3 --cache birds --cache lsun-church=churches --scale small --train --set train.steps=4000

Every step is a `stackgan` command, which is printed before it is run. Caches and runs are in $STACKGAN_HOME, else in the current folder. A
run has the name that `stackgan train` would give it, followed by the scale; an unfinished one is continued. A model without a run has
the value `-`.
The tables are in published.py, the scales in scales.py. The images of a cache must be large enough: 304 px at `full` and for HDGAN,
152 px for StackGAN at `small` and StackGAN-v1 at `tiny`, 76 px for StackGAN-v2 at `tiny`.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from published import FINE_TUNED, MODELS, TABLES, Cell, Model, Table
from scales import SCALES, Scale, changes

DIGITS = {"fid": 2, "fid-64": 2, "is": 2, "is-64": 2, "ms-ssim": 3, "vs-similarity": 3}
WITHOUT_EXTRACTOR = {"ms-ssim", "vs-similarity"}
INTERRUPTED = (130, 143)


class Failed(Exception):
    """A `stackgan` command failed; it has printed the reason."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def stackgan(*words: str) -> dict[str, Any]:
    """Run a command and return its result. Raises Failed, or SystemExit when it was interrupted (after saving)."""
    print("$ stackgan", shlex.join(words), file=sys.stderr, flush=True)
    with subprocess.Popen([sys.executable, "-m", "stackgan_cli", *words, "--json"], stdout=subprocess.PIPE, text=True) as process:
        try:
            output = process.communicate()[0]
        except KeyboardInterrupt:  # the command got the signal too, and is saving
            process.wait()
            raise SystemExit(130) from None
    if process.returncode in INTERRUPTED:
        raise SystemExit(process.returncode)
    document: dict[str, Any] = json.loads(output) if output.startswith("{") else {}
    if process.returncode or "result" not in document:
        error = document.get("error", {})
        said = [text for text in (error.get("message"), error.get("hint")) if text]
        raise Failed("; ".join(said) or f"exit code {process.returncode}", process.returncode or 1)
    result: dict[str, Any] = document["result"]
    return result


def run_name(preset: str, cache: str, suffix: str = "") -> str:
    """The name that `stackgan train` gives to the run of a preset on a cache, followed by the suffix."""
    dataset = Path(cache).stem
    return "-".join([preset, *([] if dataset in preset.split("-") else [dataset]), *([suffix] if suffix else [])])


def as_words(overrides: dict[str, Any]) -> list[str]:
    """Overrides as `key=value` arguments."""
    return [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in overrides.items()]


@dataclass
class Workshop:
    """Finds, trains and measures the models of a table."""

    scale: Scale
    suffix: str
    train: bool
    caches: dict[str, str]
    """Dataset to the cache that stands for it, where their names differ."""
    runs: dict[str, str]
    overrides: dict[str, str]
    metric_words: list[str]
    count: int | None
    trained: set[str] = field(default_factory=set)
    datasets: dict[str, str] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        return Path(os.environ.get("STACKGAN_HOME") or ".").expanduser()

    @property
    def given(self) -> set[str]:
        """Options of `evaluate` that the user gave."""
        return {word.partition("=")[0] for word in self.metric_words}

    def cache_of(self, model: Model) -> str:
        return self.caches.get(model.dataset, model.dataset)

    def has_cache(self, model: Model) -> bool:
        cache = self.cache_of(model)
        return Path(cache).is_file() or (self.root / "caches" / f"{cache}.h5").is_file()

    def has_weights(self, run: str) -> bool:
        return (self.root / "runs" / run / "weights" / "latest.safetensors").is_file()

    def run_of(self, key: str) -> str:
        """The name of a model's run, whether it exists or not."""
        return self.runs.get(key) or run_name(MODELS[key].preset, self.cache_of(MODELS[key]), self.suffix)

    def subject(self, key: str) -> str | None:
        """The run to measure for a model, trained first if that was asked for; None if there is none."""
        name = self.run_of(key)
        if key not in self.runs and self.train and self.has_cache(MODELS[key]):
            self._train(MODELS[key].preset, self.cache_of(MODELS[key]))
        return name if key in self.runs or self.has_weights(name) else None

    def _train(self, preset: str, cache: str) -> str:
        """Train or continue the run of a preset, after the run of its Stage-I; returns its name."""
        name = run_name(preset, cache, self.suffix)
        if name not in self.trained:
            config = stackgan("presets", "show", preset)
            overrides = {**changes(config, self.scale), "data.cache": cache, **self.overrides}
            if "train.epochs" in self.overrides:
                overrides.pop("train.steps", None)
            stage1 = config["requires"]["stage1"]
            if stage1:
                overrides["requires.stage1"] = self._train(stage1, cache)
            stackgan("train", "--preset", preset, "--name", name, *as_words(overrides))
            self.trained.add(name)
        return name

    def _instrument(self, preset: str, cache: str, overrides: dict[str, Any]) -> str | None:
        """The run of a classifier or similarity on a cache, trained first if that was asked for; None if there is none."""
        name = run_name(preset, cache)
        if self.train and name not in self.trained:
            stackgan("train", "--preset", preset, *as_words({"data.cache": cache, **overrides}))
            self.trained.add(name)
        return name if self.has_weights(name) else None

    def instruments(self, model: Model, metrics: Sequence[str]) -> list[str]:
        """Options of `evaluate`: one classifier and one similarity for all cells of a dataset; without them `evaluate` chooses."""
        cache, given = self.cache_of(model), self.given
        if not self.has_cache(model):
            return []
        if cache not in self.datasets:
            self.datasets[cache] = stackgan("info", cache)["dataset"]
        drawn = self.datasets[cache] == "demo"
        words: list[str] = []
        seen = bool({*metrics} - WITHOUT_EXTRACTOR) and not {"--extractor", "--protocol"} & given
        judged = "vs-similarity" in metrics and "--joint" not in given
        if (drawn or model.dataset in FINE_TUNED) and (
            seen or (judged and self.scale.similarity)
        ):  # the similarity of a scale uses its features
            preset = self.scale.classifier or ("demo-classifier" if drawn else "classifier")
            changed = {} if drawn or not self.scale.classifier else {"model.label": "class", "data.split": "test"}
            run = self._instrument(preset, cache, changed)
            words += ["--extractor", f"classifier:{run}"] if run and seen else []
        if judged:
            run = self._instrument(self.scale.similarity or ("demo-vs" if drawn else "vs-similarity"), cache, {})
            words += ["--joint", run] if run else []
        return words

    def measure(self, key: str, metrics: Sequence[str], side: int | None) -> dict[str, dict[str, Any]]:
        """Metric to the result of `evaluate` for a model; empty if it has no run."""
        subject = self.subject(key)
        if subject is None:
            return {}
        model = MODELS[key]
        words = ["evaluate", subject, *(word for metric in metrics for word in ("--metric", metric))]
        words += [] if side is None else ["--scale", str(side)]
        words += [] if {"--split", "--protocol"} & self.given or model.split == "test" else ["--split", model.split]
        words += [] if self.count is None else ["--count", str(self.count)]
        result = stackgan(*words, *self.instruments(model, metrics), *self.metric_words)
        return {line["metric"]: {**line, "run": subject} for line in result["results"]}


def fill(table: Table, workshop: Workshop) -> tuple[dict[Cell, dict[str, Any]], dict[str, Failed]]:
    """The result for every cell that could be measured, and the models that failed; a failure does not stop the others."""
    wanted: dict[tuple[str, int | None], list[Cell]] = {}
    for cell in (cell for _, row in table.rows for cell in row if cell.model):
        wanted.setdefault((cell.model, cell.side), []).append(cell)
    found: dict[Cell, dict[str, Any]] = {}
    failures: dict[str, Failed] = {}
    for (key, side), group in wanted.items():
        try:
            lines = workshop.measure(key, list(dict.fromkeys(cell.metric for cell in group)), side)
        except Failed as failure:
            failures[key] = failure
            continue
        found |= {cell: lines[cell.metric] for cell in group if cell.metric in lines}
    return found, failures


def figure(cell: Cell, line: dict[str, Any] | None) -> str:
    """A value of ours in the style of the papers: `4.04 ± .05`; `-` if there is none."""
    value = None if line is None else line.get(cell.of)
    if line is None or value is None:
        return "-"
    digits = DIGITS[cell.metric]
    spread = line.get("std" if cell.of == "value" else f"{cell.of}_std")
    return f"{value:.{digits}f}" + ("" if spread is None else f" ± {f'{spread:.{digits}f}'.removeprefix('0')}")


def markdown(table: Table, found: dict[Cell, dict[str, Any]]) -> str:
    """The table in the paper's layout, with our values in a column beside each published column that one of our models belongs to."""
    ours = [any(row[column].model for _, row in table.rows) for column in range(len(table.columns))]
    lines = [[*table.labels]]
    for name, own in zip(table.columns, ours, strict=True):
        lines[0] += [name, "ours"] if own else [name]
    for labels, row in table.rows:
        lines.append([*labels])
        for cell, own in zip(row, ours, strict=True):
            lines[-1] += [cell.published, figure(cell, found.get(cell))] if own else [cell.published]
    widths = [max(3, *(len(line[column]) for line in lines)) for column in range(len(lines[0]))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)) + " |" for line in lines)


def judge(line: dict[str, Any]) -> str:
    """The network that compared images with captions, as a remark."""
    joint = line["protocol"].get("joint_space")
    return f" (judged by {joint['file']})" if joint else ""


def notes(table: Table, found: dict[Cell, dict[str, Any]], failures: dict[str, Failed], size: str, workshop: Workshop) -> list[str]:
    """The notes under the table: how our values were computed, what is missing, and what cannot be compared."""
    said = []
    if found:
        how = [f"{line['title']}{judge(line)} of {line['protocol']['n_fake']:,} images" for line in found.values()]
        protocols = dict.fromkeys(f"protocol {line['protocol']['name']}, seed {line['protocol']['seed']}" for line in found.values())
        runs = dict.fromkeys(f"{line['run']}" + (f" ({line['step']:,} steps)" if "step" in line else "") for line in found.values())
        said.append(f"Ours: {'; '.join(dict.fromkeys(how))}; {', '.join(protocols)}.")
        said.append(f"Runs: {', '.join(runs)}.")
        said += [size] if size and any(cell.model not in workshop.runs for cell in found) else []
        said.append(
            "Values of another scale, dataset, extractor or number of images are not comparable: "
            "ours can be compared with the published ones only if all four are those of the papers."
        )
    missing = [cell for _, row in table.rows for cell in row if cell.model and cell not in found]
    stand_ins = {MODELS[cell.model].dataset: MODELS[cell.model] for cell in [*found, *missing]}
    changed = [f"{name} stands for {dataset}" for dataset, name in workshop.caches.items() if dataset in stand_ins and name != dataset]
    said += [f"Datasets: {', '.join(changed)}."] if changed else []
    absent = [workshop.cache_of(model) for model in stand_ins.values() if not workshop.has_cache(model)]
    said += [f"Not prepared here: {', '.join(dict.fromkeys(absent))}."] if absent else []
    for reason in dict.fromkeys(str(failure) for failure in failures.values()):
        said.append(f"Failed: {', '.join(key for key, failure in failures.items() if str(failure) == reason)}: {reason}.")
    names = dict.fromkeys(cell.model for cell in missing if cell.model not in failures and workshop.has_cache(MODELS[cell.model]))
    if names:
        said.append(f"No runs of: {', '.join(names)}. Train them with --train, or name them with --run MODEL=RUN.")
    if any("HR" in labels for labels, _ in table.rows):
        said.append(
            "HR, the mean rank given by people: `stackgan rank-study make` makes the page of your own study, `score` reads the answers."
        )
    return said


def listing(keys: list[str], workshop: Workshop) -> str:
    """The tables, or the models of some of them: the name for `--run`, the preset, and the run in this workspace."""
    lines = []
    for key in keys or TABLES:
        lines.append(f"{key:<8} {TABLES[key].title}")
        for model in dict.fromkeys(cell.model for _, row in TABLES[key].rows for cell in row if cell.model) if keys else ():
            state = "" if workshop.has_weights(workshop.run_of(model)) else " (not here)"
            lines.append(f"  {model:<20} {MODELS[model].preset:<26} {workshop.run_of(model)}{state}")
    return "\n".join(lines)


def pairs(words: Sequence[str], parser: argparse.ArgumentParser, default: str = "", known: Sequence[str] = ()) -> dict[str, str]:
    """`KEY=VALUE` words as a dictionary; a word without a key gets the default key."""
    found = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            key, value = default, word
        if not key or (known and key not in known):
            parser.error(f"{word!r} names none of {', '.join(known)}" if known else f"{word!r} is not of the form key=value")
        found[key] = value
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code: 0, or that of the first command that failed."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", nargs="?", choices=[*TABLES], metavar="TABLE", help=f"one of {', '.join(TABLES)}")
    parser.add_argument("--scale", choices=[*SCALES], default="full", help="size of the models to train (default: full)")
    parser.add_argument("--train", action="store_true", help="train missing models, and continue unfinished ones")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="configuration key to change in training; may be repeated"
    )
    datasets = sorted({model.dataset for model in MODELS.values()})
    parser.add_argument("--cache", action="append", default=[], metavar="[DATASET=]CACHE", help="cache to use for a dataset (default: cub)")
    parser.add_argument(
        "--run", action="append", default=[], metavar="MODEL=RUN", help="run, weights file or folder of images to measure for a model"
    )
    parser.add_argument("--suffix", help="last part of the names of runs (default: the scale; nothing at full)")
    parser.add_argument("--count", type=int, help="number of images to measure (default: the scale's; at full that of `evaluate`)")
    parser.add_argument(
        "--metric-args", default="", metavar="'...'", help="further options of `stackgan evaluate`, such as '--extractor ...'"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    parser.add_argument("--list", action="store_true", help="list the tables; with TABLE, its models")
    options = parser.parse_args(argv)
    scale = SCALES[options.scale]
    workshop = Workshop(
        scale,
        suffix=options.suffix if options.suffix is not None else "" if options.scale == "full" else options.scale,
        train=options.train,
        caches=pairs(options.cache, parser, "cub", datasets),
        runs=pairs(options.run, parser, known=[*MODELS]),
        overrides=pairs(options.set, parser),
        metric_words=shlex.split(options.metric_args),
        count=scale.count if options.count is None else options.count,
    )
    if options.list:
        print(listing([options.table] if options.table else [], workshop))
        return 0
    if options.table is None:
        parser.error("name a table, or --list them")
    table = TABLES[options.table]
    found, failures = fill(table, workshop)
    size = f"Scale {options.scale}: {scale.summary}{''.join(f', {word}' for word in options.set if options.train)}."
    said = notes(table, found, failures, size if options.train or options.suffix is None else "", workshop)
    if options.json:
        entries = [
            {"row": labels, "column": name, "published": cell.published, "model": cell.model, "of": cell.of, "ours": found.get(cell)}
            for labels, row in table.rows
            for name, cell in zip(table.columns, row, strict=True)
        ]
        print(json.dumps({"table": options.table, "title": table.title, "scale": options.scale, "cells": entries, "notes": said}))
    else:
        print(f"{table.title}\n\n{markdown(table, found)}\n\n" + "\n\n".join(said))
    return next((failure.code for failure in failures.values()), 0)


if __name__ == "__main__":
    sys.exit(main())
