"""The 1,797 handwritten digits of 8 px included in scikit-learn (UCI, Alpaydin and Kaynak 1998): real data with nothing to download.

They come without a split: a fixed four fifths of each digit are for training, one fifth for testing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image

from stackgan_cli.data.sources.base import Dataset, Gathered, SourceOptions, refuse_source
from stackgan_cli.data.sources.labelled import DIGITS, LabelledRecords

LEVELS = 16
"""Gray levels above black."""


@dataclass(frozen=True, slots=True)
class Enlarged:
    """A digit of 8 px, float (8, 8) from 0 to 16; calling it returns uint8 (side, side, 3), smoothly enlarged."""

    image: np.ndarray
    side: int

    def __call__(self) -> np.ndarray:
        small = Image.fromarray((self.image * (255 / LEVELS)).astype(np.float32))
        large = np.asarray(small.resize((self.side, self.side), Image.Resampling.BICUBIC))
        return np.repeat(large.round().clip(0, 255).astype(np.uint8)[..., None], 3, 2)


def digits_records(image_size: int) -> LabelledRecords:
    """All digits, enlarged to `image_size` px."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    train, test = train_test_split(np.arange(len(labels)), test_size=0.2, stratify=labels, random_state=0)
    order = np.concatenate([np.sort(train), np.sort(test)])
    return LabelledRecords(images.reshape(-1, 8, 8)[order], labels[order], len(train), DIGITS, partial(Enlarged, side=image_size))


def _gather(options: SourceOptions) -> Gathered:
    refuse_source(options, "these digits come with scikit-learn")
    return Gathered(digits_records(options.image_size))


DATASET = Dataset(
    "digits",
    "the digits included in scikit-learn, enlarged; nothing to download",
    _gather,
    image_size=28,
    crop="none",
    preset="sgan-digits",
    judge="sgan-encoder-digits",
)
