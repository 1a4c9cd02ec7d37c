"""The encoders published by SGAN's authors (xunhuang1995/SGAN): NumPy archives of eight arrays, weights and biases of four layers.

| arrays | layer | stored as |
|---|---|---|
| arr_0, arr_1 | conv1 | (out, in, 5, 5), to be applied without flipping |
| arr_2, arr_3 | conv2 | same |
| arr_4, arr_5 | fc3 | (in, out) |
| arr_6, arr_7 | fc4 | same |

All sizes are inferred from the shapes. The color encoder for CIFAR-10 takes images with the mean image subtracted, which is a separate
file (meanimg.npy: 3 x 32 x 32, from 0 to 1). Nothing is unpickled.
"""

from __future__ import annotations

import math
import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from stackgan_cli.config.archs import Classifier as ClassifierConfig
from stackgan_cli.data.sources.cifar10 import CLASSES
from stackgan_cli.data.sources.labelled import DIGITS
from stackgan_cli.errors import MismatchError, UsageError
from stackgan_cli.models.classifier import build_classifier

LAYERS = ("conv1", "conv2", "fc3", "fc4")
NAMES = tuple(f"{layer}.{part}" for layer in LAYERS for part in ("weight", "bias"))
PUBLISHED = {
    "sgan-encoder-mnist": (ClassifierConfig(backbone="sgan", resolution=28, channels=1, conv_dims=(32, 32), num_classes=10), DIGITS),
    "sgan-encoder-cifar10": (ClassifierConfig(backbone="sgan", resolution=32, conv_dims=(64, 128), num_classes=10), CLASSES),
}
"""The two published encoders, each with its class names, by the preset that trains the same network."""
_HINT = "an encoder published by SGAN's authors has eight arrays, arr_0 to arr_7: weights and biases of conv1, conv2, fc3 and fc4"


def load_npz_encoder(path: Path, mean: Path | None = None) -> tuple[ClassifierConfig, dict[str, Tensor]]:
    """Configuration and state dict of an encoder; `mean` is the file of the mean image, for an encoder that needs one.

    Raises UsageError when there is no such file, MismatchError when it contains something else.
    """
    arrays = _arrays(path)
    state = {name: torch.from_numpy(array.T.copy() if array.ndim == 2 else array) for name, array in zip(NAMES, arrays, strict=True)}
    config = _config(state, path)
    if mean is not None:
        config = config.model_copy(update={"input_range": "centred"})
        state["mean"] = torch.from_numpy(_mean(mean, (config.channels, config.resolution, config.resolution)))
    with torch.device("meta"):
        wanted = build_classifier(config).network.state_dict()
    for name, tensor in wanted.items():
        if state[name].shape != tensor.shape:
            place = f"arr_{NAMES.index(name)} ({name})"
            raise MismatchError(
                f"{place} is {_size(state[name].shape)}, but the other arrays imply {_size(tensor.shape)}", where=path, hint=_HINT
            )
    return config, {f"network.{name}": tensor for name, tensor in state.items()}


def kind_of_encoder(config: ClassifierConfig) -> tuple[str, tuple[str, ...] | None]:
    """The preset that trains an encoder like this one, and its class names, which are known only for the published ones."""
    for preset, (published, classes) in PUBLISHED.items():
        if config.model_copy(update={"input_range": "unit"}) == published:
            return preset, classes
    return ("sgan-encoder-mnist" if config.channels == 1 else "sgan-encoder-cifar10"), None


def _arrays(path: Path) -> list[np.ndarray]:
    if not path.is_file():
        raise UsageError("no such file", where=path)
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            raise MismatchError("is a single array, not an archive of arrays", where=path, hint=_HINT)
        with loaded as archive:
            names = sorted(archive.files)
            if names != [f"arr_{number}" for number in range(len(NAMES))]:
                found = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
                raise MismatchError(f"contains {len(names)} arrays ({found}), not arr_0 to arr_7", where=path, hint=_HINT)
            arrays = [archive[name] for name in names]
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise MismatchError(f"cannot be read as an archive of NumPy arrays ({error})", where=path, hint=_HINT) from None
    return [_floats(array, f"arr_{number}", path) for number, array in enumerate(arrays)]


def _floats(array: np.ndarray, name: str, path: Path) -> np.ndarray:
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        raise MismatchError(f"{name} contains something other than finite numbers ({array.dtype})", where=path, hint=_HINT)
    return array.astype(np.float32)


def _config(state: dict[str, Tensor], path: Path) -> ClassifierConfig:
    """Sizes inferred from shapes; whether all shapes agree is checked afterwards."""
    conv1, conv2, fc3, fc4 = (state[f"{layer}.weight"] for layer in LAYERS)
    if [weight.ndim for weight in (conv1, conv2, fc3, fc4)] != [4, 4, 2, 2]:
        raise MismatchError(
            f"these arrays belong to another network: weights of {', '.join(_size(weight.shape) for weight in (conv1, conv2, fc3, fc4))}",
            where=path,
            hint=_HINT,
        )
    top = math.isqrt(fc3.shape[1] // max(1, len(conv2)))
    try:
        return ClassifierConfig(
            backbone="sgan",
            resolution=4 * top + 12,  # two convolutions, each of which removes 4 px, followed by halving
            channels=conv1.shape[1],  # type: ignore[arg-type]
            conv_dims=(len(conv1), len(conv2)),
            hidden_dim=len(fc3),
            num_classes=len(fc4),
        )
    except ValueError:
        raise MismatchError(
            f"these arrays belong to another network: {conv1.shape[1]} channels, {fc3.shape[1]} inputs of fc3", where=path, hint=_HINT
        ) from None


def _mean(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    if not path.is_file():
        raise UsageError("no such file", where=path)
    try:
        mean = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise MismatchError(f"cannot be read as a NumPy array ({error})", where=path, hint="give meanimg.npy") from None
    if not isinstance(mean, np.ndarray) or mean.shape != shape:
        found = _size(mean.shape) if isinstance(mean, np.ndarray) else "an archive"
        raise MismatchError(f"the mean image is {found}, but the encoder takes {_size(shape)}", where=path, hint="give meanimg.npy")
    mean = _floats(mean, "the mean image", path)
    if mean.min() < 0 or mean.max() > 1:
        raise MismatchError(f"the mean image has values from {mean.min():.3g} to {mean.max():.3g} instead of 0 to 1", where=path)
    return mean


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "a number"
