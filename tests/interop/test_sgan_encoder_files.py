"""Published encoders of SGAN: against a convolution written out here, against the published accuracy, and errors for other files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view

from stackgan_cli.__main__ import main
from stackgan_cli.config.archs import Classifier as Config
from stackgan_cli.data.sources.mnist import mnist_records
from stackgan_cli.encoders.classifier import load_classifier
from stackgan_cli.encoders.extractor import open_extractor
from stackgan_cli.errors import MismatchError, UsageError
from stackgan_cli.interop.sgan_encoder import kind_of_encoder, load_npz_encoder
from stackgan_cli.models.classifier import build_classifier


def random_arrays(side: int = 28, channels: int = 1, dims: tuple[int, int] = (3, 4), hidden: int = 6, classes: int = 5) -> list[np.ndarray]:
    """Arrays in the layout of the published files."""
    random = np.random.default_rng(0)
    top = (side - 12) // 4
    shapes: list[tuple[int, ...]] = [(dims[0], channels, 5, 5), (dims[0],), (dims[1], dims[0], 5, 5), (dims[1],)]
    shapes += [(dims[1] * top * top, hidden), (hidden,), (hidden, classes), (classes,)]
    return [random.normal(size=shape, scale=0.3).astype(np.float32) for shape in shapes]


def written_out(arrays: list[np.ndarray], x: np.ndarray) -> np.ndarray:
    """Logits of images (N, C, S, S) float64, by the definition of each layer."""
    for weight, bias in (arrays[:2], arrays[2:4]):
        x = np.einsum("nchwij,ocij->nohw", sliding_window_view(x, (5, 5), (2, 3)), weight) + bias[:, None, None]
        n, c, h, w = x.shape
        x = np.maximum(x, 0).reshape(n, c, h // 2, 2, w // 2, 2).max((3, 5))
    hidden = np.maximum(x.reshape(len(x), -1) @ arrays[4] + arrays[5], 0)
    return np.asarray(hidden @ arrays[6] + arrays[7])


@pytest.mark.parametrize(("side", "channels"), [(28, 1), (32, 3), (20, 1)])
def test_against_layers_written_out(side: int, channels: int, tmp_path: Path) -> None:
    arrays, random = random_arrays(side, channels), np.random.default_rng(1)
    np.savez(tmp_path / "encoder.npz", *arrays)
    mean = random.random((channels, side, side)).astype(np.float32) if channels == 3 else None
    if mean is not None:
        np.save(tmp_path / "meanimg.npy", mean)
    config, state = load_npz_encoder(tmp_path / "encoder.npz", None if mean is None else tmp_path / "meanimg.npy")
    assert (config.resolution, config.channels, config.conv_dims, config.hidden_dim, config.num_classes) == (side, channels, (3, 4), 6, 5)
    classifier = build_classifier(config)
    classifier.load_state_dict(state)
    pixels = random.integers(0, 256, (4, channels, side, side))
    images = torch.from_numpy(np.repeat(pixels, 3 // channels, 1)).float() / 127.5 - 1
    wanted = written_out(arrays, pixels / 255 - (0 if mean is None else mean))
    assert np.allclose(classifier(images).detach().numpy(), wanted, atol=1e-4)


def test_the_published_encoder_recognises_97_60_of_100_digits(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Through `stackgan import`; flipped kernels or another pixel range lose more than a quarter of this accuracy."""
    words = ["import", str(shared / "weights" / "mnist_encoder.npz"), "--json", "--workspace", str(tmp_path)]
    assert main(words) == 0
    facts = json.loads(capsys.readouterr().out)["result"]
    weights, classifier = load_classifier(Path(facts["path"]))
    assert weights.classes == tuple("0123456789") and weights.config.data.cache == "mnist" and weights.config.data.whole
    records = mnist_records(shared / "data" / "mnist")
    pixels, labels = torch.from_numpy(records.images[60_000:]), records.labels[60_000:]
    with torch.inference_mode():
        images = (part[:, None].expand(-1, 3, -1, -1).float() / 127.5 - 1 for part in pixels.split(500))
        right = np.concatenate([classifier(part).argmax(1).numpy() for part in images]) == labels
    assert 100 * right.mean() == pytest.approx(97.60, abs=0.05)


def test_published_files_are_recognised(shared: Path) -> None:
    for name, preset, first in (("mnist", "sgan-encoder-mnist", "0"), ("cifar", "sgan-encoder-cifar10", "airplane")):
        config, state = load_npz_encoder(shared / "weights" / f"{name}_encoder.npz")
        kind, classes = kind_of_encoder(config)
        assert kind == preset and classes is not None and (len(classes), classes[0]) == (10, first)
        assert sum(value.numel() for value in state.values()) == {"mnist": 160_362, "cifar": 1_031_818}[name]
    assert kind_of_encoder(Config(backbone="sgan", resolution=28, channels=1, num_classes=3)) == ("sgan-encoder-mnist", None)


def test_an_imported_encoder_is_an_extractor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "mine.npz", *random_arrays())
    assert main(["import", str(tmp_path / "mine.npz"), "--workspace", str(tmp_path)]) == 0
    assert "stackgan evaluate mnist:test --metric accuracy" in capsys.readouterr().out
    extractor = open_extractor(f"classifier:{tmp_path / 'imported' / 'mine.safetensors'}")
    found = extractor(torch.zeros(2, 3, 40, 40, dtype=torch.uint8))
    assert found.features.shape == (2, 6) and found.log_probabilities is not None and found.log_probabilities.shape == (2, 5)


def spoiled(name: str, arrays: list[np.ndarray]) -> list[np.ndarray]:
    match name:
        case "seven":
            return arrays[:7]
        case "objects":
            return [*arrays[:7], np.array([{}, []], object)]
        case "integers":
            return [*arrays[:7], np.zeros(5, int)]
        case "not finite":
            return [*arrays[:7], np.full(5, np.nan, np.float32)]
        case "no convolution":
            return [arrays[4], *arrays[1:]]
        case "two channels":
            return [np.repeat(arrays[0], 2, 1), *arrays[1:]]
        case "fc3 too long":
            return [*arrays[:4], arrays[4][:-1], *arrays[5:]]
        case "bias too short":
            return [arrays[0], arrays[1][:-1], *arrays[2:]]
        case "kernels of 3":
            return [arrays[0][..., :3, :3], *arrays[1:]]
        case _:
            return [*arrays[:6], arrays[6].T, arrays[7]]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("seven", "contains 7 arrays"),
        ("objects", "cannot be read as an archive of NumPy arrays"),
        ("integers", "arr_7 contains something other than finite numbers (int64)"),
        ("not finite", "arr_7 contains something other"),
        ("no convolution", "belong to another network"),
        ("two channels", "2 channels"),
        ("fc3 too long", "arr_4 (fc3.weight) is 6 x 63, but the other arrays imply 6 x 36"),
        ("bias too short", "arr_1 (conv1.bias) is 2, but the other arrays imply 3"),
        ("kernels of 3", "arr_0 (conv1.weight) is 3 x 1 x 3 x 3, but the other arrays imply 3 x 1 x 5 x 5"),
        ("transposed", "arr_6 (fc4.weight)"),
    ],
)
def test_archives_of_something_else(name: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.npz"
    np.savez(path, *spoiled(name, random_arrays()))
    assert main(["import", str(path), "--workspace", str(tmp_path)]) == 5
    out, err = capsys.readouterr()
    assert message in " ".join(err.split()) and "bad.npz" in err and out == "" and not (tmp_path / "imported").exists()


def test_files_that_are_no_archives(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    with pytest.raises(UsageError, match="no such file"):
        load_npz_encoder(path)
    np.savez(path, *random_arrays())
    whole = path.read_bytes()
    for content in (b"", b"PK\3\4", b"not an archive", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(MismatchError, match="cannot be read"):
            load_npz_encoder(path)
    with path.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(MismatchError, match="a single array"):
        load_npz_encoder(path)
    np.savez(path, weight=np.zeros(3))
    with pytest.raises(MismatchError, match=r"contains 1 arrays \(weight\)"):
        load_npz_encoder(path)


def test_mean_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, mean = tmp_path / "encoder.npz", tmp_path / "meanimg.npy"
    np.savez(path, *random_arrays(32, 3))
    for array, message in (
        (np.zeros((32, 32, 3)), "the mean image is 32 x 32 x 3, but the encoder takes 3 x 32 x 32"),
        (np.full((3, 32, 32), 127.0), "values from 127 to 127"),
        (np.full((3, 32, 32), np.nan), "something other than finite numbers"),
        (np.array([{}], object), "cannot be read"),
    ):
        np.save(mean, array)
        with pytest.raises(MismatchError, match=message):
            load_npz_encoder(path, mean)
    mean.unlink()
    with pytest.raises(UsageError, match="no such file"):
        load_npz_encoder(path, mean)
    assert main(["import", str(path), "--workspace", str(tmp_path)]) == 0
    assert "no mean image given" in capsys.readouterr().err
    assert main(["import", str(tmp_path / "other.pth"), "--mean", str(mean), "--workspace", str(tmp_path)]) == 2
