"""Help is quick, imports nothing heavy, and shows for every subcommand examples that can be run."""

from __future__ import annotations

import resource
import shlex
import subprocess
import sys

import pytest

from stackgan_cli import __version__
from stackgan_cli.__main__ import hoist, main
from stackgan_cli.errors import UsageError

COMMANDS = (
    [],
    ["prepare"],
    ["encode-text"],
    ["train"],
    ["sample"],
    ["interpolate"],
    ["tsne"],
    ["neighbours"],
    ["rank-study"],
    ["rank-study", "make"],
    ["rank-study", "score"],
    ["report"],
    ["info"],
    ["import"],
    ["doctor"],
    ["presets"],
    ["presets", "ls"],
    ["presets", "show"],
    ["presets", "cp"],
    ["presets", "validate"],
)
HEAVY = ("torch", "torchvision", "h5py", "scipy", "sklearn", "numpy", "PIL", "safetensors")
LIMIT = 0.3
"""Seconds."""


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_examples_that_parse(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--help"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    examples = [line.strip() for line in out.partition("Examples:")[2].splitlines() if line.strip()]
    assert examples, out
    for example in examples:
        words = shlex.split(example)
        assert words[0] == "stackgan"
        assert main([*words[1:], "--help"]) == 0, example
        assert "No such" not in capsys.readouterr().err


def processor_seconds() -> float:
    """Time that finished child processes have computed: elapsed time would also measure what else the machine is doing."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def best_of(count: int, words: list[str]) -> float:
    """Least processor time of up to `count` runs; stops at the first that is quick enough. Every run has to succeed."""
    best = 1e9
    for _ in range(count):
        before = processor_seconds()
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
        best = min(best, processor_seconds() - before)
        assert done.returncode == 0, done.stderr
        if best < LIMIT:
            break
    return best


@pytest.mark.parametrize("command", [["--help"], ["train", "--help"], ["evaluate", "--help"]], ids=" ".join)
def test_help_is_quick_and_imports_nothing_heavy(command: list[str]) -> None:
    script = (
        "import sys; from stackgan_cli.__main__ import main; code = main(sys.argv[1:]);"
        f"heavy = [name for name in {HEAVY} if name in sys.modules]; sys.exit(code or (repr(heavy) if heavy else 0))"
    )
    seconds = best_of(8, ["-c", script, *command])
    if seconds >= LIMIT and best_of(3, ["-c", "import typer, pydantic.json_schema"]) > LIMIT / 2:
        pytest.skip("this machine is too busy to time anything: Typer alone takes half of the limit")
    assert seconds < LIMIT


def test_the_module_is_a_program() -> None:
    done = subprocess.run([sys.executable, "-m", "stackgan_cli", "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"stackgan {__version__}\n")


def test_without_a_subcommand_there_is_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    assert "Usage: stackgan" in capsys.readouterr().out


def test_root_options_may_stand_anywhere() -> None:
    words = ["train", "--json", "--preset", "x", "--workspace", "w", "-q", "a=1"]
    assert hoist(words) == ["--json", "--workspace", "w", "-q", "train", "--preset", "x", "a=1"]
    assert hoist(["sample", "--", "--json"]) == ["sample", "--", "--json"]
    for words in (["train", "--workspace"], ["train", "--workspace", "--json"]):
        with pytest.raises(UsageError, match="needs a folder"):
            hoist(words)
