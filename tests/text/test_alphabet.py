"""The 201-character encoding agrees with the published alphabet, and notes say what it loses."""

from __future__ import annotations

import string

import numpy as np
import pytest

from stackgan_cli.text.alphabet import ALPHABET, LENGTH, coding_notes, decode, encode, encode_batch


def test_alphabet_is_the_published_one() -> None:
    assert len(ALPHABET) == 70 and len(set(ALPHABET)) == 69
    assert ALPHABET[:36] == string.ascii_lowercase + string.digits
    assert set(ALPHABET[36:]) == set(string.punctuation) | {" "}


@pytest.mark.parametrize(
    ("character", "code"), [("a", 1), ("z", 26), ("0", 27), ("9", 36), (",", 38), ("\\", 47), ("`", 58), ("-", 60), ("}", 69), (" ", 70)]
)
def test_codes_of_the_published_table(character: str, code: int) -> None:
    assert encode(character)[0] == code


def test_first_hyphen_is_a_dead_code() -> None:
    assert 37 not in encode_batch(list(ALPHABET))


def test_padding_and_cut() -> None:
    codes = encode("ab")
    assert codes.shape == (LENGTH,) and codes.dtype == np.uint8
    assert codes.tolist() == [1, 2] + [0] * 199
    assert np.array_equal(encode("b" * 500), np.full(LENGTH, 2))


def test_unknown_characters_keep_their_place() -> None:
    assert encode("aé\nb").tolist()[:5] == [1, 0, 0, 2, 0]
    assert encode("aé\nb", unknown="space").tolist()[:5] == [1, 70, 70, 2, 0]


def test_upper_case() -> None:
    assert np.array_equal(encode("A Red Bird"), encode("a red bird"))
    assert encode("Ab", lowercase=False).tolist()[:2] == [0, 2]


def test_decode_undoes_encode() -> None:
    caption = "this bird's bill is short, 2-toned & pointed"
    assert decode(encode(caption)) == caption
    assert decode(encode("")) == ""
    assert decode(encode("aéb")) == "a b"


def test_batch_is_the_captions_one_by_one() -> None:
    captions = ["a red bird", "", "É", "x" * 300]
    assert np.array_equal(encode_batch(captions), np.stack([encode(caption) for caption in captions]))
    assert encode_batch([]).shape == (0, LENGTH)


def test_notes() -> None:
    assert coding_notes("A red bird with black wings.") == []
    assert coding_notes("  ") == ["the caption is empty"]
    (unknown,) = coding_notes("a bird – naïve")
    assert "'–'" in unknown and "'ï'" in unknown and "are ignored" in unknown
    assert "read as spaces" in coding_notes("é", unknown="space")[0]
    assert "'A'" in coding_notes("A", lowercase=False)[0]
    (cut,) = coding_notes("y" * 201 + "é")
    assert "202" in cut and "201" in cut
