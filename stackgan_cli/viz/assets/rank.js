"use strict";
// A questionnaire: which of several numbered places shows the best images. Nothing here says what a number stands for.
(() => {
  const element = (id) => document.getElementById(id);
  const study = JSON.parse(element("study").textContent);
  const questions = study.questions;
  const ranking = study.kind === "rank";
  const shelf = `stackgan rank study ${study.id}`;

  const blank = () => ({ name: "", token: Math.random().toString(36).slice(2, 8), at: -1, answers: {} });
  let state = blank();
  let tie = false;
  let kept = true;
  try {
    const found = JSON.parse(localStorage.getItem(shelf));
    if (found && found.answers) state = found;
  } catch {
    kept = false;
  }

  function keep() {
    try {
      localStorage.setItem(shelf, JSON.stringify(state));
    } catch {
      kept = false;
    }
  }

  // An answer is a list of groups of places, best first; the places of a group are tied.
  const groupsOf = (question) => state.answers[question.id] || [];
  const complete = (question) => groupsOf(question).flat().length === question.options.length;
  const current = () => questions[state.at];

  function rankOf(groups, place) {
    let before = 0;
    for (const group of groups) {
      if (group.includes(place)) return before + 1;
      before += group.length;
    }
    return 0;
  }

  function change(groups, said) {
    state.answers[current().id] = groups.filter((group) => group.length);
    keep();
    show(said);
  }

  function pick(place) {
    const groups = groupsOf(current()).map((group) => [...group]);
    if (!ranking) {
      change([[place], [3 - place]], `you chose ${place} as the real one`);
      return;
    }
    if (rankOf(groups, place)) {
      change(groups.map((group) => group.filter((other) => other !== place)), `choice of ${place} undone`);
      return;
    }
    if (tie && groups.length) groups[groups.length - 1].push(place);
    else groups.push([place]);
    tie = false;
    change(groups, `${place} has rank ${rankOf(groups, place)}`);
  }

  function undo() {
    const groups = groupsOf(current()).map((group) => [...group]);
    if (!groups.length) return back();
    const last = groups[groups.length - 1];
    if (!ranking) return change([], "choice undone");
    const place = last.pop();
    return change(groups, `choice of ${place} undone`);
  }

  function go(at) {
    state.at = Math.max(-1, Math.min(questions.length, at));
    tie = false;
    keep();
    show("");
    const heading = element(state.at < 0 ? "intro" : state.at < questions.length ? "question" : "end").querySelector("[tabindex]");
    if (heading) heading.focus({ preventScroll: true });
    scrollTo(0, 0);
  }

  const back = () => go(state.at - 1);

  function next() {
    const left = current().options.length - groupsOf(current()).flat().length;
    if (left) element("said").textContent = ranking ? `${left} more to rank` : "choose one first";
    else go(state.at + 1);
  }

  function option(question, place) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "option";
    const rank = rankOf(groupsOf(question), place);
    button.setAttribute("aria-pressed", String(ranking ? rank > 0 : rank === 1));
    const number = document.createElement("kbd");
    number.className = "number";
    number.textContent = place;
    const pictures = document.createElement("span");
    pictures.className = "pictures";
    question.options[place - 1].forEach((source, index, all) => {
      const image = document.createElement("img");
      image.src = source;
      image.alt = all.length > 1 ? `place ${place}, picture ${index + 1} of ${all.length}` : `picture ${place}`;
      pictures.append(image);
    });
    pictures.style.setProperty("--pictures", question.options[place - 1].length);
    const badge = document.createElement("span");
    badge.className = "rank";
    badge.textContent = !rank ? "" : ranking ? `rank ${rank}` : rank === 1 ? "real" : "";
    button.append(number, pictures, badge);
    button.addEventListener("click", () => pick(place));
    return button;
  }

  function show(said) {
    const end = state.at >= questions.length;
    element("intro").hidden = state.at >= 0;
    element("question").hidden = state.at < 0 || end;
    element("end").hidden = !end;
    element("unkept").hidden = kept;
    const done = questions.filter(complete).length;
    element("done").textContent = `${done} of ${questions.length} questions are answered.`;
    element("start").textContent = done ? "Continue" : "Start";
    element("name").value = state.name;
    if (state.at < 0 || end) return;
    const question = current();
    element("count").textContent = `Question ${state.at + 1} of ${questions.length}`;
    element("progress").max = questions.length;
    element("progress").value = done;
    element("progress").textContent = `${done} of ${questions.length} answered`;
    element("prompt").textContent = question.prompt || "";
    element("prompt").hidden = !question.prompt;
    const focused = [...element("options").children].indexOf(document.activeElement);
    element("options").replaceChildren(...question.options.map((_, index) => option(question, index + 1)));
    if (focused >= 0) element("options").children[focused].focus();
    element("next").disabled = !complete(question);
    element("tie").setAttribute("aria-pressed", String(tie));
    element("said").textContent = said;
  }

  function csv() {
    const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const who = quoted(state.name.trim() || `anonymous-${state.token}`);
    const lines = questions.filter(complete).map((question) => {
      const order = groupsOf(question).map((group) => group.join("=")).join(">");
      return [study.id, who, question.id, order].join(",");
    });
    return ["study,respondent,question,ranking", ...lines, ""].join("\n");
  }

  function save() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
    const who = (state.name.trim() || state.token).replace(/[^\p{L}\p{N}]+/gu, "-");
    link.download = `answers-${study.id}-${who}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  function toggleTie() {
    if (!ranking || !groupsOf(current()).length) return;
    tie = !tie;
    show(tie ? "the next one gets the same rank as the last" : "");
  }

  element("name").addEventListener("input", (event) => {
    state.name = event.target.value;
    keep();
  });
  element("form").addEventListener("submit", (event) => {
    event.preventDefault();
    const open = questions.findIndex((question) => !complete(question));
    go(open < 0 ? questions.length : open);
  });
  element("next").addEventListener("click", next);
  element("undo").addEventListener("click", undo);
  element("back").addEventListener("click", back);
  element("tie").addEventListener("click", toggleTie);
  element("review").addEventListener("click", () => go(0));
  document.querySelectorAll(".save").forEach((button) => button.addEventListener("click", save));
  element("clear").addEventListener("click", () => {
    if (!confirm("Clear these answers for the next person? Save them first.")) return;
    state = blank();
    go(-1);
  });
  document.addEventListener("keydown", (event) => {
    if (state.at < 0 || state.at >= questions.length || event.ctrlKey || event.metaKey || event.altKey) return;
    const place = Number(event.key);
    const onButton = event.target.closest("button:not(.option)");
    if (place >= 1 && place <= current().options.length) pick(place);
    else if (event.key === "=" || event.key === "0") toggleTie();
    else if (event.key === "Backspace") undo();
    else if (event.key === "Enter" && !onButton && (complete(current()) || !event.target.closest(".option"))) next();
    else return;
    event.preventDefault();
  });
  addEventListener("beforeunload", (event) => {
    if (!kept && Object.keys(state.answers).length) event.preventDefault();
  });

  window.rankStudy = { csv };
  show("");
})();
