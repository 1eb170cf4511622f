// The form of a task: visible fields, preview of the schedule, and errors at their fields.
(function () {
  "use strict";

  // -- choice of a function --

  const find = document.getElementById("find");
  if (find) {
    const items = [...document.querySelectorAll("#functions li")];
    find.addEventListener("input", () => {
      const words = find.value.toLowerCase().split(/\s+/).filter(Boolean);
      for (const one of items) { one.hidden = !words.every((word) => one.dataset.find.includes(word)); }
      document.getElementById("nothing-found").hidden = items.some((one) => !one.hidden);
    });
    find.addEventListener("keydown", (event) => {
      const seen = items.filter((one) => !one.hidden);
      if (event.key === "Enter" && seen.length === 1) { seen[0].querySelector("a").click(); }
    });
  }

  const form = document.getElementById("task-form");
  if (!form) { return; }
  const all = (selector) => [...form.querySelectorAll(selector)];

  function show(element, visible) {
    element.hidden = !visible;
    if (element.tagName === "FIELDSET") { element.disabled = !visible; }
  }

  // -- form or JSON --

  function choose(mode) {
    form.elements.mode.value = mode;
    for (const one of all("[data-panel]")) { show(one, one.dataset.panel === mode); }
    for (const one of document.querySelectorAll("[data-mode]")) {
      if (one.tagName === "BUTTON") { one.setAttribute("aria-pressed", String(one.dataset.mode === mode)); }
    }
  }
  for (const one of document.querySelectorAll("button[data-mode]")) {
    one.addEventListener("click", () => turnTo(one.dataset.mode));
  }

  // Copy the values of the form into the JSON, unless the JSON was edited.
  const text = form.elements.document;
  let carried = text.value, typed = false;
  form.addEventListener("input", (event) => { typed = typed || event.target !== text; });

  async function turnTo(mode) {
    clear();
    if (mode === "json" && typed && text.value === carried) {
      try {
        const answer = await Scheduler.post(form.dataset.document, Object.fromEntries(new FormData(form)));
        carried = text.value = answer.document;
      } catch (error) {
        if (error.body && error.body.errors) { tell(error.body.errors); return; }
      }
    }
    choose(mode);
  }

  // -- schedule --

  const chosen = () => (form.querySelector('input[name="when"]:checked') || {}).value;

  function when() {
    const mode = chosen();
    for (const one of all("[data-when]")) { show(one, one.dataset.when.split(" ").includes(mode)); }
    for (const one of all("[data-when-words]")) { one.hidden = one.dataset.whenWords !== mode; }
    foretell();
  }

  let asked = 0;

  // Request the schedule in words from the server, which knows the time zone.
  async function foretell() {
    const mode = chosen(), place = document.getElementById("next");
    if (mode !== "every" && mode !== "cron") { return; }
    const field = (name) => (form.elements[name] ? form.elements[name].value : "");
    const query = new URLSearchParams({ mode, line: field("cronline"), every: field("every"), unit: field("unit"), repeats: field("repeats") });
    const turn = ++asked;
    let answer;
    try {
      answer = await Scheduler.get(`${form.dataset.next}?${query}`);
    } catch (error) {
      answer = { words: "", times: [], error: error.message };
    }
    if (turn !== asked) { return; }
    const words = place.querySelector(".words");
    const blank = mode === "cron" && !field("cronline").trim();
    words.textContent = blank ? "" : Scheduler.visible(answer.error || answer.words);
    words.classList.toggle("bad-text", Boolean(answer.error));
    place.querySelector(".times").replaceChildren(...answer.times.map((iso) => {
      const item = document.createElement("li"), time = document.createElement("time");
      time.className = "when";
      time.dateTime = iso;
      time.textContent = iso;
      item.append(time);
      return item;
    }));
    Scheduler.tellTimes(place);
  }

  let pause = 0;
  form.addEventListener("input", (event) => {
    if (["cronline", "every", "unit", "repeats"].includes(event.target.name)) {
      clearTimeout(pause);
      pause = setTimeout(foretell, 250);
    }
  });
  form.addEventListener("change", (event) => { if (event.target.name === "when") { when(); } });

  // -- errors at their fields --

  function clear() {
    document.getElementById("errors").replaceChildren();
    for (const one of all("[data-error]")) { one.textContent = ""; }
    for (const one of all("[aria-invalid]")) { one.removeAttribute("aria-invalid"); }
  }

  function tell(errors) {
    const others = [];
    let first = null;
    for (const [name, sentence] of Object.entries(errors)) {
      const place = all("[data-error]").find((one) => one.dataset.error === name && !one.closest("[hidden]"));
      if (!place) { others.push(`${name}: ${sentence}`); continue; }
      place.textContent = Scheduler.visible(sentence);
      const field = form.elements[name];
      if (field && field.setAttribute) {
        field.setAttribute("aria-invalid", "true");
        first = first || field;
      }
      const closed = place.closest("details:not([open])");
      if (closed) { closed.open = true; }
    }
    const top = document.getElementById("errors");
    top.replaceChildren(...(others.length ? others : [Scheduler.T("Check the marked fields.")]).map((text) => {
      const note = document.createElement("p");
      note.className = "note bad";
      note.textContent = Scheduler.visible(text);
      return note;
    }));
    if (first) { first.focus(); } else { top.scrollIntoView({ block: "nearest" }); }
  }

  // Open a closed section with an invalid field, so that the browser can show the field.
  form.addEventListener("invalid", (event) => {
    const closed = event.target.closest("details:not([open])");
    if (closed) { closed.open = true; }
  }, true);

  // Submit without leaving the page, so that all values are kept if there are errors.
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const send = document.getElementById("send");
    if (!send || send.disabled) { return; }
    clear();
    send.disabled = true;
    try {
      const answer = await Scheduler.post(form.action, Object.fromEntries(new FormData(form)));
      location.assign(answer.url);
    } catch (error) {
      send.disabled = false;
      const errors = error.body && error.body.errors;
      if (errors) { tell(errors); } else { tell({ [Scheduler.T("Error")]: error.message }); }
    }
  });

  when();
})();
