// The page of a task keeps itself up to date: what has not changed is left alone, so that nobody
// loses a selection or the place of the keyboard.
(function () {
  "use strict";

  const known = new Map();  // what the server last wrote of a part, since the page writes times anew
  const parts = document.querySelector("[hx-select-oob]");

  document.addEventListener("htmx:oobBeforeSwap", (event) => {
    const now = event.detail.target, fresh = event.detail.fragment;
    const element = fresh.firstElementChild;
    if (!element || !now.id) { return; }
    const text = element.outerHTML;
    if (known.get(now.id) === text) { event.detail.shouldSwap = false; return; }
    known.set(now.id, text);
    requestAnimationFrame(() => Scheduler.tellTimes(document));
  });

  // A task that has come to its end does not change any more, and neither does one that is gone.
  document.addEventListener("htmx:responseError", () => { if (parts) { parts.remove(); } });
})();
