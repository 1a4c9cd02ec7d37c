"""encode_captions gives each caption its own embedding, encodes equal ones once, and reports progress."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from stackgan_cli.text.alphabet import encode_batch
from stackgan_cli.text.encoding import encode_captions


class CountingNetwork:
    """The first characters as an embedding; records the batches it receives."""

    def __init__(self) -> None:
        self.batches: list[Tensor] = []

    def __call__(self, codes: Tensor) -> Tensor:
        assert codes.dtype == torch.uint8 and not torch.is_grad_enabled()
        self.batches.append(codes)
        return codes[:, :6].float()


CAPTIONS = ["a red bird", "a blue bird with a beak", "A RED bird", "", "wings", "a blue bird with a beak"]


def test_vectors_are_in_order_and_equal_captions_are_encoded_once() -> None:
    network = CountingNetwork()
    vectors = encode_captions(network, CAPTIONS, batch_size=3)
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, encode_batch(CAPTIONS)[:, :6])
    assert [len(batch) for batch in network.batches] == [3, 1]
    lengths = [int((row != 0).sum()) for batch in network.batches for row in batch]
    assert lengths == sorted(lengths, reverse=True)


def test_character_options_reach_the_coding() -> None:
    network = CountingNetwork()
    vectors = encode_captions(network, ["Aé"], lowercase=False, unknown="space")
    np.testing.assert_array_equal(vectors, [[70, 70, 0, 0, 0, 0]])


def test_progress_counts_distinct_captions() -> None:
    seen: list[tuple[int, int]] = []
    encode_captions(CountingNetwork(), CAPTIONS, batch_size=3, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(3, 4), (4, 4)]


def test_no_captions() -> None:
    assert encode_captions(CountingNetwork(), []).shape[0] == 0
