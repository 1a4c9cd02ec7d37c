from pathlib import Path

import pytest

from stackgan_cli.cli.common import read_captions
from stackgan_cli.errors import UsageError

TEXT = "a red bird\n\n  a caf\u00e9 bird  \n"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_utf_8_is_read_with_and_without_a_mark_and_with_every_line_end(tmp_path: Path, encoding: str, end: str) -> None:
    (tmp_path / "x.txt").write_bytes(TEXT.replace("\n", end).encode(encoding))
    assert read_captions(tmp_path / "x.txt") == ["a red bird", "a caf\u00e9 bird"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
def test_other_encodings_are_usage_errors(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "x.txt").write_bytes(TEXT.encode(encoding))
    with pytest.raises(UsageError, match="not UTF-8") as caught:
        read_captions(tmp_path / "x.txt")
    assert ("Windows-1252" if encoding == "latin-1" else encoding[:6].upper()) in caught.value.hint


@pytest.mark.parametrize("name", ["blank.txt", ".", "absent.txt"])
def test_a_file_without_captions_is_a_usage_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "blank.txt").write_bytes("\ufeff\r\n \r\n".encode())
    with pytest.raises(UsageError):
        read_captions(tmp_path / name)
