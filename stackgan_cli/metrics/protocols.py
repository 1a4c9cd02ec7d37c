"""Named ways to compute a metric, so that values computed in the same way can be compared.

Two results are comparable if their protocols are equal: the extractor, the resizing, the two image sets and their sizes. Protocols are
named after the code that produced the published numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stackgan_cli.errors import UsageError, did_you_mean


@dataclass(frozen=True)
class Protocol:
    """The settings of a protocol; None means the default of the dataset or the extractor. `count` is the number of generated images."""

    name: str
    summary: str
    extractor: str | None = None
    needs_network: bool = False
    """Whether the extractor is a file that only the user can name: no other gives comparable numbers."""
    resize: str | None = None
    logits: Literal["biased", "unbiased"] | None = None
    count: int | None = None
    split: str | None = None
    splits: int = 10
    drop_last: int | None = None
    """Batch size of the original code, which left out an incomplete last batch: `count` is rounded down to a multiple of it."""


PROTOCOLS: tuple[Protocol, ...] = (
    Protocol("default", "the extractor of the dataset, the test split"),
    Protocol(
        "stackgan-is",
        "StackGAN's inception score on CUB and Oxford-102: fine-tuned Inception-v3, 30,000 samples, batches of 64",
        extractor="finetuned",
        needs_network=True,
        resize="pil-bilinear",
        count=30_000,
        split="test",
        drop_last=64,
    ),
    Protocol(
        "ttur",
        "the first FID: TensorFlow's Inception of 2015 and its own resizing (torch-fidelity's default)",
        extractor="tf-inception-2015",
        resize="tf1-bilinear",
        count=30_000,
        split="test",
    ),
    Protocol(
        "clean",
        "the same network after antialiased bicubic resizing (clean-fid); recommended for new numbers",
        extractor="tf-inception-2015",
        resize="pil-bicubic",
        count=30_000,
        split="test",
    ),
    Protocol(
        "t2i-legacy",
        "the 'PyTorch FID' of AttnGAN, DM-GAN and DF-GAN: torchvision's Inception-v3 on images normalized twice",
        extractor="torchvision-inception",
        resize="t2i-legacy",
        count=30_000,
        split="test",
    ),
    Protocol(
        "cifar",
        "CIFAR-10: TensorFlow's Inception of 2015, 50,000 samples against the training set",
        extractor="tf-inception-2015",
        resize="tf1-bilinear",
        count=50_000,
        split="train",
    ),
)


def find_protocol(name: str) -> Protocol:
    """The protocol called `name`. Raises UsageError, with a suggestion, for an unknown name."""
    for protocol in PROTOCOLS:
        if protocol.name == name:
            return protocol
    names = [protocol.name for protocol in PROTOCOLS]
    raise UsageError(f"unknown protocol {name!r}{did_you_mean(name, names)}", where="--protocol", hint=f"one of: {', '.join(names)}")
