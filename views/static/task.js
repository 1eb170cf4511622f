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

  function rest() {
    if (parts && parts.isConnected) { htmx.trigger(parts, "htmx:abort"); parts.remove(); }
  }

  // A task that is gone does not change any more; and whoever has pressed a button goes elsewhere.
  document.addEventListener("htmx:responseError", rest);
  document.addEventListener("submit", (event) => { if (!event.defaultPrevented) { rest(); } });
})();
