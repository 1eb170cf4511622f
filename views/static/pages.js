// Common to all pages: requests, times in the browser's time zone, charts, confirmations.
// Texts of tasks are always set as text, never as HTML.
window.Scheduler = (function () {
  "use strict";

  const words = JSON.parse(document.getElementById("words").textContent || "{}");
  const meta = (name) => document.querySelector(`meta[name="${name}"]`).content;
  const base = meta("base").replace(/\/$/, "");
  const language = document.documentElement.lang || "en";

  // -- texts and numbers --

  function T(text, values) {
    const template = words[text] || text;
    return template.replace(/\{(\w+)\}/g, (whole, name) => (values && name in values ? values[name] : whole));
  }

  const whole = new Intl.NumberFormat(language);
  const number = (value) => whole.format(value);

  function span(seconds) {
    if (seconds === null || seconds === undefined) { return "–"; }
    if (seconds > 0 && seconds < 0.1) { return `${number(Math.round(seconds * 10000) / 10)} ms`; }
    if (seconds < 10) { return `${number(Math.round(seconds * 10) / 10)} s`; }
    if (seconds < 120) { return `${Math.round(seconds)} s`; }
    const minutes = Math.round(seconds / 60);
    if (minutes < 120) { return `${minutes} min`; }
    const hours = Math.floor(minutes / 60);
    if (hours < 48) { return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`; }
    return `${Math.round(hours / 24)} ${T("days")}`;
  }

  // -- untrusted texts --

  // The same characters as in visible_text.py: control characters except line feeds and tabs, and
  // characters that change the direction of writing. The server escapes them in all its answers.
  const ACTS = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]/gu;

  function escaped(character) {
    const code = character.charCodeAt(0), digits = code < 256 ? 2 : 4;
    return character === "\r" ? "\\r" : `\\${digits === 2 ? "x" : "u"}${code.toString(16).padStart(digits, "0")}`;
  }

  // Escape these characters in a text, or in each text of a list or an object.
  function visible(value) {
    if (typeof value === "string") { return value.replace(ACTS, escaped); }
    if (Array.isArray(value)) { return value.map(visible); }
    if (value === null || typeof value !== "object") { return value; }
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, visible(one)]));
  }

  // -- times --

  const short = new Intl.DateTimeFormat(language, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  const long = new Intl.DateTimeFormat(language, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  const longest = new Intl.DateTimeFormat(language, { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  const exact = new Intl.DateTimeFormat(language, { dateStyle: "full", timeStyle: "long" });

  function time(iso) {
    const moment = new Date(iso), now = new Date();
    if (moment.toDateString() === now.toDateString()) { return short.format(moment); }
    return (moment.getFullYear() === now.getFullYear() ? long : longest).format(moment);
  }

  function tellTimes(root) {
    for (const one of root.querySelectorAll("time.when")) {
      const moment = new Date(one.dateTime);
      if (isNaN(moment)) { continue; }
      one.textContent = time(one.dateTime);
      one.title = `${exact.format(moment)} · ${moment.toISOString().replace(".000", "")}`;
    }
  }

  // -- requests --

  async function answerOf(response) {
    let body = {};
    try { body = await response.json(); } catch (error) { /* reported below */ }
    if (response.ok) { return body; }
    const failure = new Error(body.error || body.message || T("The server returned HTTP status {status}.", { status: response.status }));
    failure.status = response.status;
    failure.body = body;
    throw failure;
  }

  const get = (url) => fetch(url, { headers: { Accept: "application/json" } }).then(answerOf);

  const post = (url, data) => fetch(url, {
    method: "POST",
    headers: { Accept: "application/json", "Content-Type": "application/json", "X-Scheduler-Token": meta("token") },
    body: JSON.stringify(data || {}),
  }).then(answerOf);

  function tell(text, bad) {
    const note = document.createElement("p");
    note.className = bad ? "note bad" : "note";
    note.textContent = visible(text);
    document.getElementById("flash").replaceChildren(note);
  }

  // -- confirmation --

  function confirm(text) {
    const dialog = document.getElementById("confirm");
    dialog.querySelector("p").textContent = visible(text);
    dialog.returnValue = "no";
    dialog.showModal();
    return new Promise((settle) => {
      dialog.addEventListener("close", () => settle(dialog.returnValue === "yes"), { once: true });
    });
  }

  document.addEventListener("submit", async (event) => {
    const form = event.target, button = event.submitter;
    const question = (button && button.dataset.confirm) || form.dataset.confirm;
    if (!question || form.dataset.confirmed) { delete form.dataset.confirmed; return; }
    event.preventDefault();
    if (await confirm(question)) {
      form.dataset.confirmed = "yes";
      form.requestSubmit(button);
    }
  });

  // While a confirmation is open, live parts do not refresh: its form must still exist afterwards.
  for (const name of ["htmx:beforeRequest", "htmx:beforeSwap"]) {
    document.addEventListener(name, (event) => document.getElementById("confirm").open && event.preventDefault());
  }

  // -- charts --

  const drawn = new Map();

  function colour(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
  }

  function theme() {
    const text = colour("text"), faint = colour("faint"), line = colour("line");
    const axis = {
      axisLine: { lineStyle: { color: line } }, axisTick: { lineStyle: { color: line } },
      axisLabel: { color: faint }, splitLine: { lineStyle: { color: line } },
    };
    return {
      color: ["good", "bad", "accent", "warn", "busy"].map(colour),
      textStyle: { fontFamily: getComputedStyle(document.body).fontFamily, color: text },
      legend: { textStyle: { color: text }, inactiveColor: faint },
      tooltip: {
        backgroundColor: colour("card"), borderColor: line, textStyle: { color: text, fontSize: 12 },
      },
      categoryAxis: axis, valueAxis: axis, timeAxis: axis,
    };
  }

  // Draw a chart, or replace it. `make` is a function that returns ECharts' option; it is called
  // again when the theme changes. Tooltips are text on the canvas: they can never become HTML.
  function chart(element, make) {
    const old = drawn.get(element);
    const one = old ? old.chart : echarts.init(element, theme(), { renderer: "canvas" });
    drawn.set(element, { chart: one, make });
    const option = make();
    one.setOption({ aria: { enabled: true }, animation: false, ...option, tooltip: { ...option.tooltip, renderMode: "richText" } }, true);
    if (!old) { new ResizeObserver(() => one.isDisposed() || one.resize()).observe(element); }
    return one;
  }

  document.addEventListener("themechange", () => {
    for (const [element, { chart: one, make }] of [...drawn]) {  // a copy: each chart is added again at the end
      one.dispose();
      drawn.delete(element);
      if (element.isConnected) { chart(element, make); }
    }
  });

  // -- start --

  document.getElementById("theme").addEventListener("click", window.chooseSchedulerTheme);
  tellTimes(document);
  document.addEventListener("htmx:load", (event) => tellTimes(event.detail.elt));
  const here = document.querySelector('nav a[aria-current="page"]');
  if (here) { here.scrollIntoView({ block: "nearest", inline: "center" }); }

  return { T, visible, number, span, time, tellTimes, get, post, tell, confirm, chart, colour, base, language };
})();
