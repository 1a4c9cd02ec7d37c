"""The subcommands one after the other, at the smallest size, through the real `main()`."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from stackgan_cli.__main__ import main
from stackgan_cli.workspace import Workspace

QUICK = ["train.steps=2", "samples.rows=1", "samples.columns=2", "train.tick_steps=2"]
VIVID = ["train.steps=12", "train.optim.lr=0.02", *QUICK[1:]]
"""Enough of a training for pictures to differ from one another."""

COMPUTING = ("train", "sample", "interpolate", "tsne", "neighbours")
"""Subcommands with --device."""


class Shell:
    """Runs the program in one workspace."""

    def __init__(self, workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> None:
        self.workspace, self.capsys = workspace, capsys

    def fails(self, *words: str) -> tuple[int, str]:
        device = ["--device", "cpu"] if words[0] in COMPUTING else []
        code = main([*words, "--workspace", str(self.workspace.root), *device])
        out, err = self.capsys.readouterr()
        assert "Traceback" not in err and "this is a bug" not in err, err
        assert code == 0 or out == ""
        return code, err

    def ok(self, *words: str) -> dict[str, Any]:
        code = main([*words, "--json", "--workspace", str(self.workspace.root)])
        out, err = self.capsys.readouterr()
        assert code == 0, err
        return dict(json.loads(out)["result"])


@pytest.fixture
def shell(workspace: Workspace, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(workspace, capsys)


def pictures(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))}


def test_from_a_cache_to_pictures_of_both_stages(shell: Shell, tmp_path: Path) -> None:
    code, err = shell.fails("train", "--preset", "tiny-stage2", "--no-prerequisites", *QUICK)
    assert code == 5 and "stackgan train --preset tiny-stage1" in err
    dry = shell.ok("train", "--preset", "tiny-stage2", "--dry-run", *QUICK)
    assert [item["kind"] for item in dry["missing"]] == ["stage1"]
    assert dry["steps"] == 2 and dry["flops"] > 0 and dry["memory"] > 0 and set(dry["parameters"]) == {"generator", "discriminator"}
    assert not shell.workspace.runs.exists()

    status = shell.ok("train", "--preset", "tiny-stage2", *QUICK)
    assert status["finished"] and status["step"] == 2
    run = shell.workspace.runs / "tiny-stage2-demo"
    assert (run / "samples" / "step-00000002.png").exists()
    code, err = shell.fails("train", "--preset", "tiny-stage2", *QUICK)
    assert code == 0 and "is finished" in err
    code, err = shell.fails("train", "--preset", "tiny-stage2", *QUICK, "train.seed=3")
    assert code == 5 and "train.seed: 0 -> 3" in err
    assert shell.fails("train", "--preset", "tiny-stage2", *QUICK, "--resume", "never")[0] == 5

    whole = shell.ok(
        "sample", "a red bird", "a Blue bird", "--count", "2", "--seed", "5", "--stage", "both", "--output", str(tmp_path / "a")
    )
    made = pictures(tmp_path / "a")
    assert len(made) == 2 * 2 * 2 + 2
    assert [entry["seed"] for entry in whole["pictures"][::2]] == [5, 6, 7, 8]
    assert json.loads((tmp_path / "a" / "samples.json").read_text())["pictures"] == whole["pictures"]
    for entry in whole["pictures"][-2:]:
        again = tmp_path / f"again-{entry['side']}"
        shell.ok(*shlex.split(entry["command"])[1:], "--output", str(again), "--no-grid")
        ((_, picture),) = pictures(again).items()
        assert picture.shape == (entry["side"], entry["side"], 3)
        assert (picture == made[entry["file"]]).all()

    info = shell.ok("info", "tiny-stage2-demo")
    assert (info["kind"], info["finished"]) == ("run", True)
    weights = shell.ok("info", info["weights"])
    assert (weights["kind"], weights["text_encoder_inside"]) == ("weights", True)
    assert shell.ok("info")["runs"] == ["tiny-stage2-demo", "tiny-stage1-demo"]


def test_noise_is_of_the_seed_alone(shell: Shell, tmp_path: Path) -> None:
    shell.ok("train", "--preset", "tiny-stage1", *VIVID)

    def draw(name: str, *words: str) -> tuple[list[int], list[np.ndarray]]:
        facts = shell.ok("sample", *words, "--no-grid", "--output", str(tmp_path / name))
        made = pictures(tmp_path / name)
        return [entry["seed"] for entry in facts["pictures"]], [made[entry["file"]] for entry in facts["pictures"]]

    seeds, fixed = draw("fixed", "a red bird", "a red bird", "--count", "2", "--fixed-noise")
    assert seeds == [0, 1, 0, 1]
    assert (fixed[0] == fixed[2]).all() and (fixed[1] == fixed[3]).all() and not (fixed[0] == fixed[1]).all()
    seeds, free = draw("free", "a red bird", "a red bird", "--count", "2", "--seed", "1")
    assert seeds == [1, 2, 3, 4]
    assert (free[0] == fixed[1]).all() and not (free[0] == free[2]).all()
    assert not (draw("mean", "a red bird", "--count", "1", "--mean")[1][0] == fixed[0]).all()


def test_captions_that_the_encoder_cannot_read_are_noted(shell: Shell, tmp_path: Path) -> None:
    shell.ok("train", "--preset", "tiny-stage1", *QUICK)
    file = tmp_path / "captions.txt"
    file.write_text("\ufeffa bird\n\n" + "long " * 60 + "\n", encoding="utf-8")
    code, err = shell.fails("sample", "ünï", "--file", str(file), "--count", "1", "--output", str(tmp_path / "out"))
    assert code == 0 and "'ü'" in err and "truncated to 201" in err
    assert len(pictures(tmp_path / "out")) == 3 + 1
    for content, expect in ((b"", "no caption"), (b"\n \n", "no caption"), (b"\xff\xfe\x00", "UTF-8")):
        file.write_bytes(content)
        code, err = shell.fails("sample", "--file", str(file))
        assert code == 2 and expect in err
    for wrong in (
        ["--file", str(tmp_path)],
        ["--file", "absent.txt"],
        ["--run", "tiny-stage"],
        ["--stage", "2"],
        ["--run", "x", "--weights", "y"],
    ):
        code, err = shell.fails("sample", *wrong)
        assert (code == 2 and "→" in err) or "not both" in err, err
    assert shell.fails("sample", "x", "--weights", str(shell.workspace.cache_path("demo")))[0] == 5


def test_sampling_without_captions_takes_held_out_ones(shell: Shell) -> None:
    code, err = shell.fails("sample")
    assert code == 2 and "stackgan train" in err
    shell.ok("train", "--preset", "tiny-stage1", *QUICK)
    drawn = shell.ok("sample", "--count", "1")
    assert len(drawn["pictures"]) == 6 and all(entry["caption"] for entry in drawn["pictures"])
    assert Path(drawn["folder"]).name == "tiny-stage1-demo-001"
    assert Path(shell.ok("sample", "--count", "1")["folder"]).name == "tiny-stage1-demo-002"


def test_an_unconditional_model_takes_no_captions(shell: Shell) -> None:
    words = ["model.conditional=false", "model.wrong_pairs=none", "requires.text_encoder=null"]
    shell.ok("train", "--preset", "tiny-stage1", *QUICK, *words, "--name", "free")
    assert len(shell.ok("sample", "--count", "3")["pictures"]) == 3
    code, err = shell.fails("sample", "a bird")
    assert code == 2 and "unconditional" in err


def test_text_encoders(shell: Shell, tmp_path: Path) -> None:
    words = ["--caption", "a red bird", "--caption", "a blue bird"]
    code, err = shell.fails("encode-text", *words)
    assert code == 2 and "no text encoder" in err
    trained = shell.ok("train", "--preset", "tiny-encoder", "train.steps=2")
    assert {"top1", "ap@50"} <= set(trained)
    assert "zero-shot" in (shell.workspace.runs / "tiny-encoder-demo" / "metrics.jsonl").read_text()

    printed = shell.ok("encode-text", *words)
    assert np.shape(printed["vectors"]) == (2, 64)
    shell.ok("encode-text", *words, "--output", str(tmp_path / "v.npy"))
    assert np.array_equal(np.load(tmp_path / "v.npy"), np.float32(printed["vectors"]))

    stored = shell.ok("encode-text")
    assert stored["captions"] == 1000 and stored["encoder_hash"] == printed["encoder_hash"]
    assert Path(stored["path"]).name == f"demo.{stored['encoder_hash'][:8]}.h5"
    encoder = shell.ok("import", trained["weights"], "--output", str(tmp_path / "encoder.safetensors"))
    assert encoder["hash"] == stored["encoder_hash"]
    assert shell.ok("encode-text", *words, "--encoder", encoder["path"])["vectors"] == printed["vectors"]
    assert shell.fails("encode-text", "demo", "--output", "x.npy")[0] == 2
    assert shell.fails("encode-text", "dmeo")[0] == 4
    assert shell.fails("encode-text", "--encoder", "nothing")[0] in (2, 4)
    (tmp_path / "text.t7").write_text("this is no torch file")
    assert shell.fails("import", str(tmp_path / "text.t7"))[0] in (4, 5)
    assert shell.fails("import", str(tmp_path / "absent.t7"))[0] in (2, 4)


def test_prepare(shell: Shell) -> None:
    words = ["prepare", "demo", "--name", "small", "--count", "60", "--species", "50", "--image-size", "32", "--workers", "1"]
    first = shell.ok(*words)
    assert (first["images"], first["existed"]) == (60, False)
    assert shell.ok(*words)["existed"]
    assert shell.ok("info", "small")["image_size"] == 32
    assert shell.fails(*words, "--seed", "1")[0] == 4
    assert not shell.ok(*words, "--seed", "1", "--force")["existed"]
    for wrong in (["dmeo"], ["demo", "--source", "."], ["demo", "--count", "3"], ["demo", "--count", "-1"], ["demo", "--fit", "crop"]):
        code, err = shell.fails("prepare", *wrong, "--name", "other")
        assert code in (2, 3, 4) and err.startswith("✗"), err
    assert shell.fails("prepare", "cub", "--source", str(shell.workspace.root))[0] == 4


def test_a_cache_that_is_absent_is_named_with_those_that_are_there(shell: Shell) -> None:
    code, err = shell.fails("train", "--preset", "v1-stage1")
    assert code == 4 and "'cub'" in err and "data.cache=demo" in err
    assert shell.ok("train", "--preset", "v1-stage1", "--dry-run", "model.gf_dim=8", "model.df_dim=8")["steps"] is None


def test_the_default_preset_is_that_of_the_newest_cache(shell: Shell) -> None:
    assert shell.ok("train", "--dry-run")["name"] == "demo-stage2"


def test_a_time_limit_stops_in_good_order(shell: Shell) -> None:
    status = shell.ok("train", "--preset", "tiny-stage1", "--name", "limited", "train.steps=1000000", "--stop-after", "1s")
    assert 0 < status["step"] < 1_000_000 and not status["finished"]
    assert (shell.workspace.runs / "limited" / "state" / "latest.pt").exists()
    code, err = shell.fails("train", "--preset", "tiny-stage2", *QUICK, "requires.stage1=limited", "--stop-after", "1s")
    assert code == 5 and "limited" in err


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_first(shell: Shell, number: signal.Signals, code: int) -> None:
    words = ["train", "--preset", "tiny-stage1", "--name", "stopped", "train.steps=1000000", "--workspace", str(shell.workspace.root)]
    process = subprocess.Popen([sys.executable, "-m", "stackgan_cli", *words], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    log = shell.workspace.runs / "stopped" / "log.jsonl"
    deadline = time.monotonic() + 60
    while not (log.is_file() and log.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code and "everything is saved" in err and out == "", err
    assert (shell.workspace.runs / "stopped" / "state" / "latest.pt").exists()


@pytest.mark.parametrize("name", ["d", "not/a/number"])
def test_a_device_that_is_not_there(shell: Shell, name: str) -> None:
    code = main(["train", "--preset", "tiny-stage1", "--device", name, "--workspace", str(shell.workspace.root)])
    assert code == 6 and "device" in shell.capsys.readouterr().err


def test_tensorboard_is_an_extra(shell: Shell) -> None:
    words = ["train", "--preset", "tiny-stage1", *QUICK, "requires.text_encoder=null", "--tensorboard"]
    try:
        import tensorboard  # noqa: F401
    except ImportError:
        code, message = shell.fails(*words)
        assert code == 6 and "stackgan[tensorboard]" in message
    else:
        shell.ok(*words, "--device", "cpu")
        assert list((shell.workspace.runs / "tiny-stage1-demo" / "tensorboard").glob("events.*"))


def test_an_output_folder_that_contains_images_is_refused_or_emptied_of_our_own(shell: Shell, tmp_path: Path) -> None:
    shell.ok("train", "--preset", "tiny-stage1", *QUICK)
    out = tmp_path / "out"
    sample = ["sample", "--output", str(out), "--count"]
    first = shell.ok(*sample, "2", "a red bird", "a blue bird")
    own = {entry["file"] for entry in first["pictures"]}
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    code, err = shell.fails(*sample, "1", "a green bird")
    assert code == 2 and "--overwrite" in err and {path.name: path.read_bytes() for path in out.iterdir()} == before

    mine = {name: out / name for name in ("holiday.jpg", "grid-of-mine.png", "notes.txt", "0000-mine-seed0-32px.png", "../beside.png")}
    for path in mine.values():
        path.write_text("mine")
    sidecar = json.loads((out / "samples.json").read_text())
    sidecar["pictures"].append({"file": "../beside.png"})
    (out / "samples.json").write_text(json.dumps(sidecar))
    second = shell.ok(*sample, "1", "a green bird", "--overwrite", "--no-grid")
    new = {entry["file"] for entry in second["pictures"]}
    assert not own & new and all(path.read_text() == "mine" for path in mine.values())
    assert {path.name for path in out.iterdir()} == {path.name for path in mine.values() if path.parent == out} | new | {"samples.json"}

    # Without a list nothing in the folder is ours.
    (out / "samples.json").unlink()
    kept = {path.name: path.read_bytes() for path in out.iterdir()}
    code, err = shell.fails(*sample, "1", "a green bird", "--overwrite")
    assert code == 2 and "would be replaced" in err and {path.name: path.read_bytes() for path in out.iterdir()} == kept
    (out / "samples.json").write_text("[]")
    assert shell.fails(*sample, "1", "a white bird", "--overwrite")[0] == 2 and (out / "samples.json").read_text() == "[]"
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").write_text("mine")
    shell.ok("sample", "a bird", "--count", "1", "--output", str(empty))
    assert (empty / "notes.txt").read_text() == "mine"
