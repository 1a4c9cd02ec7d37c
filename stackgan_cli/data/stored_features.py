"""Image features computed elsewhere: a `.npy` array, or the dataset `features` of an HDF5 file."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from stackgan_cli.errors import DataError


def read_features(path: Path) -> np.ndarray:
    """Features (N, V, D) float32 of N images at V views; an array (N, D) has one view. Raises DataError for any other file."""
    if not path.is_file():
        raise DataError("no such feature file", where=path, hint="set model.image_weights to a .npy array or an HDF5 file")
    try:
        if path.suffix == ".npy":
            features = np.load(path, allow_pickle=False)
        else:
            with h5py.File(path, "r", locking=False) as file:
                features = file["features"][()]
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise DataError(
            f"not a readable feature file ({error})", where=path, hint="use a .npy array, or an HDF5 file with the dataset 'features'"
        ) from None
    if features.ndim == 2:
        features = features[:, None]
    if features.ndim != 3 or features.dtype.kind not in "fiu" or 0 in features.shape:
        raise DataError(f"features have shape {features.shape} and type {features.dtype}, not (images, views, width)", where=path)
    return np.asarray(features, np.float32)
