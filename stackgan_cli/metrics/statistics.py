"""Mean and covariance of a set of real pictures, kept in a file so that they are computed once.

`.npz` with `mu` (D,) and `sigma` (D, D) float64, as pytorch-fid, TTUR and DM-GAN write them, and of our own `n`, `features` (N, D)
float32 where they were needed, and `manifest`, JSON that says how it was made. Files of others have no manifest.
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

NEEDED = "mu (D,) and sigma (D, D) are needed"


@dataclass(frozen=True)
class Statistics:
    """What is known of a reference set. `features` None where only the moments are."""

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
        """Read a file. Raises DataError when it is damaged or holds something else."""
        try:
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
                arrays = {key: file[key] for key in ("mu", "sigma", "n", "features", "manifest") if key in file}
            mean, covariance = (arrays[key].astype(np.float64) for key in ("mu", "sigma"))
            manifest = dict(json.loads(str(arrays.get("manifest", "{}"))))
            count = int(arrays["n"]) if "n" in arrays else None
        except FileNotFoundError:
            raise DataError("there is no such file", where=path) from None
        except KeyError:
            raise DataError(f"holds no statistics: {NEEDED}", where=path) from None
        except (OSError, ValueError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"is no readable .npz file of statistics ({error})", where=path, hint=NEEDED) from None
        features = arrays.get("features")
        if mean.ndim != 1 or covariance.shape != 2 * mean.shape or (features is not None and features.shape[1:] != mean.shape):
            raise DataError(f"holds no statistics: {NEEDED}", where=path)
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
        """Raises MismatchError, naming what differs, when these statistics were made in another way than `manifest` says."""
        different = [
            f"{key}: {self.manifest[key]} there, {manifest[key]} here"
            for key in manifest
            if self.manifest.get(key, manifest[key]) != manifest[key]
        ]
        if different:
            raise MismatchError(
                f"statistics of another protocol ({'; '.join(different)})",
                where=where,
                hint="measure with the extractor and resizing that they were made with, or make them anew",
            )


def digest(*facts: Any) -> str:
    """Eight hex digits that depend on everything in `facts` (JSON)."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()[:8]
