// The next hours as a drawing: a row for each task, dots for runs, bands for frequent runs.
(function () {
  "use strict";

  const MOST_ROWS = 40, ROW = 26;
  const { number, span } = Scheduler;
  const fontFamily = getComputedStyle(document.body).fontFamily;

  // -- dates --

  const dayFormat = new Intl.DateTimeFormat(Scheduler.language, { day: "numeric", timeZone: "UTC" });
  const monthFormat = new Intl.DateTimeFormat(Scheduler.language, { day: "numeric", month: "short", timeZone: "UTC" });
  const wholeFormat = new Intl.DateTimeFormat(Scheduler.language, { dateStyle: "full", timeZone: "UTC" });

  function tellDates() {
    document.querySelectorAll("time.date").forEach((one, place) => {
      const day = new Date(`${one.dateTime}T00:00:00Z`);
      const whole = one.classList.contains("whole");
      const format = whole ? wholeFormat : place === 0 || day.getUTCDate() === 1 ? monthFormat : dayFormat;
      one.textContent = format.format(day);
      if (!whole) { one.title = wholeFormat.format(day); }
    });
  }

  // -- the drawing --

  const element = document.getElementById("hours");
  let given = element ? Scheduler.visible(JSON.parse(document.getElementById("lanes").textContent)) : null;

  const isOnce = (lane) => lane.task === null;
  const nameOf = (lane) => lane.name || lane.function;
  const narrow = () => element.clientWidth < 600;

  function often(band) {
    return band.every ? Scheduler.T("every {span}", { span: span(band.every) }) : Scheduler.T("without a pause");
  }

  function dots(lanes, once) {
    const found = [];
    lanes.forEach((lane, row) => {
      if (isOnce(lane) !== once) { return; }
      lane.dots.forEach((iso, place) => {
        const task = once ? lane.tasks[place] : lane.task;
        const words = once ? Scheduler.T("once") : lane.words;
        found.push({ value: [iso, row], task, said: `${nameOf(lane)}\n${words}\n${Scheduler.time(iso)}` });
      });
    });
    return found;
  }

  function bands(lanes) {
    const found = [];
    lanes.forEach((lane, row) => lane.bands.forEach((band) => {
      const said = [nameOf(lane), often(band), Scheduler.T("{number} runs", { number: number(band.count) }),
        `${Scheduler.time(band.start)} – ${Scheduler.time(band.end)}`].join("\n");
      found.push({ value: [band.start, band.end, row], task: lane.task, said, text: `${often(band)} · ${number(band.count)}`, once: isOnce(lane) });
    }));
    return found;
  }

  function drawBand(items) {
    return (params, api) => {
      const item = items[params.dataIndex], height = 14;
      const start = api.coord([api.value(0), api.value(2)]), end = api.coord([api.value(1), api.value(2)]);
      const area = params.coordSys, left = Math.max(start[0], area.x);
      const width = Math.max(6, Math.min(end[0], area.x + area.width) - left);
      const shape = { x: left, y: start[1] - height / 2, width, height, r: 5 };
      const fill = Scheduler.colour(item.once ? "warn" : "accent");
      const text = { text: item.text, x: left + 7, y: start[1], verticalAlign: "middle", fontSize: 11, fontFamily, fill: Scheduler.colour("text") };
      const fits = width > 7 * item.text.length + 14;
      return { type: "group", children: [
        { type: "rect", shape, style: { fill, opacity: 0.28 } },
        ...(fits ? [{ type: "text", style: text, silent: true }] : []),
      ] };
    };
  }

  function option() {
    const lanes = given.lanes.slice(0, MOST_ROWS), often = bands(lanes), now = Date.now();
    const since = new Date(given.since).getTime(), until = new Date(given.until).getTime();
    const wide = narrow() ? 92 : 190;
    return {
      aria: { enabled: true, label: { description: Scheduler.T("Planned runs of the next 24 hours. The table below has the same data.") } },
      grid: { left: wide + 12, right: 14, top: 22, bottom: 26 },
      tooltip: { formatter: (one) => one.data.said, confine: true },
      xAxis: { type: "time", min: since - (until - since) / 60, max: until, splitLine: { show: true }, axisLabel: { hideOverlap: true } },
      yAxis: {
        type: "category", inverse: true, data: lanes.map(nameOf), axisTick: { show: false }, axisLine: { show: false },
        splitLine: { show: true, interval: 0 }, splitArea: { show: false },
        axisLabel: { interval: 0, width: wide, overflow: "truncate", color: Scheduler.colour("text"), fontSize: 12 },
      },
      series: [
        { type: "custom", renderItem: drawBand(often), data: often, encode: { x: [0, 1], y: 2 }, cursor: "pointer" },
        { type: "scatter", symbol: "circle", symbolSize: 9, data: dots(lanes, false), itemStyle: { color: Scheduler.colour("accent") },
          markLine: { silent: true, symbol: "none", animation: false, data: [{ xAxis: Math.max(now, since) }],
            lineStyle: { color: Scheduler.colour("bad"), type: "solid", width: 1 },
            label: { formatter: Scheduler.T("now"), color: Scheduler.colour("bad"), position: "start", distance: 4 } } },
        { type: "scatter", symbol: "diamond", symbolSize: 11, data: dots(lanes, true), itemStyle: { color: Scheduler.colour("warn") } },
      ],
    };
  }

  function draw() {
    const rows = Math.min(given.lanes.length, MOST_ROWS), left = given.lanes.length - rows;
    element.style.height = `${56 + ROW * rows}px`;
    const chart = Scheduler.chart(element, option);
    chart.resize();
    chart.off("click");
    chart.on("click", (one) => {
      if (one.data && one.data.task) { location.href = element.dataset.task.replace(/0$/, one.data.task); }
    });
    const more = document.getElementById("more-lanes");
    more.hidden = left <= 0;
    more.textContent = Scheduler.T("{number} more rows are in the table below.", { number: number(left) });
  }

  async function refresh() {
    if (document.hidden) { return; }
    try {
      given = Scheduler.visible(await Scheduler.get(element.dataset.url));
      draw();
    } catch (error) {
      if (error.status) { Scheduler.tell(error.message, true); }
    }
  }

  tellDates();
  if (element) {
    draw();
    document.addEventListener("themechange", draw);  // a new chart, without event handlers
    setInterval(refresh, 30000);
  }
})();
