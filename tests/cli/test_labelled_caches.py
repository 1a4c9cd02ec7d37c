"""Datasets with labels and the encoder of SGAN, through the real `main()`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from test_verbs import Shell

from stackgan_cli.data.cache import Cache
from stackgan_cli.encoders.classifier import load_classifier
from stackgan_cli.workspace import Workspace


@pytest.fixture
def bare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A workspace with nothing in it."""
    return Shell(Workspace(tmp_path / "bare"), capsys)


def test_digits_from_nothing_to_an_encoder(bare: Shell) -> None:
    made = bare.ok("prepare", "digits")
    assert (made["images"], made["train"], made["test"], made["captions"], made["classes"]) == (1797, 1437, 360, 0, 10)
    info = bare.ok("info", "digits")
    assert (info["image_size"], info["crop"], info["fit"], info["captions_per_image"]) == (28, "none", "squash", [0, 0])
    assert bare.ok("prepare", "digits")["existed"]
    code, err = bare.fails("prepare", "digits", "--image-size", "32")
    assert code == 4 and "image_size 28 instead of 32" in err
    assert bare.ok("prepare", "digits", "--image-size", "32", "--name", "larger")["classes"] == 10
    assert bare.ok("info", "larger")["image_size"] == 32
    code, err = bare.fails("prepare", "digits", "--name", "other")
    assert code == 0 and "1,437 training and 360 test images, 10 classes" not in err  # results go to stdout

    status = bare.ok("train", "--preset", "tiny-sgan-encoder")
    assert status["finished"] and status["accuracy"] > 0.8
    run = bare.workspace.runs / "tiny-sgan-encoder-digits"
    (line,) = [json.loads(text) for text in (run / "metrics.jsonl").read_text().splitlines()]
    assert (line["metric"], line["split"], line["held_out"], line["accuracy"]) == ("accuracy", "test", 360, status["accuracy"])
    weights, _ = load_classifier(run / "weights" / "latest.safetensors")
    assert weights.classes == tuple("0123456789")
    found = bare.ok("evaluate", "digits:test", "--metric", "accuracy", "--extractor", f"classifier:{run}")
    assert found["results"][0]["value"] == pytest.approx(status["accuracy"])


def test_an_encoder_of_centred_images_knows_their_mean(bare: Shell) -> None:
    bare.ok("prepare", "digits")
    words = ["model.input_range=centred", "train.ema=0.9", "train.epochs=1"]
    assert bare.ok("train", "--preset", "tiny-sgan-encoder", *words)["accuracy"] > 0.3
    cache = Cache.open(bare.workspace.cache_path("digits"))
    wanted = cache.images[cache.rows("train")][..., 0].mean(0) / 255
    _, classifier = load_classifier(bare.workspace.runs / "tiny-sgan-encoder-digits" / "weights" / "latest.safetensors")
    mean = classifier.get_buffer("network.mean")
    assert mean.shape == (1, 28, 28) and np.allclose(mean[0].numpy(), wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (lambda folder: ["mnist", "--source", str(folder)], 4, "no MNIST in this folder"),
        (lambda folder: ["svhn", "--source", str(folder)], 4, "no SVHN in this folder"),
        (lambda folder: ["cifar10", "--source", str(folder / "nowhere")], 4, "no such folder"),
        (lambda folder: ["digits", "--source", str(folder)], 2, "these digits come with scikit-learn"),
        (lambda folder: ["digits", "--count", "5"], 2, "demo dataset only"),
        (lambda folder: ["mnits"], 2, "did you mean 'mnist'"),
    ],
)
def test_what_cannot_be_prepared(words: Callable[[Path], list[str]], code: int, message: str, bare: Shell, tmp_path: Path) -> None:
    found, err = bare.fails("prepare", *words(tmp_path))
    assert found == code and message in " ".join(err.split())
    assert not bare.workspace.caches.exists()
