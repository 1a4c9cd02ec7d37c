"""A human study as data: its questions, the order in which models appear in each, and the evaluation of the answers.

In a `rank` study, each question shows images of one text by all models, which are to be ranked (human rank, StackGAN++ section 5.1). In a
`real` study, it shows one generated and one real image, and the real one is to be found (SGAN's visual Turing test, here with two
alternatives, so chance is 50%). Respondents see numbered places only; a separate file, the key, says which model is at which place. The
page itself is in `viz/rank_page.py`.

Answers are CSV files with the columns of HEADER. A ranking is written `2>1=3`: place 2 is best, places 1 and 3 tie.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from stackgan_cli.errors import DataError, MismatchError
from stackgan_cli.metrics.ranks import agreement, bootstrap, ranks_of, wilson

FORMAT = "stackgan-rank-study-1"
HEADER = ["study", "respondent", "question", "ranking"]
REAL = "(a real image)"
"""Represents the real image in a key; a run cannot have this name."""
MOST_MODELS = 9
"""Places are chosen with the keys 1 to 9."""


@dataclass(frozen=True)
class Question:
    """`options[i]` is the model (or REAL) at place i + 1. `row` is the image of the dataset that the prompt describes."""

    id: str
    prompt: str | None
    row: int | None
    seeds: tuple[int, ...]
    options: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """The key of a study. `about` says how its images were made."""

    id: str
    kind: Literal["rank", "real"]
    models: tuple[str, ...]
    questions: tuple[Question, ...]
    about: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def read(cls, path: Path) -> Study:
        """Read a key that was written from `to_json`. Raises DataError for any other file."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if found.pop("format") != FORMAT:
                raise ValueError("unknown format")
            questions = tuple(
                Question(**{**one, "seeds": tuple(one["seeds"]), "options": tuple(one["options"])}) for one in found.pop("questions")
            )
            study = cls(**{**found, "models": tuple(found["models"])}, questions=questions)
            for question in questions:
                if not set(question.options) <= {*study.models, REAL} or len(set(question.options)) != len(question.options):
                    raise ValueError(f"{question.id} names models that are not in the study")
            return study
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror}", where=path, hint="give the key.json beside the page with --key") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"is not the key of a study ({error})", where=path, hint="`stackgan rank-study make` writes key.json") from None


def pick_captions(
    class_ids: np.ndarray, caption_offsets: np.ndarray, rows: np.ndarray, *, per_class: int, count: int, seed: int
) -> list[tuple[int, int]]:
    """Random (row, caption) pairs of the images `rows`: at most `per_class` of each class, and at most `count` in all.

    The classes take turns, so that even a small study covers as many of them as possible. `class_ids` (N,) and `caption_offsets` (N + 1,)
    are those of a cache; images without a class count as one class.
    """
    random = np.random.default_rng(seed)
    turns: list[tuple[int, int, int, int]] = []
    for place, class_id in enumerate(random.permutation(np.unique(class_ids[rows]))):
        own = rows[class_ids[rows] == class_id]
        pairs = [(int(row), caption) for row in own for caption in range(caption_offsets[row], caption_offsets[row + 1])]
        turns += [(turn, place, *pairs[index]) for turn, index in enumerate(random.permutation(len(pairs))[:per_class])]
    return [(row, caption) for _, _, row, caption in sorted(turns)[:count]]


def plan(
    kind: Literal["rank", "real"],
    models: Sequence[str],
    prompts: Sequence[tuple[str | None, int | None]],
    *,
    images: int,
    seed: int,
) -> tuple[Question, ...]:
    """The questions about `prompts` (text, row) in random order, each with its options in random order.

    The options of a `real` question are REAL and one of the models, which take turns. All models have the same seeds for a prompt.
    """
    random = np.random.default_rng(seed)
    questions = []
    for number, index in enumerate(random.permutation(len(prompts)).tolist()):
        prompt, row = prompts[index]
        shown = tuple(models) if kind == "rank" else (models[index % len(models)], REAL)
        options = tuple(shown[place] for place in random.permutation(len(shown)))
        seeds = tuple(seed + index * images + image for image in range(images))
        questions.append(Question(f"q{number + 1:03d}", prompt, row, seeds, options))
    return tuple(questions)


@dataclass(frozen=True)
class Answer:
    """`order` lists the places of the question in groups of ties, best group first."""

    respondent: str
    question: str
    order: list[list[int]]


def read_answers(paths: Sequence[Path], study: Study) -> list[Answer]:
    """The answers in CSV files. Raises DataError or MismatchError for the first error, naming its file and line."""
    answers: list[Answer] = []
    seen: dict[tuple[str, str], str] = {}
    places = {question.id: len(question.options) for question in study.questions}
    for path in paths:
        for number, row in enumerate(_rows(path), 2):
            where = f"{path}, line {number}"
            if len(row) != len(HEADER):
                raise DataError(
                    f"{len(row)} columns instead of {len(HEADER)}", where=where, hint="give a file saved by the page of the study"
                )
            study_id, respondent, question, ranking = (cell.strip() for cell in row)
            if study_id != study.id:
                raise MismatchError(
                    f"this answer belongs to study {study_id!r}, but the key to {study.id!r}", where=where, hint="give the key of its study"
                )
            if question not in places:
                raise DataError(f"this study has no question {question!r}", where=where)
            before = seen.setdefault((respondent, question), where)
            if before != where:
                raise DataError(
                    f"{respondent or 'a respondent without a name'} has already answered {question} ({before})",
                    where=where,
                    hint="remove one of the two, or give each respondent a different name",
                )
            answers.append(Answer(respondent, question, _order(ranking, places[question], ties=study.kind == "rank", where=where)))
    if not answers:
        raise DataError("there are no answers", where=", ".join(map(str, paths)))
    return answers


def _rows(path: Path) -> list[list[str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header, *rows = [*csv.reader(file, strict=True)] or [[]]
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=path) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"is not a CSV file ({error})", where=path, hint="give a file saved by the page of the study") from None
    if header != HEADER:
        raise DataError(f"does not begin with the line {','.join(HEADER)}", where=path, hint="give a file saved by the page of the study")
    return [row for row in rows if row]


def _order(ranking: str, count: int, *, ties: bool, where: str) -> list[list[int]]:
    good = re.fullmatch(r"[1-9]([>=][1-9])*", ranking)
    order = [[int(place) for place in group.split("=")] for group in ranking.split(">")] if good else []
    if sorted(place for group in order for place in group) != list(range(1, count + 1)) or (len(order) < count and not ties):
        example = ">".join(str(place) for place in range(count, 0, -1))
        raise DataError(f"{ranking!r} does not rank {count} places", where=where, hint=f"a valid example is {example}")
    return order


def score(study: Study, answers: Sequence[Answer], *, seed: int = 0) -> dict[str, Any]:
    """Mean ranks and agreement (`rank` study) or fooling rates (`real` study), the best model first."""
    people, person = np.unique([answer.respondent for answer in answers], return_inverse=True)
    texts, text = np.unique([answer.question for answer in answers], return_inverse=True)
    facts = {"kind": study.kind, "study": study.id, "answers": len(answers), "respondents": len(people), "questions": len(texts)}
    options = {question.id: question.options for question in study.questions}
    if study.kind == "real":
        fooled: dict[str, list[bool]] = {model: [] for model in study.models}
        for answer in answers:
            shown = options[answer.question]
            (model,) = [name for name in shown if name != REAL]
            fooled[model].append(shown[answer.order[0][0] - 1] == model)
        rates = [_rate(model, asked) for model, asked in fooled.items()]
        return {**facts, "models": sorted(rates, key=lambda rate: -rate["rate"])}
    ranks = np.empty((len(answers), len(study.models)))
    for number, answer in enumerate(answers):
        by_place = ranks_of([[place - 1 for place in group] for group in answer.order], len(study.models))
        ranks[number] = [by_place[options[answer.question].index(model)] for model in study.models]
    ends, first = bootstrap(ranks, person, text, seed=seed), ranks == ranks.min(1, keepdims=True)
    models = [
        {"model": model, "mean_rank": float(mean), "low": float(low), "high": float(high), "best": float(best)}
        for model, mean, (low, high), best in zip(study.models, ranks.mean(0), ends, first.mean(0), strict=True)
    ]
    common = agreement(ranks)
    tests = {"kendall_w": common.w, "friedman_chi2": common.chi2, "p": common.p, "seed": seed}
    return {**facts, "models": sorted(models, key=lambda model: model["mean_rank"]), **tests}


def _rate(model: str, fooled: Sequence[bool]) -> dict[str, Any]:
    low, high = wilson(sum(fooled), len(fooled)) if fooled else (0.0, 1.0)
    return {
        "model": model,
        "fooled": sum(fooled),
        "answers": len(fooled),
        "rate": sum(fooled) / len(fooled) if fooled else 0.0,
        "low": low,
        "high": high,
    }
