// Actions on many tasks: selection, confirmation, and steps with a progress bar.
(function () {
  "use strict";
  document.documentElement.classList.add("scripted");
  const $ = (id) => document.getElementById(id);
  const boxes = () => [...document.querySelectorAll('#batch input[name="id"]')];
  let last = null, running = false;

  // -- selection --

  const picked = () => boxes().filter((box) => box.checked);
  const isAll = () => $("all") && $("all").checked;

  function show() {
    const bar = $("batch-bar");
    if (!bar) { return; }
    const some = picked(), every = boxes(), all = isAll(), page = $("pick-page");
    for (const box of every) {
      box.disabled = all;
      box.closest("tr").classList.toggle("picked", all || box.checked);
    }
    page.hidden = false;
    page.disabled = all;
    page.checked = all || (some.length > 0 && some.length === every.length);
    page.indeterminate = !all && some.length > 0 && some.length < every.length;
    bar.classList.toggle("open", all || some.length > 0 || running);
    $("picked").textContent = all ? Scheduler.T("All matching tasks are selected") : Scheduler.T("{number} selected", { number: Scheduler.number(some.length) });
  }

  document.addEventListener("click", (event) => {
    const box = event.target;
    if (box.matches && box.matches('#batch input[name="id"]')) {
      const every = boxes(), here = every.indexOf(box), there = every.indexOf(last);
      if (event.shiftKey && there >= 0) {
        for (const one of every.slice(Math.min(here, there), Math.max(here, there) + 1)) { one.checked = box.checked; }
      }
      last = box;
    }
  });

  document.addEventListener("change", (event) => {
    if (event.target.id === "pick-page") {
      for (const box of boxes()) { box.checked = event.target.checked; }
    }
    if (event.target.closest("#batch")) { show(); }
  });

  function clear() {
    if ($("all")) { $("all").checked = false; }
    for (const box of boxes()) { box.checked = false; }
    show();
  }

  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input:not([type=checkbox]), select, textarea");
    if (event.key === "Escape" && !running && !document.querySelector("dialog[open]")) { clear(); }
    if (event.key === "Enter" && event.target.matches("#batch-bar .with input")) {
      event.preventDefault();
      event.target.parentElement.querySelector("button").click();
    }
    if (event.key === "/" && !typing && $("text")) { event.preventDefault(); $("text").focus(); }
  });

  // The list does not refresh while tasks are selected.
  document.addEventListener("htmx:beforeRequest", (event) => {
    if (event.target.id === "list" && (running || isAll() || picked().length)) { event.preventDefault(); }
  });
  document.addEventListener("htmx:load", show);

  // -- actions --

  document.addEventListener("submit", async (event) => {
    const form = event.target, button = event.submitter;
    if (form.getAttribute("id") !== "batch") { return; } // `form.id` is a field of that name
    event.preventDefault();
    if (!button || running) { return; }
    const ids = picked().map((box) => Number(box.value)), all = isAll();
    if (!all && !ids.length) { Scheduler.tell(Scheduler.T("No task is selected."), true); return; }
    const number = all ? form.dataset.total : Scheduler.number(ids.length);
    if (!(await Scheduler.confirm(button.dataset.question.replace("{number}", number)))) { return; }
    const given = { act: button.value, query: form.elements.query.value, priority: form.elements.priority.value, group_name: form.elements.group_name.value };
    const url = button.value === "delete" ? form.dataset.delete : form.action;
    await go(url, all ? { ...given, all: 1, above: 0 } : { ...given, id: ids }, Number(all ? form.dataset.exact : ids.length));
  });

  async function go(url, given, expected) {
    const total = { done: 0, skipped: {}, said: "" };
    let cancelled = false;
    running = true;
    begin(() => { cancelled = true; });
    try {
      for (;;) {
        const answer = await patiently(() => Scheduler.post(url, given));
        add(total, answer);
        progress(total, expected, answer);
        if (answer.above === null || answer.above === undefined || cancelled) { break; }
        given = { ...given, above: answer.above, upto: answer.upto };
      }
      Scheduler.tell((cancelled ? `${Scheduler.T("Cancelled.")} ` : "") + summary(total), !total.done);
    } catch (error) {
      Scheduler.tell(`${error.message} ${total.said ? summary(total) : ""}`, true);
    }
    running = false;
    $("batch-progress").hidden = true;
    clear();
    htmx.trigger("#list", "refresh");
    window.scrollTo({ top: 0 });
  }

  // Retry while the database is busy, so that a started action does not stop halfway.
  async function patiently(ask, tries = 3) {
    try { return await ask(); } catch (error) {
      if (error.status !== 503 || tries <= 1) { throw error; }
      await new Promise((settle) => setTimeout(settle, 700));
      return patiently(ask, tries - 1);
    }
  }

  function add(total, answer) {
    total.done += answer.done;
    total.said = answer.said;
    for (const [why, number] of Object.entries(answer.skipped)) { total.skipped[why] = (total.skipped[why] || 0) + number; }
  }

  const skipped = (total) => Object.values(total.skipped).reduce((sum, number) => sum + number, 0);

  function summary(total) {
    const done = total.said.replace("{number}", Scheduler.number(total.done)), left = skipped(total);
    if (!left) { return done; }
    const why = Object.entries(total.skipped).map(([reason, number]) => `${reason} (${Scheduler.number(number)})`).join(", ");
    return Scheduler.T("{done} Skipped: {number}; {why}.", { done, number: Scheduler.number(left), why });
  }

  function begin(cancel) {
    const bar = $("batch-progress").querySelector("progress");
    bar.removeAttribute("value");
    $("batch-said").textContent = "";
    $("batch-cancel").onclick = cancel;
    $("batch-progress").hidden = false;
    show();
  }

  function progress(total, expected, answer) {
    const bar = $("batch-progress").querySelector("progress"), so_far = total.done + skipped(total);
    if (expected) { bar.max = expected; bar.value = Math.min(so_far, expected); } else if (answer.above) { bar.max = answer.upto; bar.value = answer.above; }
    $("batch-said").textContent = Scheduler.T("{number} processed", { number: Scheduler.number(so_far) });
  }

  show();
})();
