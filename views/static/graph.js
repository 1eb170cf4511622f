// Navigation in the drawing: zoom with the buttons, drag to move, and start at the selected task.
// The server makes the drawing, and sends a new one while tasks change.
(function () {
  "use strict";

  const canvas = document.getElementById("canvas");
  if (!canvas) { return; }
  const SMALLEST = 0.15, LARGEST = 2, STEP = 1.25;
  const drawing = () => document.getElementById("drawing");
  let scale = 1;

  // Set on the frame, so that a new drawing keeps the zoom level.
  function apply() {
    canvas.style.setProperty("--scale", scale);
  }

  function zoom(to) {
    const old = scale;
    scale = Math.min(LARGEST, Math.max(SMALLEST, to));
    const middle = { x: canvas.scrollLeft + canvas.clientWidth / 2, y: canvas.scrollTop + canvas.clientHeight / 2 };
    apply();
    canvas.scrollLeft = middle.x * scale / old - canvas.clientWidth / 2;
    canvas.scrollTop = middle.y * scale / old - canvas.clientHeight / 2;
  }

  const fitting = () => Math.min(1, canvas.clientWidth / drawing().dataset.width);

  document.querySelectorAll("[data-zoom]").forEach((button) => button.addEventListener("click", () => {
    const to = { in: scale * STEP, out: scale / STEP, fit: fitting() };
    zoom(to[button.dataset.zoom]);
  }));

  // -- drag --

  let held = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse" && event.button === 0) {
      held = { x: event.clientX, y: event.clientY, left: canvas.scrollLeft, top: canvas.scrollTop, moved: false };
    }
  });
  window.addEventListener("pointermove", (event) => {
    if (!held) { return; }
    const across = event.clientX - held.x, down = event.clientY - held.y;
    if (Math.abs(across) + Math.abs(down) > 4) { held.moved = true; canvas.classList.add("held"); }
    canvas.scrollLeft = held.left - across;
    canvas.scrollTop = held.top - down;
  });
  window.addEventListener("pointerup", () => {
    const moved = held && held.moved;
    held = null;
    canvas.classList.remove("held");
    if (moved) { canvas.addEventListener("click", (event) => event.preventDefault(), { capture: true, once: true }); }
  });
  canvas.addEventListener("dragstart", (event) => event.preventDefault());

  // -- start --

  function begin() {
    scale = Math.max(fitting(), 0.8);
    apply();
    const chosen = canvas.querySelector(".node.chosen");
    if (!chosen) { return; }
    const box = chosen.getBoundingClientRect(), frame = canvas.getBoundingClientRect();
    canvas.scrollLeft += box.left + box.width / 2 - frame.left - frame.width / 2;
    canvas.scrollTop += box.top + box.height / 2 - frame.top - frame.height / 2;
  }

  begin();
})();
