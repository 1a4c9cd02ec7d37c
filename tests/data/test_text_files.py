import codecs

import numpy as np
import pytest

from stackgan_cli.data.text_files import decode, lines

TEXT = "a red bird\n\na caf\u00e9 bird \u2019s nest\n"


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        (TEXT.encode(), "UTF-8"),
        (TEXT.encode("utf-8-sig"), "UTF-8"),
        (TEXT.encode("utf-16"), "UTF-16"),
        (codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"), "UTF-16"),
        (TEXT.encode("utf-16-le"), "UTF-16"),
        (TEXT.encode("utf-16-be"), "UTF-16"),
        (TEXT.encode("utf-32"), "UTF-32"),
        (codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"), "UTF-32"),
        (TEXT.encode("cp1252"), "Windows-1252"),
    ],
)
def test_every_encoding_gives_the_same_text(content, encoding):
    assert decode(content) == (TEXT, encoding)


def test_marks_inside_a_text_are_removed():
    assert decode(2 * "a bird\n".encode("utf-8-sig")) == ("a bird\na bird\n", "UTF-8")


def test_every_file_can_be_decoded():
    random = np.random.default_rng(0)
    for _ in range(500):
        content = random.choice([0, 10, 13, 65, 129, 0xBB, 0xBF, 0xEF, 0xFE, 0xFF], random.integers(0, 9)).astype(np.uint8).tobytes()
        text, encoding = decode(content)
        assert encoding in ("UTF-8", "UTF-16", "UTF-32", "Windows-1252") and "\ufeff" not in text


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_lines_survive_every_line_end_and_encoding(end, encoding):
    random = np.random.default_rng(0)
    for _ in range(50):
        words = ["".join(random.choice(list("a \t\x0b\x0c\x1c\x85\u2028\u00e9\U0001f426"), 5)) for _ in range(random.integers(0, 6))]
        assert lines(decode("".join(word + end for word in words).encode(encoding))[0]) == words


def test_the_last_line_needs_no_end():
    assert lines("a\r\nb\rc\nd") == ["a", "b", "c", "d"] and lines("") == [] and lines("\n") == [""]
