"""The page of a human study: numbered places with pictures, to be ranked or told from real ones, with the keyboard or by clicking.

One file that works without a network. It holds pictures and texts and not a word about where they came from; answers stay in the
browser's storage until they are saved as CSV. What stands behind the numbers is in the study's key, which is no part of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from stackgan_cli.viz.assets import asset
from stackgan_cli.viz.pages import embedded_json, escape, page

INTRODUCTIONS = {
    "rank": (
        "Which pictures are best?",
        "Each question shows {texts} several rows of pictures. Rank the rows by how good the pictures are{and_match}: choose the best row"
        " first, then the next best, and so on.",
        "<kbd>1</kbd> to <kbd>{places}</kbd> choose a row, <kbd>=</kbd> before a choice gives it the same rank as the last one,"
        " <kbd>Backspace</kbd> takes back, <kbd>Enter</kbd> goes on.",
        "Choose the best row first, then the next best.",
    ),
    "real": (
        "Which picture is real?",
        "Each question shows two pictures. One is real, the other was made by a computer. Choose the one that you take for real.",
        "<kbd>1</kbd> and <kbd>2</kbd> choose a picture, <kbd>Backspace</kbd> takes back, <kbd>Enter</kbd> goes on.",
        "Which one is real?",
    ),
}
"""Title, what to do, keys, and the short form of what to do, for each kind of study."""


def rank_page(study_id: str, kind: Literal["rank", "real"], questions: Sequence[dict[str, Any]]) -> str:
    """The document. A question is `{"id", "prompt" (text or None), "options": [[data URI of a picture, ...] for each place]}`."""
    title, what, keys, short = INTRODUCTIONS[kind]
    prompts = any(question["prompt"] for question in questions)
    what = what.format(texts="a text and" if prompts else "", and_match=" and how well they show the text" if prompts else "")
    keys = keys.format(places=len(questions[0]["options"]))
    body = f"""<main class="ask-{kind}">
<section id="intro">
<h1 tabindex="-1">{escape(title)}</h1>
<p>{escape(what)}</p>
<p>Keyboard: {keys}</p>
<p>There are {len(questions)} questions. Answers stay in this browser until you save them as a file at the end, and nothing is sent
anywhere. You may stop and come back.</p>
<form id="form">
<label for="name">Your name (may be left out)</label>
<input type="text" id="name" autocomplete="off" maxlength="80">
<button class="main" id="start">Start</button>
</form>
</section>
<section id="question" aria-labelledby="count" hidden>
<div class="bar"><span id="count" tabindex="-1"></span><progress id="progress" aria-label="questions answered"></progress></div>
<h1 class="prompt" id="prompt"></h1>
<p class="soft">{escape(short)}</p>
<div class="options" id="options"></div>
<p id="said" class="soft" role="status"></p>
<div class="keys">
<button type="button" id="back">Back</button>
<button type="button" id="undo">Take back <kbd>Backspace</kbd></button>
<button type="button" id="tie" aria-pressed="false"{"" if kind == "rank" else " hidden"}>Same rank <kbd>=</kbd></button>
<span class="space"></span>
<button type="button" class="save">Save so far</button>
<button type="button" class="main" id="next">Next <kbd>Enter</kbd></button>
</div>
</section>
<section id="end" hidden>
<h1 tabindex="-1">Thank you</h1>
<p id="done"></p>
<p>Please save your answers and hand the file to whoever asked you.</p>
<div class="keys">
<button type="button" class="save main">Save answers (CSV)</button>
<button type="button" id="review">Look at them again</button>
<span class="space"></span>
<button type="button" id="clear">Next person</button>
</div>
</section>
<p id="unkept" class="soft" hidden>This browser does not keep answers between visits: save them before you close the page.</p>
</main>
{embedded_json({"id": study_id, "kind": kind, "questions": list(questions)}, "study")}"""
    return page(title, body, style=asset("base.css") + asset("rank.css"), script=asset("rank.js"))
