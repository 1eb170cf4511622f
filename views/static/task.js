// The page of a task refreshes itself. Parts that have not changed stay, so that selections and the
// keyboard focus are kept.
(function () {
  "use strict";

  const known = new Map();  // the last HTML of each part from the server, because the page rewrites times
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

  // Stop refreshing when the task is deleted, and when a button leads to another page.
  document.addEventListener("htmx:responseError", rest);
  document.addEventListener("submit", (event) => { if (!event.defaultPrevented) { rest(); } });
})();
