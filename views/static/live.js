// The page of a run in progress: appends the output, shows the progress, and detects the end.
(function () {
  "use strict";

  const ASK_EVERY = 700, WATCH_EVERY = 5000, AFTER_TROUBLE = 3000;  // milliseconds
  const NEAR = 40;  // pixels from the end within which the view follows the output
  const box = document.getElementById("output"), pre = box.querySelector("pre"), jump = box.querySelector(".jump");
  const screen = new window.SchedulerScreen(pre);
  const get = (id) => document.getElementById(id);
  let end = 0, marker = "", running = box.dataset.running === "yes", stopping = false, watchedAt = -Infinity, first = true;
  let began = null;  // by the browser's clock, so that seconds advance between two answers

  // -- scroll position --

  const atEnd = () => pre.scrollHeight - pre.scrollTop - pre.clientHeight < NEAR;
  let follows = true;

  function toEnd() {
    pre.scrollTop = pre.scrollHeight;
    follows = true;
    jump.hidden = true;
  }

  pre.addEventListener("scroll", () => { follows = atEnd(); jump.hidden = follows; });
  new ResizeObserver(() => { if (follows) { toEnd(); } }).observe(pre);
  jump.addEventListener("click", () => { toEnd(); pre.focus(); });

  // -- display --

  function show(piece) {
    if (piece.fresh) { screen.reset(); }
    if (piece.text) { screen.write(piece.text); }
    end = piece.end;
    marker = piece.marker;
    get("cut").hidden = !(screen.dropped || (piece.fresh ? piece.start > 0 : !get("cut").hidden));
    get("silence").hidden = running || !screen.isEmpty;
    if (follows) { toEnd(); } else { jump.hidden = atEnd(); }
  }

  function tellHeadway(run) {
    const card = get("headway");
    if (!card) { return; }
    const bar = card.querySelector("progress");
    card.hidden = run.share === null && !run.words;
    get("headway-words").textContent = Scheduler.visible(run.words);
    bar.hidden = run.share === null;
    if (run.share !== null) { bar.value = run.share; }
    const percent = run.share === null ? "" : new Intl.NumberFormat(Scheduler.language, { style: "percent" }).format(run.share);
    const left = run.left === null || !run.left ? "" : Scheduler.T("about {time} left", { time: Scheduler.span(run.left) });
    get("left").textContent = [percent, left].filter(Boolean).join(" · ");
  }

  function tellRun(run) {
    began = run.seconds === null ? null : performance.now() - run.seconds * 1000;
    tellHeadway(run);
    const button = document.querySelector("#stop button");
    if (button && run.stopping) { button.disabled = true; button.textContent = Scheduler.T("Stopping…"); }
    const over = running && !run.running;
    running = run.running;
    get("live").hidden = !running;
    if (over) { return refresh(); }
  }

  // Replace the parts that the server renders, because it escapes all text.
  async function refresh() {
    const answer = await fetch(box.dataset.page, { headers: { Accept: "text/html" } });
    if (!answer.ok) { return; }
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const id of ["state", "details"]) {
      const now = fresh.getElementById(id);
      if (now) { get(id).replaceWith(document.adoptNode(now)); }
    }
    const stop = get("stop");
    if (stop && !fresh.getElementById("stop")) { stop.remove(); }
    Scheduler.tellTimes(get("details"));
  }

  function tellGone(message) {
    running = false;
    get("live").hidden = true;
    get("gone").textContent = Scheduler.visible(message);
    get("gone").hidden = false;
    for (const one of [get("headway"), get("stop")]) { if (one) { one.remove(); } }
  }

  // -- requests --

  async function watch() {
    if (!running || performance.now() - watchedAt < WATCH_EVERY) { return; }
    watchedAt = performance.now();
    await Scheduler.post(box.dataset.watch);
  }

  async function ask() {
    await watch();
    let piece;
    do {
      const query = new URLSearchParams({ after: end, marker });
      piece = await Scheduler.get(`${box.dataset.output}?${query}`);
      show(piece);
    } while (piece.end < piece.total);
    await tellRun(piece.run);
  }

  async function turn() {
    let pause = ASK_EVERY;
    try {
      if (!document.hidden || first) { await ask(); first = false; }
    } catch (error) {
      if (error.status === 404) { tellGone(error.message); return; }
      pause = AFTER_TROUBLE;  // the server is unavailable, or the user signed out; retry
    }
    if (running) { setTimeout(turn, pause); }
  }

  setInterval(() => {
    const seconds = get("seconds");
    if (running && began !== null && seconds) { seconds.textContent = Scheduler.span((performance.now() - began) / 1000); }
  }, 1000);

  // -- stop --

  const stop = get("stop");
  if (stop) {
    stop.addEventListener("submit", async (event) => {
      event.preventDefault();
      if (stopping) { return; }
      stopping = true;
      try {
        const answer = await Scheduler.post(stop.action, { act: "stop" });
        const button = stop.querySelector("button");
        button.disabled = true;
        button.textContent = Scheduler.T("Stopping…");
        Scheduler.tell(answer.message);
      } catch (error) {
        Scheduler.tell(error.message, true);
      }
      stopping = false;
    });
  }

  turn();
})();
