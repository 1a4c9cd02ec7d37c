"""`stackgan evaluate` at the smallest size, through the real `main()`: what it measures, what it writes down, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from picture_files import folder_of, pictures
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_verbs import Shell

from stackgan_cli.__main__ import main
from stackgan_cli.data.cache import Cache
from stackgan_cli.data.stores import centre_views
from stackgan_cli.runtime import World
from stackgan_cli.workflows.evaluate import Evaluator, Settings
from stackgan_cli.workflows.reporter import SILENT
from stackgan_cli.workspace import Workspace

EVERYTHING = "fid,fid-64,is,is-64,kid,precision-recall,ms-ssim,vs-similarity,r-precision"
CLASSIFIER = "features of classifier tiny-classifier-demo"
NO_TEXT = "requires.text_encoder=null"
"""The workspace has vectors of an encoder already."""
TRAININGS = (
    ["tiny-classifier", "train.steps=40", "train.tick_steps=40"],
    ["tiny-vs", NO_TEXT, "train.steps=4", "train.tick_steps=4"],
    ["tiny-encoder", "train.steps=2", "train.tick_steps=2"],
    ["tiny-v2", "--name", "free", "model.condition=none", "model.wrong_pairs=none", NO_TEXT, "train.steps=2", "train.tick_steps=2"],
    ["tiny-v2", "--name", "labels", "model.condition=class", "model.num_classes=50", NO_TEXT, "train.steps=2", "train.tick_steps=2"],
    ["tiny-stage1", "--name", "words", "train.steps=12", "train.optim.lr=0.02", "train.tick_steps=6"],
)


class Means(torch.nn.Module):
    """Mean colours, and no classes."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.float().mean([2, 3]) / 255


@pytest.fixture(scope="module")
def trained(_prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prepared workspace with a run of every kind; `words` is the newest."""
    root = tmp_path_factory.mktemp("trained") / "workspace"
    shutil.copytree(_prepared, root)
    for words in TRAININGS:
        assert main(["train", "--preset", *words, "--device", "cpu", "--workspace", str(root), "--quiet"]) == 0
    return root


@pytest.fixture
def shell(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    shutil.copytree(trained, tmp_path / "workspace")
    capsys.readouterr()
    return Shell(Workspace(tmp_path / "workspace"), capsys)


def measure(shell: Shell, *words: str) -> dict[str, dict[str, Any]]:
    """The results by metric."""
    return {result["metric"]: result for result in shell.ok("evaluate", *words, "--device", "cpu")["results"]}


def lines_of(shell: Shell, run: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (shell.workspace.runs / run / "metrics.jsonl").read_text().splitlines()]


def real_ones(shell: Shell, folder: Path, split: str = "test") -> Path:
    cache = Cache.open(shell.workspace.cache_path("demo"))
    return folder_of(centre_views(cache, cache.rows(split), 32), folder)


# -- what is measured -------------------------------------------------------------------------------------------------------


def test_the_newest_run_after_sample(shell: Shell) -> None:
    shell.ok("sample", "--count", "1")
    result = measure(shell, "--metric", "fid")["fid"]
    assert result["title"] == f"FID ({CLASSIFIER})" and result["value"] > 0 and result["step"] == 12
    protocol = result["protocol"]
    assert (protocol["name"], protocol["extractor"], protocol["n_real"], protocol["n_fake"]) == ("default", "classifier", 20, 200)
    assert len(protocol["sha256"]) == 64 and protocol["resize"] == "none" and protocol["seed"] == 0
    assert protocol["real"]["split"] == "test" and protocol["fake"]["captions"] == "200 of the 200 of demo, split test"
    assert protocol["fake"]["weights"].endswith("words/weights/latest.safetensors")
    assert lines_of(shell, "words") == [result]
    assert main(["evaluate", "--workspace", str(shell.workspace.root), "--device", "cpu"]) == 0
    out, err = shell.capsys.readouterr()
    assert out.startswith(f"FID ({CLASSIFIER})  ") and "measuring words" in err and "fewer images than dimensions" in err
    assert len(lines_of(shell, "words")) == 2


def test_every_metric_of_a_run_in_the_envelope(shell: Shell) -> None:
    words = ["evaluate", "words", "--metric", EVERYTHING, "--count", "120", "--seed", "3", "--json", "--device", "cpu"]
    assert main([*words, "--workspace", str(shell.workspace.root)]) == 0
    document = json.loads(shell.capsys.readouterr().out)
    assert (document["command"], document["ok"]) == ("evaluate", True) and any("FID*" in text for text in document["warnings"])
    results = {result["metric"]: result for result in document["result"]["results"]}
    assert list(results) == EVERYTHING.split(",")
    for name, result in results.items():
        assert (result["protocol"]["n_fake"], result["protocol"]["seed"], result["step"]) == (120, 3, 12)
        assert (CLASSIFIER in result["title"]) == (name not in ("ms-ssim", "vs-similarity", "r-precision"))
    assert results["fid-64"]["protocol"]["first_resized_to"] == 64 and results["fid"]["protocol"]["first_resized_to"] is None
    assert results["fid"]["value"] != results["fid-64"]["value"] > 0
    assert results["is"]["value"] >= 1 and results["is"]["protocol"]["splits"] == 10
    assert 0 <= results["precision-recall"]["precision"] <= 1 and results["kid"]["protocol"]["subset_size"] == 20
    assert 0 < results["ms-ssim"]["class_wise"] <= 1 and results["ms-ssim"]["classes"] == 10
    assert -1 <= results["vs-similarity"]["value"] <= 1 and results["vs-similarity"]["n_real"] == 20
    for name in ("vs-similarity", "r-precision"):
        assert results[name]["protocol"]["joint_space"]["kind"] == "vs-similarity"
    assert 0 <= results["r-precision"]["value"] <= 0.2

    file = str(shell.workspace.runs / "words" / "weights" / "latest.safetensors")
    again = measure(shell, file, "--metric", "fid,vs-similarity", "--count", "120", "--seed", "3")
    assert again["fid"]["value"] == results["fid"]["value"] and again["vs-similarity"]["value"] == results["vs-similarity"]["value"]
    by_encoder = measure(shell, "words", "--metric", "r-precision", "--joint", "tiny-encoder-demo")["r-precision"]
    assert by_encoder["protocol"]["joint_space"]["kind"] == "char-cnn-rnn"


def test_folders_caches_and_statistics_are_measured_alike(shell: Shell, tmp_path: Path) -> None:
    real = real_ones(shell, tmp_path / "real")
    same = measure(shell, str(real), "demo:test", "--metric", "fid,kid,precision-recall,is")
    assert same["fid"]["value"] == pytest.approx(0, abs=1e-6) and same["fid"]["title"] == f"FID ({CLASSIFIER})"
    assert (same["precision-recall"]["precision"], same["precision-recall"]["recall"]) == (1, 1)
    assert "step" not in same["fid"] and same["fid"]["protocol"]["fake"] == {"images": str(real), "sizes": ["32x32"]}
    other = measure(shell, str(real), "--cache", "demo", "--split", "train")["fid"]
    assert other["value"] > 1e-4 and other["protocol"]["n_real"] == 80
    assert measure(shell, "demo:train", "demo:test", "--scale", "32")["fid"]["value"] == pytest.approx(other["value"])

    kept = tmp_path / "kept.npz"
    assert shell.ok("evaluate", "demo:train", "--scale", "32", "--save-statistics", str(kept)) == {"results": [], "statistics": str(kept)}
    by_file = measure(shell, str(real), str(kept), "--extractor", "classifier:tiny-classifier-demo")["fid"]
    assert by_file["value"] == pytest.approx(other["value"]) and by_file["protocol"]["n_real"] == 80
    assert by_file["protocol"]["real"]["statistics"] == str(kept) and by_file["protocol"]["real"]["split"] == "train"

    noise = folder_of(pictures(20), tmp_path / "noise")
    two = measure(shell, str(noise), str(real), "--extractor", "classifier:tiny-classifier-demo", "-m", "fid", "-m", "ms-ssim")
    assert two["fid"]["value"] > 10 * other["value"] and two["ms-ssim"]["protocol"]["pictures"] == 20
    assert not (shell.workspace.runs / "words" / "metrics.jsonl").exists()


def test_a_curve_over_training(shell: Shell) -> None:
    pattern = str(shell.workspace.runs / "words" / "weights" / "*")
    words = ["evaluate", "--weights", pattern, "--metric", "fid,is", "--count", "60", "--device", "cpu"]
    assert main([*words, "--workspace", str(shell.workspace.root)]) == 0
    rows = [line.split() for line in shell.capsys.readouterr().out.splitlines()]
    lines = lines_of(shell, "words")
    assert rows[0] == ["step", "fid", "is"] and [row[0] for row in rows[1:]] == ["6", "12"]
    assert [(line["metric"], line["step"]) for line in lines] == [("fid", 6), ("is", 6), ("fid", 12), ("is", 12)]
    assert [row[1] for row in rows[1:]] == [f"{line['value']:.4g}" for line in lines[::2]] and lines[0]["value"] != lines[2]["value"]
    assert measure(shell, "words", "--count", "60")["fid"]["value"] == lines[2]["value"]
    several = shell.ok("evaluate", "--weights", "runs/[fw]*/weights/step-*12*", "--metric", "is", "--count", "20")
    assert [result["step"] for result in several["results"]] == [12]  # as seen from the workspace


def test_models_without_captions(shell: Shell) -> None:
    labels = measure(shell, "labels", "--metric", "fid,ms-ssim", "--count", "100", "--scale", "16")
    assert labels["fid"]["protocol"]["fake"]["labels"] == "all classes in turn" and labels["ms-ssim"]["classes"] == 50
    assert (labels["fid"]["protocol"]["fake"]["image_side"], labels["fid"]["protocol"]["real"]["image_side"]) == (16, 16)
    free = measure(shell, "free", "--metric", "fid,is", "--count", "40")
    assert free["fid"]["protocol"]["n_fake"] == 40 and "captions" not in free["fid"]["protocol"]["fake"]
    shell.workspace.cache_path("demo").unlink()
    words = ["free", "--count", "40", "--extractor", "classifier:tiny-classifier-demo"]
    assert measure(shell, *words, "--metric", "is")["is"]["value"] == free["is"]["value"]
    assert shell.fails("evaluate", *words, "--metric", "fid")[0] == 2


def test_files_of_other_kinds_are_made_rgb_and_that_is_written_down(shell: Shell, tmp_path: Path) -> None:
    folder = folder_of(pictures(4), tmp_path / "mixed")
    Image.new("L", (20, 30), 200).save(folder / "grey.png")
    Image.new("RGBA", (32, 32), (255, 0, 0, 0)).save(folder / "clear.png")
    fake = measure(shell, str(folder), "demo:test", "--metric", "fid")["fid"]["protocol"]["fake"]
    assert fake == {"images": str(folder), "sizes": ["20x30", "32x32"], "converted_to_rgb": 2}


def test_a_collapsed_generator_is_shown_as_such(shell: Shell, tmp_path: Path) -> None:
    """The weights that noise and caption enter by are zero: one picture for every input."""
    source = shell.workspace.runs / "words" / "weights" / "latest.safetensors"
    with safe_open(source, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(source)
    tensors["generator.fc.0.weight"] = torch.zeros_like(tensors["generator.fc.0.weight"])
    collapsed = tmp_path / "collapsed.safetensors"
    save_file(tensors, collapsed, metadata=metadata)
    found = measure(shell, str(collapsed), "--metric", "ms-ssim,precision-recall,is,fid")
    assert found["ms-ssim"]["value"] > 0.9999 and found["ms-ssim"]["class_wise"] > 0.9999
    assert found["precision-recall"]["recall"] == 0 and found["is"]["value"] == pytest.approx(1, abs=1e-3)
    whole = measure(shell, "demo:train", "demo:test", "--scale", "32", "--metric", "ms-ssim,precision-recall,is,fid")
    assert whole["ms-ssim"]["value"] < 0.8 and whole["precision-recall"]["recall"] > 0.5 and whole["is"]["value"] > 1.05
    assert found["fid"]["value"] > 3 * whole["fid"]["value"]
    mapped = shell.ok("tsne", "--weights", str(collapsed), "--extractor", "pixels", "--count", "20", "--perplexity", "5")
    assert mapped["generated"]["repeats"] == {"groups": 1, "images": 20, "sizes": [20]} and mapped["real"]["repeats"]["groups"] == 0


# -- protocols --------------------------------------------------------------------------------------------------------------


def test_a_protocol_and_a_changed_one(shell: Shell, tmp_path: Path) -> None:
    words = ["words", "--protocol", "stackgan-is", "--extractor", "classifier:tiny-classifier-demo", "--count", "70", "--metric", "is"]
    result = measure(shell, *words)["is"]
    assert result["protocol"]["name"] == "stackgan-is, with other extractor, count"
    assert result["protocol"]["n_fake"] == 64 and result["protocol"]["resize"] == "pil-bilinear"
    code, err = shell.fails("evaluate", "words", "--protocol", "stackgan-is", "--metric", "is", "--count", "64", "--device", "cpu")
    assert code == 2 and "finetuned:FILE" in err, "another network under the same name would not be comparable"
    means = tmp_path / "means.pt"
    torch.jit.script(Means()).save(str(means))
    folder = folder_of(pictures(12), tmp_path / "folder")
    result = measure(shell, str(folder), "demo", "--protocol", "ttur", "--extractor", f"torchscript:{means}", "--trust")["fid"]
    assert result["protocol"]["name"] == "ttur, with other extractor, resize, count"
    assert result["title"] == "FID (features of torchscript means.pt)"


def test_what_a_protocol_is_called(tmp_path: Path) -> None:
    def name(protocol: str, **changes: Any) -> str:
        settings = Settings(**{"protocol": protocol, **changes})
        return Evaluator(Workspace(), SILENT, settings, [], torch.device("cpu"), World())._protocol().name

    assert name("ttur") == name("ttur", extractor="tf-inception-2015:somewhere.pth", count=30_000, split="test") == "ttur"
    assert name("clean", extractor="classifier:x") == "clean, with other extractor"
    assert name("cifar", split="test", splits=5) == "cifar, with other split, splits"
    assert name("default", extractor="classifier:x", count=5) == "default"


# -- bad input --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def bad(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """A folder to stand in, full of input that is not right."""
    folder_of(pictures(3), tmp_path / "few")
    mixed = folder_of(pictures(12), tmp_path / "mixed")
    Image.new("RGB", (20, 30)).save(mixed / "other.png")
    broken = folder_of(pictures(12), tmp_path / "broken")
    (broken / "003.png").write_bytes((broken / "003.png").read_bytes()[:200])
    folder_of(pictures(12), tmp_path / "folder")
    (tmp_path / "empty").mkdir()
    np.savez(tmp_path / "another.npz", mu=np.zeros(3), sigma=np.eye(3), manifest=json.dumps({"extractor": "tf-inception-2015"}))
    np.savez(tmp_path / "foreign.npz", mu=np.zeros(3), sigma=np.eye(3))
    (tmp_path / "junk.npz").write_bytes(b"junk")
    (tmp_path / "junk.pt").write_bytes(b"junk")
    torch.jit.script(Means()).save(str(tmp_path / "means.pt"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STACKGAN_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return shell


def test_what_cannot_be_measured_is_said(bad: Shell) -> None:
    mine = ["--extractor", "classifier:tiny-classifier-demo"]
    for words, code, expected in (
        (["few", "--metric", "is"], 4, "is needs at least 10 images, but there are 3"),
        (["few", "demo:test", "--metric", "precision-recall", *mine], 4, "precision-recall needs at least 4 images"),
        (["folder", "few", "--metric", "precision-recall", *mine], 4, "4 real images, but there are 3"),
        (["words", "--count", "5", "--metric", "is"], 4, "generate more with --count"),
        (["words", "--count", "50", "--metric", "r-precision"], 4, "r-precision needs at least 100"),
        (["mixed", "--metric", "ms-ssim"], 4, "several sizes"),
        (["empty", "demo:test"], 4, "no images in this folder"),
        (["folder", "empty", *mine], 4, "no images in this folder"),
        (["broken", "demo:test", *mine], 4, "broken/003.png: cannot be decoded"),
        (["folder", "another.npz", *mine], 5, "extractor: tf-inception-2015 there, classifier here"),
        (["folder", "foreign.npz", *mine], 5, "have 3 dimensions, but the extractor has 32"),
        (["folder", "foreign.npz", "--metric", "kid", "--extractor", "torchscript:means.pt", "--trust"], 4, "no feature vectors"),
        (["folder", "junk.npz", *mine], 4, "not a readable .npz"),
        (["foreign.npz"], 2, "a statistics file can only be the reference"),
        (["folder", "demo:test", "--extractor", "tf-inception-2015"], 6, "pt_inception-2015-12-05-6726825d.pth (95,628,359 bytes"),
        (["folder", "demo:test", "--extractor", "torchvision-inception"], 6, "inception_v3_google-0cc3c7bd.pth"),
        (["folder", "few"], 6, f"into {bad.workspace.extractors}"),
        (["free", "--metric", "vs-similarity", "--count", "20"], 2, "vs-similarity needs a caption for every image"),
        (["labels", "--metric", "r-precision", "--count", "200"], 2, "r-precision needs a caption"),
        (["folder", "--metric", "vs-similarity"], 2, "evaluate a model that generates images from captions"),
        (["words", "--metric", "is", "--extractor", "torchscript:means.pt", "--trust"], 2, "has no class probabilities"),
        (["words", "--metric", "fdi"], 2, "did you mean 'fid'"),
        (["words", "--metric", ","], 2, "no metric was given"),
        (["words", "--protocol", "cleen"], 2, "did you mean 'clean'"),
        (["words", "--extractor", "torchscrip:x"], 2, "did you mean 'torchscript'"),
        (["words", "--extractor", "torchscript:means.pt"], 2, "is a program"),
        (["words", "--extractor", "torchscript:nowhere.pt"], 2, "no such file"),
        (["words", "--extractor", "torchscript:junk.pt", "--trust"], 5, "not a TorchScript file"),
        (["words", "--extractor", "classifier:tiny-clasifier-demo"], 2, "did you mean 'tiny-classifier-demo'"),
        (["words", "--extractor", "classifier:words"], 5, "classifier"),
        (["words", "--metric", "r-precision", "--joint", "words"], 5, "similarity"),
        (["words", "--protocol", "t2i-legacy", *mine], 2, "t2i-legacy applies to torchvision-inception only"),
        (["words", "--protocol", "stackgan-is", "--count", "10", *mine], 2, "incomplete batch of 64"),
        (["words", "--scale", "16"], 2, "one of 32"),
        (["demo:test", "--scale", "128", "--metric", "ms-ssim"], 4, "prepare again with --image-size 152"),
        (["folder", "--scale", "16", "--metric", "ms-ssim"], 2, "at their own size"),
        (["folder", "--count", "5", "--metric", "ms-ssim"], 2, "measured whole"),
        (["words", "--cache", "cub"], 4, "'cub' has not been prepared"),
        (["demo:tset", "--metric", "ms-ssim"], 4, "no split 'tset'"),
        (["wrods"], 2, "did you mean 'words'"),
        (["demo:test"], 2, "needs real images to compare with"),
        (["folder"], 2, "name a prepared dataset with --cache"),
        (["words", "free"], 2, "the reference is a folder"),
        (["tiny-classifier-demo"], 2, "does not generate images"),
        (["junk.pt"], 5, "not a readable safetensors file"),
        (["words", "--weights", "runs/*"], 2, "not both"),
        (["--weights", "runs/wrods/weights/*"], 2, "no weights files"),
        (["--weights", "runs/words/weights/*", "--save-statistics", "x.npz"], 2, "one file cannot hold"),
        (["words", "--save-statistics", "x.txt"], 2, ".npz"),
        (["words", "--compat", "sgan"], 2, "hdgan"),
        (["words", "--count", "0"], 2, "--count"),
    ):
        found, err = bad.fails("evaluate", *words, "--device", "cpu")
        assert found == code and expected in " ".join(err.split()), (words, found, err)
        assert err.count("✗") == 1, err
    assert not (bad.workspace.runs / "words" / "metrics.jsonl").exists()


def test_a_cache_that_is_gone(shell: Shell) -> None:
    shell.workspace.cache_path("demo").unlink()
    code, err = shell.fails("evaluate", "words", "--device", "cpu")
    assert code == 4 and "'demo' has not been prepared" in err and "--cache" in err


# -- several processes ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_give_the_figures_of_one(shell: Shell, tmp_path: Path) -> None:
    real = real_ones(shell, tmp_path / "real")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "stackgan_cli"]
    curve = str(shell.workspace.runs / "words" / "weights" / "*")
    for words in (
        ["words", "--metric", EVERYTHING, "--count", "121"],
        ["--weights", curve, "--metric", "fid,kid", "--count", "31"],
        [str(real), str(folder_of(pictures(21), tmp_path / "noise")), "--metric", "fid-64,precision-recall,fid,ms-ssim"],
    ):
        extra = ["--device", "cpu", "--extractor", "classifier:tiny-classifier-demo"]
        done = subprocess.run(
            [*launch, "evaluate", *words, *extra, "--json", "--workspace", str(shell.workspace.root)],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-2000:]
        two = json.loads(done.stdout)["result"]["results"]
        for kept in shell.workspace.caches.glob("*.stats-*.npz"):
            kept.unlink()
        one = shell.ok("evaluate", *words, *extra)["results"]
        assert len(one) == len(two) >= 4
        for a, b in zip(one, two, strict=True):
            assert a["protocol"] == b["protocol"]
            for key in set(a) - {"protocol"}:
                assert b[key] == pytest.approx(a[key], rel=1e-6, abs=1e-9) if isinstance(a[key], float) else b[key] == a[key], (key, a, b)
    assert len(lines_of(shell, "words")) == 2 * (9 + 4)
