"""Mean and covariance of the features of a set of real images, stored in a file so that they are computed only once.

The file is an `.npz` with `mu` (D,) and `sigma` (D, D) float64, as pytorch-fid, TTUR and DM-GAN write them. Files of this package also have
`n`, `manifest` (JSON that says how the statistics were computed) and, where a metric needed them, `features` (N, D) float32.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stackgan_cli.errors import DataError, MismatchError
from stackgan_cli.files import replacing
from stackgan_cli.metrics.scores import Moments

NEEDED = "it needs mu (D,) and sigma (D, D)"


@dataclass(frozen=True)
class Statistics:
    """Statistics of a set of images. `count` and `features` (count, D) are None where they are not known."""

    mean: np.ndarray
    covariance: np.ndarray
    count: int | None
    features: np.ndarray | None
    manifest: dict[str, Any]

    @classmethod
    def of(cls, moments: Moments, features: np.ndarray | None, manifest: dict[str, Any]) -> Statistics:
        return cls(moments.mean, moments.covariance, moments.n, features, manifest)

    @classmethod
    def load(cls, path: Path) -> Statistics:
        """Read a file. Raises DataError when it is damaged or is not a file of statistics."""
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                arrays = {key: file[key] for key in ("mu", "sigma", "n", "features", "manifest") if key in file}
            mean, covariance = (arrays[key].astype(np.float64) for key in ("mu", "sigma"))
            manifest = dict(json.loads(str(arrays.get("manifest", "{}"))))
            count = int(arrays["n"]) if "n" in arrays else None
        except FileNotFoundError:
            raise DataError("no such file", where=path) from None
        except KeyError:
            raise DataError(f"contains no statistics: {NEEDED}", where=path) from None
        except (OSError, ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"is not a readable .npz file of statistics ({error})", where=path, hint=NEEDED) from None
        features = arrays.get("features")
        if mean.ndim != 1 or covariance.shape != 2 * mean.shape or (features is not None and features.shape[1:] != mean.shape):
            raise DataError(f"contains no statistics: {NEEDED}", where=path)
        return cls(mean, covariance, count, features, manifest)

    def save(self, path: Path) -> None:
        """Atomically write the file."""
        arrays: dict[str, Any] = {"mu": self.mean, "sigma": self.covariance, "manifest": json.dumps(self.manifest, sort_keys=True)}
        if self.count is not None:
            arrays["n"] = self.count
        if self.features is not None:
            arrays["features"] = np.asarray(self.features, np.float32)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)

    def require_same(self, manifest: dict[str, Any], where: object) -> None:
        """Raise MismatchError, naming the differences, when these statistics were not computed as `manifest` says."""
        different = [
            f"{key}: {self.manifest[key]} there, {manifest[key]} here"
            for key in manifest
            if self.manifest.get(key, manifest[key]) != manifest[key]
        ]
        if different:
            raise MismatchError(
                f"these statistics follow another protocol ({'; '.join(different)})",
                where=where,
                hint="use the extractor and resizing of these statistics, or compute them again",
            )


def digest(*facts: Any) -> str:
    """The first eight hexadecimal digits of a hash of `facts` (JSON)."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:8]
