// The slider through the samples over time.
(() => {
  const slider = document.getElementById("film");
  if (!slider) return;
  const frames = JSON.parse(document.getElementById("film-data").textContent);
  slider.addEventListener("input", () => {
    const frame = frames[Number(slider.value)];
    const step = frame.step.toLocaleString("en");
    const picture = document.getElementById("film-picture");
    picture.src = frame.uri;
    picture.alt = `samples at step ${step}`;
    document.getElementById("film-step").textContent = step;
    slider.setAttribute("aria-valuetext", `step ${step}`);
  });
})();
