"""Models of class labels through the real `main()`: which labels, with which noise, what the sidecar says, who judges them."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from test_verbs import QUICK, Shell, pictures
from torch import Tensor

from stackgan_cli.__main__ import main
from stackgan_cli.data.cache import Cache
from stackgan_cli.data.sources import DATASETS
from stackgan_cli.errors import MismatchError, UsageError
from stackgan_cli.runs import Weights
from stackgan_cli.workflows.conditions import label_name, label_word, parse_labels
from stackgan_cli.workflows.sample import fixed_seeds
from stackgan_cli.workspace import Workspace

ANIMALS = ("cat", "dog", "4", "crab, hermit")
"""Names of four classes; one is the number of none, and one has a comma."""
DIGITS = [str(digit) for digit in range(10)]


# -- words ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "names", "expected"),
    [
        (["0-9"], None, list(range(10))),
        (["0,3,7"], None, [0, 3, 7]),
        (["3", "3", "0-1, 9"], None, [3, 3, 0, 1, 9]),
        ([], None, []),
        (["dog,cat"], ANIMALS, [1, 0]),
        (["crab, hermit", "dog , 0-1"], ANIMALS, [3, 1, 0, 1]),
        (["4"], ANIMALS, [2]),
        (["4"], DIGITS, [4]),
    ],
)
def test_labels_as_they_are_typed(words: list[str], names: tuple[str, ...] | None, expected: list[int]) -> None:
    assert parse_labels(words, 10, names) == expected


@pytest.mark.parametrize(
    ("word", "names", "message", "hint"),
    [
        ("10", None, "no class 10", "0 to 9"),
        ("-1", None, "no class -1", "0 to 9"),
        ("8-12", DIGITS, "no class 12", "0 to 9, or a name: 0, 1, 2"),
        ("9-0", None, "'9-0' is not a range", "0-9"),
        ("0-999999999", None, "no class 999999999", "0 to 9"),
        ("dgo", ANIMALS, "no class is called 'dgo' - did you mean 'dog'?", "cat, dog, 4"),
        ("", None, "no class is called ''", "0 to 9"),
        ("3,", None, "no class is called ''", "0 to 9"),
        ("1-2-3", None, "no class is called '1-2-3'", "0 to 9"),
        ("dog", None, "no class is called 'dog'", "0 to 9"),
    ],
)
def test_labels_that_there_are_not(word: str, names: tuple[str, ...] | None, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_labels([word], 10, names)
    assert message in str(caught.value) and hint in caught.value.hint and caught.value.where == "--labels"


def test_what_a_label_is_called() -> None:
    assert [label_name(label, ANIMALS) for label in (0, 3, 4)] == ["cat", "crab, hermit", "class 4"]
    assert label_name(3, None) == "class 3" and label_name(None, ANIMALS) == ""
    for names in (DIGITS, ANIMALS, ["1", "0"], None):
        for label in range(len(names or DIGITS)):
            assert parse_labels([label_word(label, names)], 10, names) == [label]


def test_seeds_of_noise_that_stays() -> None:
    firsts = [5, 5, 7, 7]
    assert fixed_seeds(["z1"], ["z1", "z0"], firsts) == {"z1": firsts}
    assert fixed_seeds(["z0=3", "z1"], ["z1", "z0"], firsts) == {"z0": [3, 3, 3, 3], "z1": firsts}
    for word, expected in (
        ("z2", "no noise input 'z2'"),
        ("z1=", "'' is not a seed"),
        ("z1=-4", "'-4' is not a seed"),
        ("z1=x", "not a seed"),
    ):
        with pytest.raises(UsageError, match=expected):
            fixed_seeds([word], ["z1", "z0"], firsts)


# -- pictures ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def _digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scikit-learn's digits, an encoder, a judge of another seed, and a stack that has moved a little; `sgan` is the newest."""
    root = tmp_path_factory.mktemp("digits") / "workspace"
    for words in (
        ["prepare", "digits", "--workers", "1"],
        ["train", "--preset", "tiny-sgan-encoder", "data.cache=digits", "--name", "tiny-sgan-encoder-digits"],
        ["train", "--preset", "tiny-sgan-encoder", "data.cache=digits", "--name", "judge-digits", "train.seed=1"],
        ["train", "--preset", "tiny-sgan", "--name", "sgan", "samples.rows=10", "train.optim.lr=0.01"],
    ):
        device = ["--device", "cpu"] if words[0] == "train" else []
        assert main([*words, *device, "--workspace", str(root), "--quiet"]) == 0
    return root


@pytest.fixture
def shell(_digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    shutil.copytree(_digits, tmp_path / "workspace")
    capsys.readouterr()
    return Shell(Workspace(tmp_path / "workspace"), capsys)


def test_the_default_preset_of_labels_is_sgans(shell: Shell) -> None:
    assert shell.ok("train", "--dry-run")["config"]["name"] == "sgan-digits"


def drawn(shell: Shell, folder: Path, *words: str) -> tuple[list[dict[str, Any]], list[np.ndarray]]:
    """Entries of the sidecar, and their pictures."""
    facts = shell.ok("sample", *words, "--output", str(folder))
    made = pictures(folder)
    return facts["pictures"], [made[entry["file"]] for entry in facts["pictures"]]


def test_a_row_a_label(shell: Shell, tmp_path: Path) -> None:
    entries, images = drawn(shell, tmp_path / "a", "--labels", "0-9", "--count", "3")
    assert [entry["label"] for entry in entries] == [label for label in range(10) for _ in range(3)]
    assert all(entry["class"] == str(entry["label"]) and entry["caption"] is None for entry in entries)
    assert entries[4]["file"] == "0004-1-seed4-28px.png" and images[0].shape == (28, 28, 3)
    page = np.asarray(Image.open(tmp_path / "a" / "grid.png"))
    assert page.shape[0] > 10 * 28 and page.shape[1] == 240
    assert shell.ok("sample", "--count", "1")["pictures"][9]["label"] == 9
    assert [entry["label"] for entry in shell.ok("sample", "--label", "3", "--label", "7", "--count", "1")["pictures"]] == [3, 7]
    ticks = np.asarray(Image.open(shell.workspace.runs / "sgan" / "samples" / "step-00000020.png"))
    assert ticks.shape[0] > 10 * 28


@pytest.mark.parametrize("fixed", ["z1", "z0"])
def test_noise_that_stays_in_a_row(shell: Shell, tmp_path: Path, fixed: str) -> None:
    vivid = changed_weights(shell, "sgan", tmp_path / "vivid.safetensors", lambda name, x: 8 * x if x.ndim == 2 else x)
    words = ["--labels", "2,5", "--count", "3", "--seed", "10", "--weights", str(vivid)]
    _, free = drawn(shell, tmp_path / "free", *words)
    entries, images = drawn(shell, tmp_path / "fixed", *words, "--fix", fixed)
    assert [entry["seed"] for entry in entries] == list(range(10, 16))
    assert [entry["fixed"] for entry in entries] == [{fixed: 10}] * 3 + [{fixed: 13}] * 3
    assert json.loads((tmp_path / "fixed" / "samples.json").read_text())["pictures"] == entries
    same = [bool((a == b).all()) for a, b in zip(free, images, strict=True)]
    assert same == [True, False, False] * 2, "the first picture of a row has all noise from its own seed"
    assert len({image.tobytes() for image in images}) == 6
    for number in (2, 4):
        again = tmp_path / f"again-{number}"
        command = shlex.split(entries[number]["command"])
        assert command[-4:-2] == ["--fix", f"{fixed}={entries[number]['fixed'][fixed]}"]
        shell.ok(*command[1:], "--no-grid", "--output", str(again))
        ((_, picture),) = pictures(again).items()
        assert (picture == images[number]).all()


def test_fixed_by_a_seed_of_its_own(shell: Shell, tmp_path: Path) -> None:
    words = ["--labels", "4", "--count", "2", "--seed", "1"]
    entries, images = drawn(shell, tmp_path / "a", *words, "--fix", "z1=7", "--fix", "z0=9")
    assert (images[0] == images[1]).all() and entries[1]["fixed"] == {"z1": 7, "z0": 9}
    _, same = drawn(shell, tmp_path / "b", "--labels", "4", "--count", "1", "--seed", "7", "--fix", "z0=9")
    assert (same[0] == images[0]).all()
    _, rows = drawn(shell, tmp_path / "c", "--labels", "4,4", "--count", "2", "--fixed-noise", "--fix", "z1")
    assert (rows[0] == rows[2]).all() and (rows[1] == rows[3]).all() and not (rows[0] == rows[1]).all()


@pytest.mark.parametrize(
    ("words", "files"),
    [
        (["--labels", "3,8"], ["strip.png", "walk.gif"]),
        (["--labels", "3", "--noise"], ["strip.png", "grid.png", "walk.gif"]),
        (["--labels", "3", "--noise-grid", "2x3"], ["noise-grid.png"]),
        (["--labels", "0-9", "--ca-only"], ["conditioning.png"]),
    ],
    ids=["labels", "noise", "noise grid", "noise above"],
)
def test_ways_between_labels_and_noises(shell: Shell, tmp_path: Path, words: list[str], files: list[str]) -> None:
    facts = shell.ok("interpolate", *words, "--steps", "3", "--frames", "2", "--output", str(tmp_path / "out"))
    assert facts["files"] == files and all((tmp_path / "out" / file).is_file() for file in files)


def test_names_of_classes(shell: Shell, tmp_path: Path) -> None:
    """Weights whose classes are words, as CIFAR-10's are."""
    words = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    renamed = changed_weights(shell, "sgan", tmp_path / "words.safetensors", classes=words)
    given = ["--weights", str(renamed), "--count", "1"]
    entries, _ = drawn(shell, tmp_path / "a", *given, "--labels", "ship,0", "--labels", "truck")
    assert [(entry["label"], entry["class"]) for entry in entries] == [(8, "ship"), (0, "airplane"), (9, "truck")]
    assert entries[0]["file"].startswith("0000-ship-seed0")
    code, err = shell.fails("sample", *given, "--labels", "sihp")
    assert code == 2 and "did you mean 'ship'" in err and "0 to 9, or a name: airplane" in err
    near = shell.ok("neighbours", "--weights", str(renamed), "--labels", "ship", "--count", "2", "--cache", "digits")
    assert [(query["label"], query["class"]) for query in near["queries"]] == [(8, "ship")] * 2


def changed_weights(
    shell: Shell, run: str, path: Path, change: Callable[[str, Tensor], Tensor] = lambda name, tensor: tensor, **header: Any
) -> Path:
    """The weights of a run with other tensors, or another header."""
    source = shell.workspace.runs / run / "weights" / "latest.safetensors"
    with safe_open(source, "pt") as file:
        header = {**json.loads(file.metadata()["stackgan"]), **header}
    tensors = {name: change(name, tensor).contiguous() for name, tensor in load_file(source).items()}
    save_file(tensors, path, metadata={"stackgan": json.dumps(header)})
    return path


def test_weights_of_another_version(shell: Shell, tmp_path: Path) -> None:
    source = Weights.open(shell.workspace.runs / "sgan" / "weights" / "latest.safetensors")
    config = source.config.model_dump(mode="json")
    config["model"]["of_tomorrow"] = 3
    path = changed_weights(shell, "sgan", tmp_path / "new.safetensors", config=config)
    with pytest.raises(MismatchError, match=r"not valid in this version \(model\.sgan\.of_tomorrow: "):
        Weights.open(path)


def test_neighbours_of_labels(shell: Shell) -> None:
    near = shell.ok("neighbours", "--labels", "0-9", "--nearest", "3")
    assert [query["label"] for query in near["queries"]] == list(range(10)) and near["by"] == "encoder"
    cache = Cache.open(shell.workspace.cache_path("digits"))
    assert near["side"] == 28 and near["training_images"] == len(cache.rows("train"))
    for by in ("encoder", "pixels"):
        real = shell.ok("neighbours", "--real", "6", "--by", by)
        assert real["own_nearest"] == 6
    folder = Path(near["folder"])
    page = np.asarray(Image.open(folder / "neighbours.png"))
    assert page.shape == (10 * 28 + 9 * 2, 28 + 10 + 3 * 28 + 2 * 2, 3)
    shown = near["queries"][0]["neighbours"][0]
    assert (page[:28, 38:66] == cache.images[shown["row"]]).all(), "whole images, not crops"


def test_words_that_make_no_sense(shell: Shell) -> None:
    for words, expected in (
        (["sample", "--labels", "10"], "no class 10"),
        (["sample", "--labels", "x"], "no class is called 'x'"),
        (["sample", "a bird"], "use --labels"),
        (["sample", "--fix", "z"], "choose from z1, z0"),
        (["sample", "--fix", "z1=one"], "not a seed"),
        (["sample", "--mean"], "no conditioning noise"),
        (["neighbours", "--labels", "0-10"], "no class 10"),
        (["neighbours", "--by", "discriminator"], "--by features or --by pixels"),
        (["neighbours", "--labels", "1", "--real", "3"], "give only one of"),
    ):
        code, err = shell.fails(*words)
        assert code == (5 if "discriminator" in words else 2) and expected in err, (words, code, err)


# -- judging ----------------------------------------------------------------------------------------------------------------


def accuracy(shell: Shell, *words: str) -> dict[str, Any]:
    (result,) = shell.ok("evaluate", *words, "--metric", "accuracy", "--device", "cpu")["results"]
    return dict(result)


def test_accuracy_of_samples_and_of_real_images(shell: Shell) -> None:
    found = accuracy(shell, "sgan", "--count", "200")
    assert found["title"] == "accuracy (by classifier judge-digits)" and found["protocol"]["n_fake"] == 200
    assert set(found["by_label"]) == set(DIGITS) and found["lowest"] == min(found["by_label"].values())
    assert found["value"] == pytest.approx(np.mean(list(found["by_label"].values())))
    assert found["protocol"]["fake"]["labels"] == "all classes in turn"
    lines = (shell.workspace.runs / "sgan" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["value"] == found["value"]

    real = accuracy(shell, "digits")
    assert real["protocol"]["fake"] == {"images": "cache digits", "split": "test", "crop": "none", "image_side": 28}
    lines = (shell.workspace.runs / "judge-digits" / "metrics.jsonl").read_text().splitlines()
    assert real["value"] == pytest.approx(json.loads(lines[-1])["accuracy"]), "as measured when it was trained"
    assert real["value"] > 0.3
    assert accuracy(shell, "digits:train")["value"] != real["value"]


def test_the_encoder_that_is_inverted_is_no_judge(shell: Shell) -> None:
    words = ["evaluate", "sgan", "--count", "20", "--metric", "accuracy", "--device", "cpu", "--extractor"]
    code, err = shell.fails(*words, "classifier:tiny-sgan-encoder-digits")
    assert code == 0 and "trained to invert classifier tiny-sgan-encoder-digits" in err
    code, err = shell.fails(*words, "classifier:judge-digits")
    assert code == 0 and "please" not in err


def test_labels_are_matched_by_name(shell: Shell, tmp_path: Path) -> None:
    """A judge whose classes are in another order is right all the same; one of other classes is refused."""
    order = [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]

    def reorder(name: str, tensor: Tensor) -> Tensor:
        return tensor[order] if ".fc4." in name else tensor

    names = [str(digit) for digit in order]
    shuffled = changed_weights(shell, "judge-digits", tmp_path / "shuffled.safetensors", reorder, classes=names)
    unnamed = changed_weights(shell, "judge-digits", tmp_path / "unnamed.safetensors", reorder, classes=None)
    assert accuracy(shell, "digits", "--extractor", f"classifier:{unnamed}")["value"] < 0.3, "by number, which is wrong here"
    assert accuracy(shell, "digits", "--extractor", f"classifier:{shuffled}")["by_label"] == accuracy(shell, "digits")["by_label"]

    birds = changed_weights(shell, "judge-digits", tmp_path / "birds.safetensors", classes=[f"bird {digit}" for digit in DIGITS])
    code, err = shell.fails("evaluate", "sgan", "--count", "20", "--metric", "accuracy", "--extractor", f"classifier:{birds}")
    assert code == 5 and "does not know '0' and 9 more labels" in err and "its classes are bird 0" in err


def test_the_judge_is_trained_when_it_is_not_there(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the preset of the dataset, with another seed than the encoder; here with one of the test's."""
    monkeypatch.setitem(DATASETS, "digits", replace(DATASETS["digits"], judge="tiny-sgan-encoder"))
    shutil.rmtree(shell.workspace.runs / "judge-digits")
    code, err = shell.fails("evaluate", "sgan", "--count", "20", "--metric", "accuracy", "--device", "cpu")
    assert code == 0 and "stackgan train --preset tiny-sgan-encoder --name judge-digits train.seed=1" in err
    judge = Weights.open(shell.workspace.runs / "judge-digits" / "weights" / "latest.safetensors")
    assert judge.config.train.seed == 1 and judge.classes == tuple(DIGITS)
    code, err = shell.fails("evaluate", "sgan", "--count", "20", "--metric", "fid", "--device", "cpu")
    assert code == 0 and "comes first" not in err


def test_what_cannot_be_judged(shell: Shell, tmp_path: Path) -> None:
    shell.ok("train", "--preset", "tiny-v2", "data.cache=digits", "model.condition=none", "model.wrong_pairs=none", *FREE)
    (tmp_path / "folder").mkdir()
    Image.new("RGB", (28, 28)).save(tmp_path / "folder" / "a.png")
    for words, code, expected in (
        (["free"], 2, "accuracy needs a label"),
        ([str(tmp_path / "folder")], 2, "accuracy needs a label"),
        (["sgan", "--count", "20", "--extractor", "classifier:jugde-digits"], 2, "did you mean 'judge-digits'"),
        (["sgan", "--count", "20", "--extractor", "classifier:sgan"], 5, "are a sgan, not a classifier"),
    ):
        found, err = shell.fails("evaluate", *words, "--metric", "accuracy", "--device", "cpu")
        assert found == code and expected in err, (words, found, err)
    shell.workspace.cache_path("digits").unlink()
    found, err = shell.fails("evaluate", "sgan", "--count", "20", "--metric", "accuracy", "--device", "cpu")
    assert found == 5 and "stackgan train --preset classifier" in err


FREE = ["requires.text_encoder=null", "data.whole=true", "model.branches=[16]", "--name", "free", *QUICK]


def test_the_cifar_protocol_takes_labels_in_turn(shell: Shell) -> None:
    words = ["sgan", "--protocol", "cifar", "--count", "40", "--extractor", "classifier:judge-digits", "--metric", "is,fid"]
    inception, fid = shell.ok("evaluate", *words, "--device", "cpu")["results"]
    assert inception["protocol"]["name"] == "cifar, with other extractor, count" and inception["value"] >= 1
    assert fid["protocol"]["real"] == {"images": "cache digits", "split": "train", "crop": "none", "image_side": 28}
    assert fid["protocol"]["n_fake"] == 40 and fid["protocol"]["n_real"] == 1437
