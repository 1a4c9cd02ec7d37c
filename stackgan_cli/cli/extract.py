"""What `tsne` and `neighbours` compare images by: an extractor's features, or the pixels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stackgan_cli.cli.features import pick_extractor

if TYPE_CHECKING:
    import numpy as np
    import torch

    from stackgan_cli.cli.ui import Session
    from stackgan_cli.data.cache import Cache

    Extract = Callable[[np.ndarray], np.ndarray]
    """uint8 (N, S, S, 3) -> float32 (N, D)."""


def extract_function(
    session: Session, spec: str, cache: Cache | None, device: torch.device, *, weights_folder: Path | None = None
) -> tuple[Extract, dict[str, Any]]:
    """The function and what it is. `spec` is `pixels`, an extractor, or empty for that of `evaluate`."""
    import torch

    from stackgan_cli.viz.maps import REPEAT_SIDE, pixel_features

    if spec == "pixels":
        return pixel_features, {"extractor": "pixels", "side": REPEAT_SIDE, "resize": "area"}
    extractor = pick_extractor(session, spec, cache, device, weights_folder=weights_folder)

    def extract(images: np.ndarray) -> np.ndarray:
        features: np.ndarray = extractor(torch.from_numpy(images).permute(0, 3, 1, 2)).features.cpu().numpy()
        return features

    return extract, extractor.identity
