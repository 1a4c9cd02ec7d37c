"use strict";
// Curves: show the values under the pointer (or by arrow keys), and switch between the two scales.
document.querySelectorAll(".chart").forEach((chart) => {
  const data = JSON.parse(document.getElementById(`${chart.id}-data`).textContent);
  const plot = chart.querySelector(".plot");
  const cross = chart.querySelector(".cross");
  const outputs = [...chart.querySelectorAll(".legend output")];
  const xs = [...new Set(data.series.flatMap((one) => one.x))].sort((a, b) => a - b);
  const span = data.high - data.low || 1;
  let index = -1;

  const number = (value) => value.toLocaleString("en", { maximumSignificantDigits: 4 });

  function read(at) {
    index = Math.max(0, Math.min(xs.length - 1, at));
    const x = xs[index];
    cross.hidden = false;
    cross.style.left = `${data.high === data.low ? 50 : (100 * (x - data.low)) / span}%`;
    chart.querySelector(".at").textContent = `at ${x.toLocaleString("en")}`;
    data.series.forEach((one, line) => {
      const place = one.x.indexOf(x);
      outputs[line].textContent = place < 0 ? "" : number(one.y[place]);
    });
  }

  function leave() {
    index = -1;
    cross.hidden = true;
    chart.querySelector(".at").textContent = "";
    outputs.forEach((output) => (output.textContent = ""));
  }

  plot.addEventListener("pointermove", (event) => {
    const box = plot.getBoundingClientRect();
    const x = data.low + ((event.clientX - box.left) / box.width) * span;
    let nearest = 0;
    xs.forEach((other, place) => {
      if (Math.abs(other - x) < Math.abs(xs[nearest] - x)) nearest = place;
    });
    read(nearest);
  });
  plot.addEventListener("pointerleave", leave);
  plot.addEventListener("blur", leave);
  plot.addEventListener("keydown", (event) => {
    const page = Math.max(1, Math.round(xs.length / 10));
    const moves = { ArrowRight: index + 1, ArrowLeft: index < 0 ? xs.length - 1 : index - 1, Home: 0, End: xs.length - 1 };
    moves.PageUp = index - page;
    moves.PageDown = index + page;
    if (!(event.key in moves)) return;
    event.preventDefault();
    read(moves[event.key]);
  });

  const log = chart.querySelector(".log");
  if (log) {
    log.addEventListener("click", () => {
      const pressed = log.getAttribute("aria-pressed") !== "true";
      log.setAttribute("aria-pressed", String(pressed));
      chart.querySelectorAll(".scale").forEach((scale) => (scale.hidden = (scale.dataset.kind === "log") !== pressed));
    });
  }
});
