"""The networks that measure, from a cache to a weights file, through the real `main()`; and what cannot be trained."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from test_verbs import Shell, shell  # noqa: F401

from stackgan_cli.config.presets import load_config
from stackgan_cli.data.cache import Cache
from stackgan_cli.data.labels import read_labels
from stackgan_cli.encoders.classifier import load_classifier
from stackgan_cli.encoders.similarity import load_similarity
from stackgan_cli.runs import Run, Weights
from stackgan_cli.training.inputs import ResolvedInputs

STEPS = ["train.steps=4", "train.tick_steps=4"]
NO_TEXT = "requires.text_encoder=null"
"""The workspace has vectors of an encoder already."""


def weights_of(shell: Shell, run: str) -> Path:  # noqa: F811
    return shell.workspace.runs / run / "weights" / "latest.safetensors"


def metrics_of(shell: Shell, run: str) -> list[dict[str, object]]:  # noqa: F811
    return [json.loads(line) for line in (shell.workspace.runs / run / "metrics.jsonl").read_text().splitlines()]


def test_a_classifier_names_its_classes(shell: Shell) -> None:  # noqa: F811
    status = shell.ok("train", "--preset", "tiny-classifier", "model.label=beak_shape+size", *STEPS)
    cache = Cache.open(shell.workspace.cache_path("demo"))
    labels = read_labels(cache, "beak_shape+size", "train")
    run = Run(shell.workspace.runs / "tiny-classifier-demo")
    assert run.config.model.num_classes == len(labels.names)  # type: ignore[union-attr]

    weights, network = load_classifier(weights_of(shell, run.name))
    assert weights.classes == Weights.open(weights.path).classes == labels.names
    assert network(torch.zeros(2, 3, 32, 32)).shape == (2, len(labels.names))
    info = shell.ok("info", str(weights.path))
    assert (info["classes"], info["class_names"]) == (len(labels.names), list(labels.names))

    (line,) = metrics_of(shell, run.name)
    assert (line["metric"], line["step"], line["held_out"]) == ("accuracy", 4, len(labels.held_out))
    assert 0 <= status["accuracy"] <= 1 and line["accuracy"] == status["accuracy"]
    assert shell.ok("train", "--preset", "tiny-classifier", "model.label=beak_shape+size", *STEPS)["finished"]
    assert len(metrics_of(shell, run.name)) == 1


def test_the_accuracy_is_that_of_the_saved_network_on_images_it_has_not_seen(shell: Shell) -> None:  # noqa: F811
    words = ["train.steps=60", "train.ema=0.9", "model.label=background"]
    status = shell.ok("train", "--preset", "tiny-classifier", *words)
    network = load_classifier(weights_of(shell, "tiny-classifier-demo"))[1]
    cache = Cache.open(shell.workspace.cache_path("demo"))
    labels = read_labels(cache, "background", "train")
    assert not set(labels.trained) & set(labels.held_out) and len(labels.held_out) > 5
    pixels = torch.from_numpy(cache.images[labels.held_out].copy()).permute(0, 3, 1, 2).float()
    small = torch.nn.functional.interpolate(pixels, (38, 38), mode="area").round()[:, :, 3:35, 3:35]
    with torch.inference_mode():
        right = network(small / 127.5 - 1).argmax(1).numpy() == labels.ids[labels.held_out]
    assert status["accuracy"] == pytest.approx(right.mean())


def test_the_split_to_train_on_and_classes_as_labels(shell: Shell) -> None:  # noqa: F811
    """Two images a class in this cache: nothing to hold out, and nothing is claimed."""
    status = shell.ok("train", "--preset", "tiny-classifier", "model.label=class", "data.split=test", *STEPS)
    cache = Cache.open(shell.workspace.cache_path("demo"))
    test_classes = sorted({int(cache.class_ids[row]) for row in cache.rows("test")})
    weights = Weights.open(weights_of(shell, "tiny-classifier-demo"))
    assert weights.classes == tuple(cache.class_names[number] for number in test_classes)
    assert "accuracy" not in status and not (shell.workspace.runs / "tiny-classifier-demo" / "metrics.jsonl").exists()


def test_a_similarity_is_complete(shell: Shell) -> None:  # noqa: F811
    code, err = shell.fails("train", "--preset", "tiny-vs", NO_TEXT, "--no-prerequisites", *STEPS)
    assert code == 5 and "stackgan train --preset tiny-classifier" in err
    dry = shell.ok("train", "--preset", "tiny-vs", NO_TEXT, "--dry-run", *STEPS)
    assert [item["kind"] for item in dry["missing"]] == ["extractor"]
    assert dry["config"]["model"]["extractor"]["num_classes"] == 8
    assert not shell.workspace.runs.exists()

    status = shell.ok("train", "--preset", "tiny-vs", NO_TEXT, *STEPS)
    assert status["finished"] and {"matched", "mismatched", "top1"} <= set(status)
    path = weights_of(shell, "tiny-vs-demo")
    _, classifier = load_classifier(weights_of(shell, "tiny-classifier-demo"))
    weights, network = load_similarity(path)
    for key, value in classifier.state_dict().items():
        assert torch.equal(value, network.extractor.state_dict()[key]), key
    assert weights.text_encoder is not None and "config" in weights.text_encoder
    with safe_open(path, "pt") as file:
        assert {key.split(".")[0] for key in file.keys()} == {"similarity", "text_encoder"}  # noqa: SIM118
    assert network.image_vectors(torch.zeros(3, 3, 64, 64)).shape == (3, 32)
    (line,) = metrics_of(shell, "tiny-vs-demo")
    assert (line["metric"], line["split"], line["images"]) == ("vs-ranking", "test", 20)
    shell.ok("train", "--preset", "tiny-stage1", NO_TEXT, *STEPS)
    assert shell.workspace.newest_run(generates=True).name == "tiny-stage1-demo"  # type: ignore[union-attr]


class Means(torch.nn.Module):
    """Mean colours: the simplest network that an extractor may be."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.float().mean([2, 3]) / 255


def export(network: torch.nn.Module, path: Path) -> None:
    auto = torch.export.Dim.AUTO
    with torch.no_grad():
        images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
        torch.export.save(torch.export.export(network.eval(), (images,), dynamic_shapes=({0: auto, 2: auto, 3: auto},)), path)


def test_a_program_cannot_be_named_in_a_configuration(shell: Shell, tmp_path: Path) -> None:  # noqa: F811
    torch.jit.script(Means()).save(str(tmp_path / "means.pt"))
    words = ["--preset", "tiny-vs", NO_TEXT, f"requires.extractor=torchscript:{tmp_path / 'means.pt'}", *STEPS]
    code, err = shell.fails("train", *words)
    assert code == 2 and "is a program" in " ".join(err.split())


def test_a_similarity_on_an_extractor_with_a_file_of_its_own(shell: Shell, tmp_path: Path) -> None:  # noqa: F811
    file = tmp_path / "means.pt2"
    export(Means(), file)
    words = ["train", "--preset", "tiny-vs", NO_TEXT, f"requires.extractor=export:{file}", *STEPS]
    assert shell.ok(*words, "--dry-run")["missing"] == []
    assert shell.ok(*words)["finished"]
    path = weights_of(shell, "tiny-vs-demo")
    weights, network = load_similarity(path)
    extractor = weights.config.model.extractor  # type: ignore[union-attr]
    assert (extractor.num_features, extractor.sha256) == (3, hashlib.sha256(file.read_bytes()).hexdigest())  # type: ignore[union-attr]
    assert set(weights.tensors("similarity")) == {"linear_img.weight", "linear_img.bias", "linear_sent.weight", "linear_sent.bias"}
    images = torch.full((1, 3, 32, 32), -1.0)
    images[:, 0] = 1.0
    expected = torch.nn.functional.normalize(network.linear_img(torch.tensor([[1.0, 0.0, 0.0]])))
    torch.testing.assert_close(network.image_vectors(images), expected)

    export(torch.nn.Sequential(Means(), torch.nn.Linear(3, 3)), file)
    code, err = shell.fails(*words, "--name", "tiny-vs-demo")
    assert code == 5 and "model.extractor.sha256" in err
    with pytest.raises(Exception, match="not the extractor"):
        load_similarity(path)[1].image_vectors(images)


@pytest.mark.parametrize(
    ("words", "code", "expected"),
    [
        (["tiny-classifier", "model.label=bodi"], 4, "did you mean 'body'"),
        (["tiny-classifier", "model.label=plumage"], 4, "model.label can be class, background, beak"),
        (["tiny-classifier", "model.label=body+"], 3, "model.label"),
        (["tiny-classifier", "model.num_classes=5"], 4, "has 8 labels (body), but the model has 5"),
        (["tiny-classifier", "data.split=validation"], 3, "'train', 'test' or 'all'"),
        (["tiny-classifier", "model.weights=x.pth"], 3, "only the inception backbone"),
        (["tiny-classifier", "model.backbone=inception", "model.weights=nowhere.pth"], 2, "no such file"),
        (["tiny-vs", NO_TEXT, "requires.extractor=null"], 5, "no classifier is named"),
        (["tiny-vs", NO_TEXT, "requires.extractor=nothing"], 5, "does not exist or is not finished"),
        (["tiny-vs", NO_TEXT, "requires.extractor=torchscript:nowhere.pt"], 2, "no such file"),
        (["tiny-vs", NO_TEXT, "requires.extractor=tiny-stage1"], 5, "is a stackgan-v1, not a classifier"),
    ],
)
def test_what_cannot_be_trained(shell: Shell, words: list[str], code: int, expected: str) -> None:  # noqa: F811
    found, err = shell.fails("train", "--preset", *words, *STEPS)
    assert found == code and expected in " ".join(err.split()), err
    assert not shell.workspace.run_names() or "nowhere.pth" in err


def test_published_weights_that_are_absent(shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:  # noqa: F811
    monkeypatch.setenv("STACKGAN_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for words in (
        ["tiny-vs", NO_TEXT, "requires.extractor=torchvision-inception"],
        ["classifier", "data.cache=demo", "model.resolution=32"],
    ):
        code, err = shell.fails("train", "--preset", *words, *STEPS)
        assert code == 6 and "inception_v3_google-0cc3c7bd.pth" in err and str(shell.workspace.extractors) in " ".join(err.split())


def test_an_open_configuration_is_filled_in_once(shell: Shell) -> None:  # noqa: F811
    config = load_config("tiny-vs", [NO_TEXT])
    filled = ResolvedInputs(config, shell.workspace).config
    assert filled.model.extractor.num_classes == 8 and config.model.extractor is None  # type: ignore[union-attr]
    assert ResolvedInputs(filled, shell.workspace).config == filled
    other = load_config("tiny-stage1")
    assert ResolvedInputs(other, shell.workspace).config == other
