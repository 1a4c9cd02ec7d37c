"""The one way to read lists and captions: text files in whatever encoding and with whatever line ends their editor wrote."""

from __future__ import annotations

import codecs
import re

UTF_8, CP1252 = "UTF-8", "Windows-1252"
MARKS = (
    (codecs.BOM_UTF8, UTF_8),
    (codecs.BOM_UTF32_LE, "UTF-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
"""Byte order marks, and the encodings that they announce."""
LINE_END = re.compile(r"\r\n|\r|\n")


def decode(content: bytes) -> tuple[str, str]:
    """The text of a file without its byte order mark, and the name of its encoding.

    Without a mark it is UTF-8; if it is not valid UTF-8, Windows-1252. Bytes 0 do not occur in text: they are a sign of UTF-16 without
    a mark. What cannot be decoded becomes U+FFFD.
    """
    encoding = next((encoding for mark, encoding in MARKS if content.startswith(mark)), "")
    if encoding:
        text = content.decode(encoding, errors="replace")
    elif b"\0" in content:
        encoding = "UTF-16"
        text = content.decode("utf-16-be" if content[::2].count(0) > content[1::2].count(0) else "utf-16-le", errors="replace")
    else:
        try:
            text, encoding = content.decode(UTF_8), UTF_8
        except UnicodeDecodeError:
            text, encoding = content.decode(CP1252, errors="replace"), CP1252
    # Marks inside the text are left by joining files.
    return text.replace("\ufeff", ""), encoding


def lines(text: str) -> list[str]:
    r"""The lines of a text, which end with \n, \r\n or \r. A last line end does not begin another line."""
    found = LINE_END.split(text)
    return found[:-1] if not found[-1] else found
