"""Every way out of the program: results, user errors, bugs, interruptions; for people and with --json."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from stackgan_cli import __version__
from stackgan_cli.__main__ import main
from stackgan_cli.cli import presets
from stackgan_cli.cli.ui import Session, table
from stackgan_cli.errors import Diverged, EnvironmentProblem
from stackgan_cli.workflows import doctor
from stackgan_cli.workflows.reporter import duration


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets", "ls", "tiny", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document) == {"command", "version", "ok", "result", "warnings", "elapsed_s"}
    assert (document["command"], document["version"], document["ok"]) == ("presets", __version__, True)
    assert "tiny-stage1" in [entry["name"] for entry in document["result"]["presets"]]


def test_json_of_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json", "presets", "show", "tiny-stag1"]) == 3
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    assert set(document["error"]) == {"code", "message", "hint", "where"}
    assert "did you mean" in document["error"]["message"]
    assert main(["--json", "train", "--nonsense"]) == 2
    assert json.loads(capsys.readouterr().out)["error"]["code"] == 2


@pytest.mark.parametrize(
    ("words", "expect"),
    [
        (["trian"], "train"),
        (["train", "--preste", "x"], "--preset"),
        (["presets", "shwo"], "show"),
        (["prepare", "cbu"], "cub"),
        (["train", "--resume", "maybe"], "auto"),
        (["sample", "--count", "0"], "--count"),
        (["train", "--preset", "tiny-stage1", "--stop-after", "soon"], "8m"),
        (["train", "--preset", "tiny-stage1", "--stop-after", "0"], "8m"),
        (["info", "nothing"], "stackgan info"),
        (["import"], "file"),
    ],
)
def test_wrong_usage_is_exit_2_with_a_hint(words: list[str], expect: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--workspace", str(tmp_path)]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("✗ ") and expect in err and "Traceback" not in err


def raising(error: BaseException) -> object:
    def command(*_: object, **__: object) -> None:
        raise error

    return command


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> object:
    """Let `stackgan presets ls` raise what one likes."""

    def install(error: BaseException) -> None:
        monkeypatch.setattr("stackgan_cli.config.presets.preset_names", raising(error))

    return install


def test_a_bug_is_exit_1_with_a_crash_log(broken, capsys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    broken(RuntimeError("the sky fell"))
    assert main(["presets", "ls"]) == 1
    err = capsys.readouterr().err
    assert "the sky fell" in err and "Traceback" not in err
    (log,) = tmp_path.glob("stackgan-crash-*.log")
    assert str(log) in err and "Traceback" in log.read_text()
    assert main(["presets", "ls", "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "expect"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (Diverged("d became non-finite", where="runs/x"), 7, "runs/x: d became"),
        (OSError(28, "x", "disk/file"), 6, "disk/file: no space left"),
        (PermissionError(13, "x", "secret"), 6, "secret: permission denied"),
        (MemoryError(), 6, "out of memory"),
        (EnvironmentProblem("no GPU", hint="buy one"), 6, "→ buy one"),
    ],
)
def test_expected_failures_have_their_codes(error, code: int, expect: str, broken, capsys: pytest.CaptureFixture[str]) -> None:
    broken(error)
    assert main(["presets", "ls"]) == code
    out, err = capsys.readouterr()
    assert out == "" and expect in err and "Traceback" not in err


def test_debug_shows_the_traceback_of_a_user_error_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets", "show", "nothing", "--debug"]) == 3
    assert "Traceback" in capsys.readouterr().err


def test_quiet_leaves_results_and_errors(capsys: pytest.CaptureFixture[str]) -> None:
    session = Session(quiet=True)
    session.say("hello")
    session.warn("careful")
    session.result({}, "done")
    out, err = capsys.readouterr()
    assert (out, err) == ("done\n", "")
    assert session.warnings == ["careful"]


def test_only_the_first_process_speaks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for variable, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "localhost"}.items():
        monkeypatch.setenv(variable, value)
    session = Session(json=True)
    session.say("hello")
    session.result({}, "done")
    session.finish()
    assert capsys.readouterr() == ("", "")


def test_progress_off_a_terminal_is_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with Session().progress("training x", unit="images") as bar:
        for step in range(1, 101):
            bar.update(step, 100, "d 0.5" if step == 50 else "")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("training x 50/100  d 0.5") and "images/s" in lines[0] and lines[0].endswith("left")
    assert lines[1].startswith("training x 100/100")


def test_a_reader_that_goes_away_is_no_error() -> None:
    script = "import sys; from stackgan_cli.__main__ import main; sys.stdin.readline(); sys.exit(main(['presets', 'ls']))"
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stdin is not None and process.stderr is not None
    process.stdout.close()
    process.stdin.write(b"go\n")
    process.stdin.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141


def test_presets_cp_copies_and_does_not_overwrite(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "mine.yaml"
    assert main(["presets", "cp", "tiny-stage1", str(target)]) == 0
    assert target.read_text() == (Path(presets.__file__).parents[2] / "presets" / "tiny-stage1.yaml").read_text()
    assert main(["presets", "cp", "tiny-stage1", str(target)]) == 2
    assert "--force" in capsys.readouterr().err
    assert main(["presets", "cp", "tiny-stage2", str(tmp_path), "--force"]) == 0
    assert (tmp_path / "tiny-stage2.yaml").exists()


def test_presets_show(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["presets", "show", "v1-stage1"]) == 0
    assert "# StackGAN-v1, Stage-I" in capsys.readouterr().out
    assert main(["presets", "show", "v1-stage1", "--resolved", "train.steps=7"]) == 0
    out = capsys.readouterr().out
    assert "steps: 7\n" in out and "keep_weights: 5\n" in out


def test_doctor(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(["doctor", "--json", "--workspace", str(tmp_path / "new")]) == 0
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["result"]["checks"]}
    assert {"python", "torch", "device", "disk", "workspace"} <= set(checks)
    (tmp_path / "caches").mkdir()
    (tmp_path / "caches" / "bad.h5").write_bytes(b"not a cache")
    assert main(["doctor", "--workspace", str(tmp_path)]) == 6
    assert "cache bad" in capsys.readouterr().err
    monkeypatch.setattr(doctor, "LEAST_FREE", 1 << 60)
    assert main(["doctor", "--workspace", str(tmp_path / "new")]) == 6


def test_the_workspace_is_taken_from_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setenv("STACKGAN_HOME", str(tmp_path))
    assert main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["result"]["workspace"] == str(tmp_path)


def test_small_words() -> None:
    assert [duration(s) for s in (0, 4, 59.6, 200, 7400, float("inf"), float("nan"))] == ["0 s", "4 s", "1:00", "3:20", "2:03:20", "?", "?"]
    assert table([("a", "bb"), ("ccc", "d")], ("X", "Y")) == "X    Y\na    bb\nccc  d"
    assert os.environ.get("NO_COLOR") is None or "\x1b" not in table([("a",)])
