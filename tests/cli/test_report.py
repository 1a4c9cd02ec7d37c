"""The report: what a run's folder holds is on the page, whatever state it is in, and the page works in a browser."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from browser import Browser, browser  # noqa: F401
from PIL import Image
from test_verbs import Shell, shell  # noqa: F401

from stackgan_cli.config.presets import load_config
from stackgan_cli.runs import Run
from stackgan_cli.viz.grids import save_png
from stackgan_cli.viz.report import loss_series, measured, picture_uri

PROTOCOL = {"name": "clean", "extractor": "<b>net</b>", "n_fake": 1000, "weights": "a"}


def noise(side: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


@pytest.fixture
def run(shell: Shell) -> Run:  # noqa: F811
    """A run as 120 ticks of training, five evaluations and all that makes pictures leave it, without any of them."""
    config = load_config("tiny-v2", ["model.z_dim=8", "train.steps=12000"])
    run = Run.open_or_create(shell.workspace.runs / "full", config)
    (run.folder / "weights" / "latest.safetensors").touch()
    for tick in range(1, 121):
        losses = {"d16": 1 + 20 / tick, "g": math.nan if tick == 7 else 2.0, "d16/real": 0.5, "d16/fake": 0.5}
        run.append_log({"step": 100 * tick, "total_steps": 12000, "epoch": 1.0, "losses": losses, "images_per_second": 100.0})
    for index in range(45):
        save_png(run.folder / "samples" / f"step-{(index + 1) * 100:08d}.png", np.full((30, 40, 3), 5 * index, np.uint8))
    with (run.folder / "metrics.jsonl").open("w") as file:
        for step in (6000, 12000, 3000):
            line = {"metric": "fid", "value": 120 - step / 200, "std": None, "step": step, "protocol": {**PROTOCOL, "weights": str(step)}}
            file.write(json.dumps(line) + "\n")
        file.write('[1]\nno json\n{"other": 1}\n{"metric": "odd", "protocol": "text"}\n')
        file.write(json.dumps({"metric": "<script>alert(1)</script>", "step": 5, "top1": 0.25, "std": 0.5, "value": 1.5}) + "\n")
    for name in ("tsne/map.png", "tsne/real.png", "neighbours/neighbours.png", "interpolate/strip.png"):
        save_png(run.folder / name, noise(64))
    (run.folder / "tsne" / "tsne.json").write_text(json.dumps({"repeats": {"groups": 12}, "points": [[1234.5, 2]]}))
    Image.fromarray(noise(16)).save(run.folder / "interpolate" / "walk.gif")
    return run


def test_everything_is_on_the_page(shell: Shell, run: Run) -> None:  # noqa: F811
    made = shell.ok("report")
    path = run.folder / "report.html"
    assert made["path"] == str(path) and made["pictures"] == ["Interpolation", "t-SNE", "Neighbours"]
    html = path.read_text(encoding="utf-8")
    assert made["bytes"] == len(html.encode())
    for text in ("model.z_dim: 16 -&gt; 8", "12,000 of 12,000", "Parts of d16", "&lt;b&gt;net&lt;/b&gt;", "groups 12", "top1 0.25"):
        assert text in html, text
    assert "<script>alert" not in html and "http" not in html.replace("http-equiv", "") and "<b>net" not in html
    assert "1.5 ± 0.5, top1 0.25" in html and html.index("Changes from the preset") < html.index("All keys")
    assert html.count('class="chart"') == 4
    assert "stackgan tsne" not in html and "1234.5" not in html


def test_equal_runs_give_equal_pages(shell: Shell, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    pages = []
    for number, date in enumerate(("2001-01-01 10:00", "2002-02-02 20:00")):
        monkeypatch.setattr("stackgan_cli.workflows.report.time.strftime", lambda _, date=date: date)
        path = tmp_path / "deep" / f"{number}.html"
        shell.ok("report", run.name, "--output", str(path))
        pages.append(path.read_text(encoding="utf-8").splitlines())
    assert [first for first, second in zip(*pages, strict=True) if first != second] == [
        '<p class="soft date">Created on 2001-01-01 10:00</p>'
    ]
    assert not (run.folder / "report.html").exists()


def test_what_is_not_there_is_named_with_its_command(shell: Shell) -> None:  # noqa: F811
    assert shell.fails("report")[0] == 2
    run = Run.open_or_create(shell.workspace.runs / "bare", load_config("tiny-stage1"))
    shell.ok("report", "bare")
    html = (run.folder / "report.html").read_text(encoding="utf-8")
    for text in ("unchanged", "Nothing has been logged", "No samples", "stackgan evaluate bare --metric fid"):
        assert text in html, text
    for verb in ("interpolate", "tsne", "neighbours"):
        assert f"stackgan {verb} --run bare" in html
    own = load_config("tiny-stage1").model_copy(update={"name": "my-own"})
    Run.open_or_create(shell.workspace.runs / "own", own)
    shell.ok("report", "own")
    assert "which is not a preset" in (shell.workspace.runs / "own" / "report.html").read_text(encoding="utf-8")


def test_a_text_encoder_draws_nothing(shell: Shell) -> None:  # noqa: F811
    run = Run.open_or_create(shell.workspace.runs / "reader", load_config("tiny-encoder"))
    run.append_log({"step": 1, "total_steps": 2, "losses": {"sje": 1.0}})
    shell.ok("report", "reader")
    html = (run.folder / "report.html").read_text(encoding="utf-8")
    assert "Samples over time" not in html and "t-SNE" not in html and 'class="chart"' in html


def test_broken_pictures_and_bad_names(shell: Shell, run: Run, tmp_path: Path) -> None:  # noqa: F811
    (run.folder / "tsne" / "map.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (run.folder / "samples" / "step-00000100.png").write_bytes(b"")
    (run.folder / "tsne" / "tsne.json").write_text("{")
    code, err = shell.fails("report", "full")
    assert code == 0 and err.count("cannot be read") == 2 and "map.png" in err
    assert shell.fails("report", "fll")[0] == 2 and "did you mean" in shell.fails("report", "fulll")[1]
    code, err = shell.fails("report", "full", "--output", str(tmp_path))
    assert code == 2 and "folder" in err


def test_large_pictures_are_reduced(tmp_path: Path) -> None:
    save_png(tmp_path / "small.png", noise(64))
    save_png(tmp_path / "large.png", noise(2000))
    assert picture_uri(tmp_path / "small.png").startswith("data:image/png")
    large = picture_uri(tmp_path / "large.png", 400)
    assert large.startswith("data:image/jpeg") and len(large) < 400 * 400 * 3


def test_curves_by_chart() -> None:
    log = [{"step": step, "losses": {"d": 1, "g": step, "g/kl": 2, "g/adv": 3}, "images_per_second": 9} for step in (1, 2)]
    charts = loss_series(log)
    assert {title: [one.name for one in series] for title, series in charts.items()} == {
        "Losses": ["d", "g"],
        "Parts of g": ["kl", "adv"],
        "Speed": ["images per second"],
    }
    assert charts["Losses"][1].xs == charts["Losses"][1].ys == (1, 2)
    assert list(charts)[-1] == "Speed"


def test_metrics_are_grouped_by_protocol() -> None:
    def line(value: float, step: int, **protocol: object) -> dict[str, object]:
        return {"metric": "fid", "value": value, "step": step, "protocol": {**PROTOCOL, "fake": {"weights": str(step)}, **protocol}}

    groups = measured([line(1, 10), line(2, 20), line(3, 10, n_fake=5), line(4, 20), {"step": 3}])
    assert [{step: one["value"] for step, one in group.lines.items()} for group in groups] == [{10: 1, 20: 4}, {10: 3}]
    assert groups[0].newest["value"] == 4 and groups[0].title == "fid"
    assert measured([{**line(1, 10), "title": "FID (features of x)"}])[0].title == "FID (features of x)"


def test_the_report_in_a_browser(shell: Shell, run: Run, browser: Browser) -> None:  # noqa: F811
    shell.ok("report", "full")
    page = browser.open(run.folder / "report.html")
    assert page.text("h1") == "full"

    page.click("#configuration summary")
    assert page.value("document.querySelector('#configuration pre').checkVisibility()") is True
    page.click("#metrics details summary")
    assert "<b>net</b>" in page.text("#metrics .told")

    assert page.text("#film-step") == "4,500"
    last = page.value("document.querySelector('#film-picture').src")
    page.click("#film", 0.01)
    assert page.text("#film-step") == "100" and page.value("document.querySelector('#film-picture').src") != last
    page.press("ArrowRight")
    assert page.text("#film-step") == "200"
    page.press("End")
    assert page.value("document.querySelector('#film-picture').src") == last
    assert page.value("document.querySelector('#film-picture').alt") == "samples at step 4,500"

    losses = "#loss-0"
    page.click(f"{losses} .log")
    shown = f"[...document.querySelectorAll('{losses} .scale')].filter((one) => one.checkVisibility()).map((one) => one.dataset.kind)"
    assert page.value(shown) == ["log"]
    page.click(f"{losses} .log")
    assert page.value(shown) == ["linear"]
    page.mouse(f"{losses} .plot", 0.9999, 0.5)
    assert page.text(f"{losses} .at") == "at 12,000"
    assert page.text(f"{losses} .legend li:first-child output") == "1.167"
    page.value(f"document.querySelector('{losses} .plot').focus()")
    page.press("Home", "ArrowRight")
    assert page.text(f"{losses} .at") == "at 200" and page.text(f"{losses} .legend li:first-child output") == "11"
    page.press(*["ArrowRight"] * 5)
    assert page.text(f"{losses} .at") == "at 700" and page.text(f"{losses} .legend li:nth-child(2) output") == ""

    assert page.value("[...document.images].every((image) => image.complete && image.naturalWidth && image.alt)") is True
    for width, dark in ((400, True), (1280, False)):
        page.look(width, dark=dark)
        assert page.value("document.documentElement.scrollWidth") <= width
        assert (page.value("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)") is not dark
    assert page.problems() == []
