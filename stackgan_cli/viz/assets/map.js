"use strict";
const maps = JSON.parse(document.getElementById("maps").textContent);
const near = document.getElementById("near");
const canvas = near.querySelector("canvas");
const words = near.querySelector("p");

/* Enlarge the tile under the pointer, beside the pointer and inside the window. */
function show(event, image, map) {
  const box = image.getBoundingClientRect();
  const column = Math.min(map.columns - 1, Math.max(0, Math.floor((event.clientX - box.left) / box.width * map.columns)));
  const row = Math.min(map.rows - 1, Math.max(0, Math.floor((event.clientY - box.top) / box.height * map.rows)));
  const text = map.texts[row * map.columns + column];
  near.hidden = text === null;
  if (text === null) return;
  const side = map.side;
  canvas.getContext("2d").drawImage(image, column * side, row * side, side, side, 0, 0, canvas.width, canvas.height);
  words.textContent = text;
  const width = near.offsetWidth, height = near.offsetHeight, gap = 16;
  const right = event.clientX + gap + width <= window.innerWidth;
  const below = event.clientY + gap + height <= window.innerHeight;
  near.style.left = `${Math.max(0, right ? event.clientX + gap : event.clientX - gap - width)}px`;
  near.style.top = `${Math.max(0, below ? event.clientY + gap : Math.min(event.clientY - gap, window.innerHeight) - height)}px`;
}

maps.forEach((map, index) => {
  const image = document.getElementById(`map-${index}`);
  image.addEventListener("mousemove", (event) => show(event, image, map));
  image.addEventListener("mouseleave", () => { near.hidden = true; });
});
