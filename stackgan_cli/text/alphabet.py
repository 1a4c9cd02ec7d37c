"""The 70-character alphabet of char-CNN-RNN and the encoding of a caption as 201 codes (Reed et al., CVPR 2016).

A code is the 1-based position of a character in `ALPHABET`; 0 is padding and, by default, any character that is not in the alphabet:
both become an all-zero row of the one-hot input. The hyphen occurs twice in the published alphabet; its second position, 60, is used,
and 37 never occurs. Captions are truncated to 201 characters. The published codes disagree on the rest, hence the options: the GAWWN
demos convert to lowercase and the GAN-INT-CLS ones do not; the PyTorch port encodes an unknown character as a space.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789-,;.!?:'\"/\\|_@#$%^&*~`+-=<>()[]{} "
LENGTH = 201
"""Number of characters of a caption that the encoder reads."""
PADDING = 0

Unknown = Literal["zero", "space"]

_CODES = {character: place for place, character in enumerate(ALPHABET, start=1)}
_SPACE = _CODES[" "]


def encode(caption: str, *, lowercase: bool = True, unknown: Unknown = "zero") -> np.ndarray:
    """The codes of `caption`, uint8 (201,): 1 to 70, 0 after its end. A character outside the alphabet becomes 0, or a space."""
    text = caption.lower() if lowercase else caption
    missing = _SPACE if unknown == "space" else PADDING
    codes = np.zeros(LENGTH, np.uint8)
    cut = text[:LENGTH]
    codes[: len(cut)] = [_CODES.get(character, missing) for character in cut]
    return codes


def encode_batch(captions: Sequence[str], *, lowercase: bool = True, unknown: Unknown = "zero") -> np.ndarray:
    """The codes of every caption, uint8 (N, 201)."""
    codes = np.zeros((len(captions), LENGTH), np.uint8)
    for row, caption in zip(codes, captions, strict=True):
        row[:] = encode(caption, lowercase=lowercase, unknown=unknown)
    return codes


def decode(codes: np.ndarray) -> str:
    """The caption that codes (201,) represent, without padding; an unknown character inside it becomes a space."""
    length = int(np.flatnonzero(codes)[-1]) + 1 if codes.any() else 0
    return "".join(ALPHABET[code - 1] if code else " " for code in codes[:length])


def coding_notes(caption: str, *, lowercase: bool = True, unknown: Unknown = "zero") -> list[str]:
    """Notes about parts of `caption` that the encoder does not see, one sentence each; empty when it sees all of it."""
    text = caption.lower() if lowercase else caption
    notes = []
    if not text.strip():
        notes.append("the caption is empty")
    if len(text) > LENGTH:
        notes.append(
            f"the caption has {len(text)} characters and is truncated to {LENGTH}: the encoder reads up to {text[LENGTH - 20 : LENGTH]!r}"
        )
    strange = list(dict.fromkeys(character for character in text[:LENGTH] if character not in _CODES))
    if strange:
        listed = " ".join(repr(character) for character in strange[:10]) + (" ..." if len(strange) > 10 else "")
        fate = "read as spaces" if unknown == "space" else "ignored"
        notes.append(f"characters outside the encoder's alphabet are {fate}: {listed}")
    return notes
