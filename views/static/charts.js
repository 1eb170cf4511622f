// Three charts: throughput, queue time, run time. They are drawn into any
// <section id="charts" data-src="...">, whose address returns the numbers of one time span.
(function () {
  "use strict";
  const root = document.getElementById("charts");
  if (!root) { return; }
  const EVERY = 30000, KEY = "scheduler-charts-span";
  const SPANS = [["hour", Scheduler.T("Hour")], ["day", Scheduler.T("Day")], ["week", Scheduler.T("Week")]];
  const QUIET = {
    hour: Scheduler.T("No runs ended in the last hour."), day: Scheduler.T("No runs ended in the last day."),
    week: Scheduler.T("No runs ended in the last week."),
  };
  let span = "hour", seen = null, asked = 0;
  try { span = localStorage.getItem(KEY) || span; } catch (error) { /* no storage: one hour */ }
  if (!QUIET[span]) { span = "hour"; }

  // -- elements --

  function element(name, className, text) {
    const one = document.createElement(name);
    if (className) { one.className = className; }
    if (text !== undefined) { one.textContent = text; }
    return one;
  }

  function figure(title) {
    const card = element("figure", "card figure"), head = element("figcaption", "row apart");
    const facts = element("span", "faint"), chart = element("div", "chart low");
    head.append(element("h3", "", title), facts);
    card.append(head, chart);
    return { card, facts, chart, title };
  }

  const head = element("div", "row apart charts-head"), tabs = element("div", "tabs");
  head.append(element("h2", "", root.dataset.title || Scheduler.T("Run statistics")), tabs);
  tabs.setAttribute("role", "group");
  tabs.setAttribute("aria-label", Scheduler.T("Time span"));
  for (const [name, label] of SPANS) {
    const button = element("button", "", label);
    button.type = "button";
    button.dataset.span = name;
    button.addEventListener("click", () => choose(name));
    tabs.append(button);
  }
  const figures = [figure(Scheduler.T("Throughput")), figure(Scheduler.T("Queue time")), figure(Scheduler.T("Run time"))];
  const grid = element("div", "grid three");
  grid.append(...figures.map((one) => one.card));
  const empty = element("div", "card empty"), trouble = element("p", "note warn");
  const details = element("details", "card"), region = element("div", "scroll tall");
  const table = element("table");
  details.append(element("summary", "", Scheduler.T("Table of numbers")), region);
  region.append(table);
  region.tabIndex = 0;
  region.setAttribute("role", "region");
  region.setAttribute("aria-label", Scheduler.T("Table of numbers"));
  root.replaceChildren(head, trouble, empty, grid, details);
  for (const one of [trouble, empty, grid, details]) { one.hidden = true; }

  // -- times --

  const clock = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  const day = { weekday: "short", day: "numeric", month: "short" };
  const formats = {
    axis: { hour: clock, day: clock, week: { weekday: "short", day: "numeric" } },
    tip: { hour: clock, day: { weekday: "short", ...clock }, week: { ...day, ...clock } },
  };
  const format = (kind, at) => new Intl.DateTimeFormat(Scheduler.language, formats[kind][seen.span]).format(at);

  function stretch(bucket) {
    const from = new Date(bucket.at), to = new Date(from.getTime() + seen.seconds * 1000);
    return `${format("tip", from)} – ${new Intl.DateTimeFormat(Scheduler.language, clock).format(to)}`;
  }

  // -- charts --

  function common(tip, unit) {
    const most = { axisLabel: { hideOverlap: true }, splitNumber: 3, min: 0 };
    return {
      grid: { left: 6, right: 10, top: 30, bottom: 4, containLabel: true },
      legend: { top: 0, left: 0, itemWidth: 12, itemHeight: 8, icon: "roundRect", selectedMode: false },
      tooltip: {
        trigger: "axis", confine: true, axisPointer: { type: "line" },
        formatter: (points) => [stretch(seen.buckets[points[0].dataIndex]), ...tip(seen.buckets[points[0].dataIndex])].join("\n"),
      },
      xAxis: {
        type: "category", data: seen.buckets.map((one) => one.at), splitLine: { show: false }, axisTick: { show: false },
        axisLabel: { hideOverlap: true, margin: 12, formatter: (at) => format("axis", new Date(at)) },
      },
      yAxis: { type: "value", ...most, ...unit },
    };
  }

  function throughput() {
    const bar = { type: "bar", stack: "ends", barCategoryGap: "25%", emphasis: { disabled: true } };
    const series = [[Scheduler.T("completed"), "completed", "good"], [Scheduler.T("failed"), "failed", "bad"]];
    return {
      ...common((one) => series.map(([label, name]) => `${label}: ${Scheduler.number(one[name])}`), { minInterval: 1 }),
      aria: { enabled: true, label: { description: described(0) } },
      series: series.map(([name, field, colour]) => ({
        ...bar, name, itemStyle: { color: Scheduler.colour(colour) }, data: seen.buckets.map((one) => one[field]),
      })),
    };
  }

  function times(place, kind, colour) {
    const mean = `${kind}_mean`, longest = `${kind}_longest`;
    const line = Scheduler.colour(colour), point = Scheduler.colour("warn");
    return {
      ...common((one) => [`${Scheduler.T("mean")}: ${Scheduler.span(one[mean])}`, `${Scheduler.T("longest")}: ${Scheduler.span(one[longest])}`],
        { axisLabel: { formatter: Scheduler.span } }),
      aria: { enabled: true, label: { description: described(place) } },
      series: [
        { name: Scheduler.T("mean"), type: "line", data: seen.buckets.map((one) => one[mean]), symbol: "circle", symbolSize: 3,
          showSymbol: true, showAllSymbol: true, lineStyle: { width: 2 }, itemStyle: { color: line }, areaStyle: { opacity: 0.12 }, emphasis: { disabled: true } },
        { name: Scheduler.T("longest"), type: "scatter", data: seen.buckets.map((one) => one[longest]), symbolSize: 5,
          itemStyle: { color: point, opacity: 0.85 }, emphasis: { disabled: true } },
      ],
    };
  }

  // -- texts --

  function overall(kind) {
    let runs = 0, sum = 0, most = 0;
    for (const one of seen.buckets) {
      const number = one.completed + one.failed;
      if (!number) { continue; }
      runs += number;
      sum += number * one[`${kind}_mean`];
      most = Math.max(most, one[`${kind}_longest`]);
    }
    return Scheduler.T("mean {mean}, longest {longest}", { mean: Scheduler.span(sum / runs), longest: Scheduler.span(most) });
  }

  function facts(place) {
    if (place) { return overall(place === 1 ? "wait" : "run"); }
    const numbers = { completed: Scheduler.number(seen.completed), failed: Scheduler.number(seen.failed) };
    return Scheduler.T("{completed} completed, {failed} failed", numbers);
  }

  const described = (place) => `${figures[place].title}: ${facts(place)}. ${Scheduler.T("The table below has the same numbers.")}`;

  function tell() {
    const names = [Scheduler.T("Time"), Scheduler.T("completed"), Scheduler.T("failed"), Scheduler.T("queue time, mean"), Scheduler.T("queue time, longest"), Scheduler.T("run time, mean"), Scheduler.T("run time, longest")];
    const fields = ["wait_mean", "wait_longest", "run_mean", "run_longest"];
    const top = element("thead"), body = element("tbody"), line = element("tr");
    names.forEach((name, place) => {
      const cell = element("th", place ? "number-cell" : "", name);
      cell.scope = "col";
      line.append(cell);
    });
    top.append(line);
    for (const one of seen.buckets.filter((some) => some.completed + some.failed).reverse()) {
      const row = element("tr");
      row.append(element("td", "nowrap", stretch(one)));
      for (const field of ["completed", "failed"]) { row.append(element("td", "number-cell", Scheduler.number(one[field]))); }
      for (const field of fields) { row.append(element("td", "number-cell nowrap", Scheduler.span(one[field]))); }
      body.append(row);
    }
    table.replaceChildren(top, body);
  }

  // -- update --

  function show() {
    const isEmpty = !(seen.completed + seen.failed);
    grid.hidden = details.hidden = isEmpty;
    empty.hidden = !isEmpty;
    empty.replaceChildren(element("p", "", QUIET[seen.span]),
      element("p", "", Scheduler.T("Runs appear here a few seconds after they end.")));
    if (isEmpty) { return; }
    const makes = [throughput, () => times(1, "wait", "accent"), () => times(2, "run", "busy")];
    figures.forEach((one, place) => {
      one.facts.textContent = facts(place);
      Scheduler.chart(one.chart, makes[place]);
    });
    tell();
  }

  async function look() {
    const mine = ++asked, address = new URL(root.dataset.src, location.href);
    address.searchParams.set("span", span);
    try {
      const found = await Scheduler.get(address);
      if (mine !== asked) { return; }  // another span was selected in the meantime
      seen = found;
      trouble.hidden = true;
      show();
      root.dataset.shows = span;
    } catch (error) {
      if (mine !== asked) { return; }
      trouble.textContent = Scheduler.T("Cannot update the charts: {why}", { why: Scheduler.visible(error.message) });
      trouble.hidden = false;
    }
  }

  function choose(name) {
    span = name;
    try { localStorage.setItem(KEY, name); } catch (error) { /* for this page only */ }
    for (const one of tabs.children) { one.setAttribute("aria-pressed", String(one.dataset.span === name)); }
    look();
  }

  choose(span);
  setInterval(() => document.hidden || look(), EVERY);
  document.addEventListener("visibilitychange", () => document.hidden || look());
})();
