// Runs as bars: a row for each slot of each worker, with time from left to right up to now.
(function () {
  "use strict";

  const element = document.getElementById("bars");
  if (!element) { return; }
  const { number, span } = Scheduler;
  const fontFamily = getComputedStyle(document.body).fontFamily;
  const LANE = 20, GAP = 10;
  const TONES = { COMPLETED: "good", FAILED: "bad", TIMEOUT: "bad", DIED: "bad", LOST: "bad", STOPPED: "warn", INTERRUPTED: "warn", RUNNING: "busy" };
  const SIGNS = { FAILED: "✕", TIMEOUT: "✕", DIED: "✕", LOST: "✕", INTERRUPTED: "■", STOPPED: "■", RUNNING: "▶" };
  let given = Scheduler.visible(JSON.parse(document.getElementById("rows").textContent)), zoom = { start: 0, end: 100 };

  const narrow = () => element.clientWidth < 600;

  // Return the position of each worker's lanes, in pixels from the top of the drawing.
  function places() {
    let top = 0;
    return given.workers.map((worker) => {
      const place = { top, height: worker.lanes * LANE };
      top += place.height + GAP;
      return place;
    });
  }

  function bars() {
    const found = [], where = places();
    given.workers.forEach((worker, row) => worker.bars.forEach((bar) => {
      const start = new Date(bar.start).getTime() + bar.fraction * 1000, end = start + bar.seconds * 1000;
      const said = [`${bar.name} · ${bar.outcome || bar.status}`, Scheduler.T("run {id}", { id: bar.run }), `${Scheduler.time(bar.start)} · ${span(bar.seconds)}`, worker.worker].join("\n");
      found.push({ value: [start, end, where[row].top + bar.lane * LANE], run: bar.run, status: bar.outcome || bar.status, name: bar.name, said });
    }));
    return found;
  }

  function label(item, width) {
    const text = [SIGNS[item.status], item.name].filter(Boolean).join(" ");
    const room = Math.floor((width - 8) / 6.6);
    if (room < 1) { return ""; }
    return text.length <= room ? text : room < 4 ? (SIGNS[item.status] || "") : `${text.slice(0, room - 1)}…`;
  }

  function drawBar(items) {
    return (params, api) => {
      const item = items[params.dataIndex], area = params.coordSys, tone = TONES[item.status] || "calm";
      const start = api.coord([api.value(0), api.value(2)]), end = api.coord([api.value(1), api.value(2)]);
      const left = Math.max(start[0], area.x), right = Math.min(Math.max(end[0], start[0] + 3), area.x + area.width);
      if (right <= area.x || left >= area.x + area.width) { return null; }
      const shape = { x: left, y: start[1] + 2, width: Math.max(1, right - left), height: LANE - 4, r: 3 };
      const text = label(item, shape.width);
      return { type: "group", children: [
        { type: "rect", shape, style: { fill: Scheduler.colour(tone), opacity: tone === "bad" ? 1 : 0.85 } },
        ...(text ? [{ type: "text", silent: true, style: { text, x: left + 5, y: start[1] + LANE / 2, verticalAlign: "middle", fontSize: 11, fontFamily, fill: Scheduler.colour("card") } }] : []),
      ] };
    };
  }

  // Draw each worker's name and slot usage beside its lanes, and a faint background.
  function drawWorker(where) {
    return (params, api) => {
      const row = params.dataIndex, worker = given.workers[row], area = params.coordSys;
      const top = api.coord([given.since, where[row].top])[1], wide = area.x - 12;
      const middle = top + where[row].height / 2, name = worker.worker || Scheduler.T("unknown");
      const style = { width: wide, overflow: "truncate", ellipsis: "…", x: 4, fontSize: 12, fontFamily };
      const both = where[row].height >= 30;
      return { type: "group", silent: true, children: [
        { type: "rect", shape: { x: area.x, y: top, width: area.width, height: where[row].height, r: 4 }, style: { fill: Scheduler.colour("calm-soft"), opacity: 0.55 }, z2: -1 },
        { type: "text", style: { ...style, text: both ? name : `${name} · ${percent(worker)}`, y: middle - (both ? 8 : 0), verticalAlign: "middle", fill: Scheduler.colour("text") } },
        ...(both ? [{ type: "text", style: { ...style, text: percent(worker), y: middle + 8, verticalAlign: "middle", fontSize: 11, fontFamily, fill: Scheduler.colour("faint") } }] : []),
      ] };
    };
  }

  const percent = (worker) => `${Math.round(100 * worker.busy)}%`;

  function option() {
    const where = places(), items = bars();
    const height = where.reduce((most, one) => Math.max(most, one.top + one.height), 0);
    const since = new Date(given.since).getTime(), until = new Date(given.until).getTime();
    return {
      aria: { enabled: true, label: { description: Scheduler.T("Runs of each worker. The tables below have the same data.") } },
      grid: { left: narrow() ? 104 : 176, right: 14, top: 8, bottom: 62 },
      tooltip: { formatter: (one) => (one.data && one.data.said) || "", confine: true },
      xAxis: { type: "time", min: since, max: until, splitLine: { show: true }, axisLabel: { hideOverlap: true } },
      yAxis: { type: "value", inverse: true, min: 0, max: height, show: false },
      dataZoom: [
        { type: "slider", xAxisIndex: 0, bottom: 8, height: 20, ...zoom, labelFormatter: (value) => Scheduler.time(new Date(value).toISOString()), borderColor: Scheduler.colour("line"), fillerColor: Scheduler.colour("accent") + "22", textStyle: { color: Scheduler.colour("faint"), fontSize: 11 }, showDataShadow: false, filterMode: "none" },
        { type: "inside", xAxisIndex: 0, zoomOnMouseWheel: "ctrl", moveOnMouseWheel: false, filterMode: "none" },
      ],
      series: [
        { type: "custom", renderItem: drawWorker(where), data: where.map((one) => [since, one.top]), silent: true, z: 1 },
        { type: "custom", renderItem: drawBar(items), data: items, encode: { x: [0, 1], y: 2 }, cursor: "pointer", z: 2, clip: true },
      ],
    };
  }

  function draw() {
    const height = given.workers.reduce((sum, worker) => sum + worker.lanes * LANE + GAP, -GAP);
    element.style.height = `${height + 70}px`;
    const chart = Scheduler.chart(element, option);
    chart.resize();
    chart.off("click");
    chart.off("datazoom");
    chart.on("datazoom", () => {
      const { start, end } = chart.getOption().dataZoom[0];
      zoom = { start, end };
    });
    chart.on("click", (one) => {
      if (one.data && one.data.run) { location.href = element.dataset.run.replace(/0$/, one.data.run); }
    });
  }

  async function refresh() {
    if (document.hidden) { return; }
    try {
      given = Scheduler.visible(await Scheduler.get(element.dataset.url));
      draw();
      const unkept = document.getElementById("unkept");
      unkept.hidden = !given.unkept;
      unkept.textContent = Scheduler.T("Not stored in this time span: {number} runs.", { number: number(given.unkept) });
      const cut = document.getElementById("cut");
      cut.hidden = !given.cut;
      cut.querySelector("time").dateTime = given.shown_since;
      Scheduler.tellTimes(cut);
    } catch (error) {
      if (error.status) { Scheduler.tell(error.message, true); }
    }
  }

  draw();
  document.addEventListener("themechange", draw);  // a new chart, without event handlers
  setInterval(refresh, 5000);
})();
