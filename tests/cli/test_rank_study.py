"""Human studies: which texts are asked about, that the page gives nothing away, that it works in a browser, and what answers say."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Browser, browser  # noqa: F401
from PIL import Image
from test_verbs import VIVID, Shell, shell  # noqa: F401

from stackgan_cli.data.cache import Cache
from stackgan_cli.data.stores import centre_views
from stackgan_cli.errors import DataError, MismatchError, UserError
from stackgan_cli.metrics.rank_study import HEADER, REAL, Study, pick_captions, plan, read_answers, score
from stackgan_cli.sampling import Sampler
from stackgan_cli.viz.pages import image_uri
from stackgan_cli.viz.rank_page import rank_page


def embedded(html: str) -> dict[str, Any]:
    match = re.search(r'<script type="application/json" id="study">(.*?)</script>', html, re.DOTALL)
    assert match is not None
    return dict(json.loads(match[1]))


def pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def write(path: Path, rows: list[list[str]], header: list[str] = HEADER) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


# -- the plan ---------------------------------------------------------------------------------------------------------------


def test_classes_take_turns_and_none_gets_too_many() -> None:
    class_ids = np.repeat([3, 5, 9], [1, 4, 15])
    offsets = np.arange(21) * 5
    rows = np.arange(20)
    picked = pick_captions(class_ids, offsets, rows, per_class=8, count=1000, seed=0)
    counts = np.bincount(class_ids[[row for row, _ in picked]], minlength=10)
    assert counts[[3, 5, 9]].tolist() == [5, 8, 8] and len(set(picked)) == 21
    assert all(offsets[row] <= caption < offsets[row + 1] for row, caption in picked)
    few = pick_captions(class_ids, offsets, rows, per_class=8, count=6, seed=0)
    assert np.bincount(class_ids[[row for row, _ in few]], minlength=10)[[3, 5, 9]].tolist() == [2, 2, 2]
    assert few == pick_captions(class_ids, offsets, rows, per_class=8, count=6, seed=0)
    assert few != pick_captions(class_ids, offsets, rows, per_class=8, count=6, seed=1)
    without = pick_captions(np.full(20, -1), offsets, rows, per_class=50, count=30, seed=0)
    assert len(set(without)) == 30


def test_every_model_stands_at_every_place() -> None:
    questions = plan("rank", ["a", "b", "c"], [(f"text {index}", index) for index in range(300)], images=5, seed=0)
    places = np.array([[question.options.index(model) for model in "abc"] for question in questions])
    assert (np.sort(places, 1) == [0, 1, 2]).all()
    assert all(70 < count < 130 for column in places.T for count in np.bincount(column))
    assert len({question.prompt for question in questions}) == 300 and [question.id for question in questions[:2]] == ["q001", "q002"]
    seeds = [seed for question in questions for seed in question.seeds]
    assert len(set(seeds)) == 1500
    real = plan("real", ["a", "b"], [(None, index) for index in range(100)], images=1, seed=0)
    assert all(REAL in question.options and len(question.options) == 2 for question in real)
    assert sum("a" in question.options for question in real) == 50
    assert 30 < sum(question.options[0] == REAL for question in real) < 70


# -- scoring ----------------------------------------------------------------------------------------------------------------


def study_of(kind: Any, models: tuple[str, ...], count: int) -> Study:
    return Study("abc", kind, models, plan(kind, models, [(None, None)] * count, images=1, seed=3), {})


def ranking_by(question: Any, order: Iterable[str]) -> str:
    return ">".join(str(question.options.index(model) + 1) for model in order)


def test_people_who_agree(tmp_path: Path) -> None:
    study = study_of("rank", ("a", "b", "c"), 10)
    rows = [["abc", person, question.id, ranking_by(question, "bca")] for person in ("x", "y") for question in study.questions]
    found = score(study, read_answers([write(tmp_path / "all.csv", rows)], study))
    assert [model["model"] for model in found["models"]] == ["b", "c", "a"]
    assert [(model["mean_rank"], model["low"], model["high"]) for model in found["models"]] == [(1, 1, 1), (2, 2, 2), (3, 3, 3)]
    assert found["kendall_w"] == pytest.approx(1) and found["p"] < 1e-6
    assert (found["answers"], found["respondents"], found["questions"]) == (20, 2, 10)


def test_ties_share_the_mean_of_their_places(tmp_path: Path) -> None:
    study = study_of("rank", ("a", "b", "c"), 1)
    (question,) = study.questions
    a, b, c = (question.options.index(model) + 1 for model in "abc")
    path = write(tmp_path / "one.csv", [["abc", "x", "q001", f"{c}>{a}={b}"]])
    ranks = {model["model"]: model["mean_rank"] for model in score(study, read_answers([path], study))["models"]}
    assert ranks == {"a": 2.5, "b": 2.5, "c": 1}


def test_the_fooling_rate(tmp_path: Path) -> None:
    study = study_of("real", ("good", "bad"), 40)
    orders = {"good": ("good", REAL), "bad": (REAL, "bad")}
    rows = [
        ["abc", "x", question.id, ranking_by(question, orders["good" if "good" in question.options else "bad"])]
        for question in study.questions
    ]
    found = score(study, read_answers([write(tmp_path / "a.csv", rows)], study))
    assert [(model["model"], model["rate"], model["answers"]) for model in found["models"]] == [("good", 1.0, 20), ("bad", 0.0, 20)]
    assert 0 < found["models"][1]["high"] < 0.2


@pytest.mark.parametrize(
    ("rows", "expected", "kind"),
    [
        ([["abc", "x", "q001", "1>2"], ["abc", "x", "q099", "1>2"]], "q099", DataError),
        ([["abc", "x", "q001", "1>2"], ["abc", "x", "q001", "2>1"]], "already answered", DataError),
        ([["xyz", "x", "q001", "1>2"]], "'xyz'", MismatchError),
        ([["abc", "x", "q001", "1"]], "does not rank 2", DataError),
        ([["abc", "x", "q001", "1>1"]], "does not rank 2", DataError),
        ([["abc", "x", "q001", "1>3"]], "does not rank 2", DataError),
        ([["abc", "x", "q001", "best"]], "does not rank 2", DataError),
        ([["abc", "x", "q001", ""]], "does not rank 2", DataError),
        ([["abc", "x", "q001"]], "3 columns", DataError),
        ([], "no answers", DataError),
    ],
)
def test_answers_that_cannot_be_counted(rows: list[list[str]], expected: str, kind: type[UserError], tmp_path: Path) -> None:
    study = study_of("rank", ("a", "b"), 2)
    with pytest.raises(kind, match=expected) as caught:
        read_answers([write(tmp_path / "a.csv", rows)], study)
    assert "a.csv" in caught.value.where
    if rows:
        assert f"line {len(rows) + 1}" in caught.value.where


def test_files_that_are_no_answers(tmp_path: Path) -> None:
    study = study_of("real", ("a",), 2)
    for content in (b"", b"\xff\xfe\x00", b"a,b\n1,2\n", b'study,respondent,question,ranking\n"abc'):
        (tmp_path / "a.csv").write_bytes(content)
        with pytest.raises(DataError):
            read_answers([tmp_path / "a.csv"], study)
    with pytest.raises(DataError, match=r"[Nn]o such file"):
        read_answers([tmp_path / "absent.csv"], study)
    with pytest.raises(DataError, match="does not rank 2"):
        read_answers([write(tmp_path / "tie.csv", [["abc", "x", "q001", "1=2"]])], study)
    again = write(tmp_path / "one.csv", [["abc", "x", "q001", "1>2"]])
    with pytest.raises(DataError, match="already"):
        read_answers([again, write(tmp_path / "two.csv", [["abc", "x", "q001", "1>2"]])], study)


def test_a_key_is_read_back_and_nothing_else_is(tmp_path: Path) -> None:
    study = study_of("rank", ("a", "b"), 3)
    path = tmp_path / "key.json"
    path.write_text(json.dumps(study.to_json()), encoding="utf-8")
    assert Study.read(path) == study
    other = replace(study.questions[0], options=("a", "z"))
    for wrong in ("[]", "{}", "no", json.dumps({"format": "x"}), json.dumps(replace(study, questions=(other,)).to_json())):
        path.write_text(wrong, encoding="utf-8")
        with pytest.raises(DataError, match="key of a study"):
            Study.read(path)
    with pytest.raises(DataError, match="cannot be read"):
        Study.read(tmp_path / "absent.json")


# -- the commands -----------------------------------------------------------------------------------------------------------


def test_from_two_runs_to_a_score(shell: Shell, tmp_path: Path) -> None:  # noqa: F811
    for name, seed in (("secret-first", 0), ("secret-second", 1)):
        shell.ok("train", "--preset", "tiny-stage1", "--name", name, f"train.seed={seed}", *VIVID)
    runs = ["secret-first", str(shell.workspace.runs / "secret-second" / "weights" / "latest.safetensors")]
    words = ["rank-study", "make", *runs, "--questions", "4", "--images", "2"]
    made = shell.ok(*words, "--output", str(tmp_path / "a"))
    html = Path(made["page"]).read_text(encoding="utf-8")
    assert made["bytes"] == len(html) and "secret" not in html and "safetensors" not in html and "tiny" not in html
    key = Study.read(Path(made["key"]))
    page = embedded(html)
    assert page["id"] == key.id == made["study"] and len(page["questions"]) == 4
    weights = shell.workspace.find_run("secret-first").latest_weights()
    assert weights is not None
    samplers = {runs[0]: Sampler.load(weights), runs[1]: Sampler.load(Path(runs[1]))}
    for shown, question in zip(page["questions"], key.questions, strict=True):
        assert shown["prompt"] == question.prompt and len(shown["options"]) == 2
        for uris, model in zip(shown["options"], question.options, strict=True):
            assert question.prompt is not None
            drawn = samplers[model].sample([question.prompt] * 2, question.seeds)
            apart = np.abs(np.array([pixels(uri) for uri in uris], int) - drawn[max(drawn)])
            assert apart.max() <= 1  # the last bit of a convolution depends on the size of the batch

    shell.ok(*words, "--output", str(tmp_path / "b"))
    assert (tmp_path / "b" / "study.html").read_text() == html
    other = shell.ok(*words, "--seed", "1", "--jpeg", "--output", str(tmp_path / "c"))
    assert other["study"] != made["study"] and "data:image/jpeg" in (tmp_path / "c" / "study.html").read_text()

    rows = [[key.id, "someone", question.id, "1>2"] for question in key.questions]
    answers = write(tmp_path / "answers.csv", rows)
    found = shell.ok("rank-study", "score", str(answers), "--key", made["key"])
    assert {model["model"] for model in found["models"]} == set(runs) and found["answers"] == 4
    code, err = shell.fails("rank-study", "score", str(answers), "--key", other["key"])
    assert code == 5 and key.id in err

    real = shell.ok("rank-study", "make", "secret-first", "--real", "--questions", "3")
    assert real["questions"] == 3 and Path(real["page"]).parent == shell.workspace.root / "rank-studies" / "001"
    key = Study.read(Path(real["key"]))
    cache = Cache.open(shell.workspace.cache_path("demo"))
    for shown, question in zip(embedded(Path(real["page"]).read_text())["questions"], key.questions, strict=True):
        assert shown["prompt"] is None
        (uri,) = shown["options"][question.options.index(REAL)]
        (expected,) = centre_views(cache, np.array([question.row]), pixels(uri).shape[0])
        assert np.array_equal(pixels(uri), expected)

    for wrong, code, expected in (
        (["secret-first"], 2, "not 1"),
        (["secret-first", "secret-first"], 2, "not 1"),
        (["secret-first", "secret-third"], 2, "did you mean"),
        (["secret-first", "secret-second", "--real", "--images", "3"], 2, "--images"),
        (["secret-first", "secret-second", "--real", "--questions", "1"], 2, "--questions"),
        (["secret-first", "secret-second", "--cache", "dmeo"], 4, "dmeo"),
    ):
        found_code, err = shell.fails("rank-study", "make", *wrong)
        assert (found_code, expected in err) == (code, True), err


# -- the page ---------------------------------------------------------------------------------------------------------------


def flat(value: int, side: int = 24) -> str:
    return image_uri(np.full((side, side, 3), value, np.uint8))


def test_the_page_in_a_browser(browser: Browser, tmp_path: Path) -> None:  # noqa: F811
    prompt = 'a <b>red</b> bird & "another" </script><script>window.broken = 1</script>'
    questions = [
        {"id": f"q{number:03d}", "prompt": prompt, "options": [[flat(40 * place + number)] * 2 for place in (1, 2, 3)]}
        for number in (1, 2, 3)
    ]
    path = tmp_path / "study.html"
    path.write_text(rank_page("abc123", "rank", questions), encoding="utf-8")
    page = browser.open(path)
    page.click("#name")
    page.press(*"Ann,", "E", "Enter")
    assert page.text("#prompt") == prompt and page.value("window.broken") is None
    assert page.text("#count") == "Question 1 of 3" and page.value("document.querySelector('#progress').value") == 0
    page.press("3", "Enter")
    assert "2 more" in page.text("#said") and page.text("#count") == "Question 1 of 3"
    page.press("1", "Backspace", "2", "1")
    assert [page.text(f".option:nth-child({place}) .rank") for place in (1, 2, 3)] == ["rank 3", "rank 2", "rank 1"]
    page.press("Enter")
    assert page.text("#count") == "Question 2 of 3"
    page.press("1", "=", "2", "3", "Enter")
    page.reload()
    assert page.text("#count") == "Question 3 of 3" and page.value("document.querySelector('#progress').value") == 2
    page.click(".option:nth-child(2)")
    page.click(".option:nth-child(3)")
    page.click(".option:nth-child(2)")
    page.click(".option:nth-child(1)")
    page.press("Tab")
    assert page.value("document.activeElement.className") == "option"
    assert page.value("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.press("Enter")
    assert page.text("#count") == "Question 3 of 3" and page.text(".option:nth-child(2) .rank") == "rank 3"
    page.press("Enter")
    assert "Thank you" in page.text("#end")
    rows = [["abc123", "Ann,E", f"q00{number}", order] for number, order in ((1, "3>2>1"), (2, "1=2>3"), (3, "3>1>2"))]
    found = list(csv.reader(io.StringIO(page.value("rankStudy.csv()"))))
    assert found == [HEADER, *rows]
    page.click("#end .save")
    saved = browser.wait("Browser.downloadWillBegin")["suggestedFilename"]
    while browser.wait("Browser.downloadProgress")["state"] == "inProgress":
        pass
    assert saved == "answers-abc123-Ann-E.csv"
    assert list(csv.reader((browser.downloads / saved).open(newline=""))) == found
    study = Study("abc123", "rank", ("a", "b", "c"), plan("rank", ["a", "b", "c"], [(None, None)] * 3, images=1, seed=0), {})
    assert len(read_answers([browser.downloads / saved], study)) == 3
    assert page.problems() == []


def test_two_alternatives_in_a_browser(browser: Browser, tmp_path: Path) -> None:  # noqa: F811
    questions = [{"id": f"q{number:03d}", "prompt": None, "options": [[flat(10)], [flat(200)]]} for number in (1, 2)]
    path = tmp_path / "real.html"
    path.write_text(rank_page("real12", "real", questions), encoding="utf-8")
    page = browser.open(path, width=400, dark=True)
    page.click("#start")
    page.press("1", "2")
    assert page.text(".option:nth-child(2) .rank") == "real" and page.text(".option:nth-child(1) .rank") == ""
    page.press("Enter", "1", "Enter")
    answers = [row[2:] for row in csv.reader(io.StringIO(page.value("rankStudy.csv()")))]
    assert answers == [["question", "ranking"], ["q001", "2>1"], ["q002", "1>2"]]
    assert page.value("document.documentElement.scrollWidth") <= 400
    assert page.problems() == []
