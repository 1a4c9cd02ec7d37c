"""Captions to embeddings through a text encoder: each distinct caption once, sorted by length, in batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from stackgan_cli.text.alphabet import Unknown, encode_batch


def encode_captions(
    network: Callable[[Tensor], Tensor],
    captions: Sequence[str],
    *,
    lowercase: bool = True,
    unknown: Unknown = "zero",
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Embeddings of `captions`, float32 (N, T), in their order.

    `network` maps codes (B, 201) uint8 on `device` to embeddings (B, T). Captions with equal codes are encoded once. `progress` is called
    with (embeddings done, embeddings in total) after each batch.
    """
    codes, places = np.unique(encode_batch(captions, lowercase=lowercase, unknown=unknown), axis=0, return_inverse=True)
    # Captions of similar length together, the longest first: the encoder skips shared padding, and memory peaks in the first batch.
    order = np.argsort(-(np.where(codes, np.arange(1, codes.shape[1] + 1), 0).max(axis=1)), kind="stable")
    pieces = []
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            batch = torch.from_numpy(codes[order[start : start + batch_size]]).to(device)
            pieces.append(network(batch).float().cpu().numpy())
            if progress is not None:
                progress(start + len(batch), len(order))
    vectors = np.empty((len(order), pieces[0].shape[1] if pieces else 0), np.float32)
    if pieces:
        vectors[order] = np.concatenate(pieces)
    return vectors[places.reshape(-1)]
