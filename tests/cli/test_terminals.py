"""Terminals of any encoding and width, closed streams, and words that are not UTF-8: no result is lost and nothing ends as a bug."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stackgan_cli.__main__ import main
from stackgan_cli.cli.ui import Session
from stackgan_cli.files import write_json

PROGRAM = [sys.executable, "-m", "stackgan_cli"]


def session_to(encoding: str, monkeypatch: pytest.MonkeyPatch, *, json: bool) -> tuple[Session, io.BytesIO]:
    """A session whose standard output is a strict stream of that encoding."""
    from stackgan_cli.cli.ui import prepare_streams

    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, errors="strict"))
    prepare_streams()
    return Session(json=json), raw


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_results_are_shown_in_any_encoding(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    session, raw = session_to(encoding, monkeypatch, json=False)
    session.result({}, "1.5 ± 0.1 → \udce9")
    assert raw.getvalue().decode(encoding).startswith("1.5 ") and raw.getvalue().endswith(b"\\udce9\n")
    session, raw = session_to(encoding, monkeypatch, json=True)
    session.result({"caption": "café → \udce9"}, "")
    session.finish()
    assert json.loads(raw.getvalue().decode(encoding))["result"]["caption"] == "café → \udce9"


def test_sidecars_keep_names_that_are_not_utf8(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"path": "caf\udce9"})
    assert json.loads((tmp_path / "a.json").read_text()) == {"path": "caf\udce9"}


@pytest.mark.parametrize(
    "words", [["sample", "caf\udce9"], ["presets", "show", "caf\udce9"], ["info", "caf\udce9"], ["presets", "ls", "\udce9"]]
)
def test_words_that_are_not_utf8(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more in ([], ["--json"]):
        assert main([*words, "--workspace", str(tmp_path), *more]) in (0, 2, 3)
    assert "bug" not in capsys.readouterr().err


def closed(*numbers: int) -> str:
    return " ".join(f"{number}>&-" if number else "<&-" for number in numbers)


@pytest.mark.parametrize("numbers", [(0,), (1,), (2,), (0, 1, 2)])
def test_streams_that_are_closed_at_the_start(numbers: tuple[int, ...], tmp_path: Path) -> None:
    command = f'"{sys.executable}" -m stackgan_cli presets cp tiny-stage1 "{tmp_path}/a.yaml" {closed(*numbers)}'
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "a.yaml").read_text().startswith("#")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_standard_output() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run([*PROGRAM, "presets", "ls"], stdout=full, stderr=subprocess.PIPE, timeout=60)
        again = subprocess.run([*PROGRAM, "presets", "ls", "--json"], stdout=full, stderr=subprocess.PIPE, timeout=60)
    for end in (done, again):
        assert end.returncode == 6 and b"standard output" in end.stderr and b"Traceback" not in end.stderr


def test_a_reader_of_messages_that_goes_away_does_not_end_the_work(tmp_path: Path) -> None:
    script = (
        "import sys; from stackgan_cli.__main__ import main; sys.stdin.readline(); a = main(['presets', 'show', 'nothing']); "
        f"b = main(['presets', 'cp', 'tiny-stage1', {str(tmp_path / 'a.yaml')!r}]); sys.exit(10 * a + b)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stdin is not None and process.stderr is not None
    process.stderr.close()
    process.stdin.write(b"go\n")
    process.stdin.close()
    assert process.wait() == 30 and (tmp_path / "a.yaml").is_file()


@pytest.mark.parametrize("columns", ["1", "3", "0", "-5", "wide"])
def test_narrow_windows(columns: str) -> None:
    for words in (["--help"], ["sample", "--help"], ["presets", "ls"]):
        done = subprocess.run([*PROGRAM, *words], env={**os.environ, "COLUMNS": columns}, capture_output=True, timeout=60)
        assert done.returncode == 0 and done.stdout, done.stderr


def test_presets_that_are_not_utf8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "p.yaml"
    path.write_bytes(b"extends: tiny-stage1\nsummary: caf\xe9\n")
    for words in (["show", str(path)], ["validate", str(path)], ["cp", str(path), str(tmp_path / "q.yaml")]):
        assert main(["presets", *words]) == 3
    assert "not UTF-8" in capsys.readouterr().err and not (tmp_path / "q.yaml").exists()
    path.write_bytes(b"\xef\xbb\xbfextends: tiny-stage1\r\nsummary: a bird\r\n")
    assert main(["presets", "show", str(path)]) == 0
    assert capsys.readouterr().out.startswith("extends")
    assert main(["presets", "cp", str(path), str(tmp_path / "q.yaml")]) == 0
    assert main(["presets", "validate", str(tmp_path / "q.yaml")]) == 0
