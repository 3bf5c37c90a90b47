// Draws the charts of a run from its columns. The live page and the report share it.
"use strict";
function twinfleetCharts(root, data) {
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const palette = ["#0969da", "#1a7f37", "#bf8700", "#8250df", "#cf222e", "#0598bc", "#bf3989", "#57606a", "#4d2d00", "#2da44e", "#6639ba", "#953800"];
  const dash = { p50: [], p95: [6, 3], p99: [2, 2] };
  const charts = [];
  const short = (v) => v == null ? "–" : v >= 1e6 ? (v / 1e6).toFixed(1) + "M" : v >= 1e4 ? Math.round(v / 1e3) + "k" : String(+v.toPrecision(4));
  const latency = (ms) => ms == null ? "–" : ms >= 1000 ? +(ms / 1000).toPrecision(3) + " s" : ms >= 1 ? +ms.toPrecision(3) + " ms" : +(ms * 1000).toPrecision(3) + " µs";
  const clock = (s) => s >= 3600 ? (s / 3600).toFixed(1) + " h" : s >= 120 ? Math.floor(s / 60) + "m" + String(Math.round(s % 60)).padStart(2, "0") : +s.toFixed(1) + " s";
  const last = (column) => column && column.length ? column[column.length - 1] : null;

  // A line joins two values unless there should have been one in between: what comes every ten seconds has none for nine.
  const spacing = (values) => {
    const steps = [];
    let before = -1;
    values.forEach((v, i) => {
      if (v == null) return;
      if (before >= 0) steps.push(data.times[i] - data.times[before]);
      before = i;
    });
    return steps.sort((a, b) => a - b)[Math.floor(steps.length / 2)] || 0;
  };
  const apart = (values, from, to) => from < 0 || to < 0 || data.times[to] - data.times[from] > 1.5 * values.spacing;
  // Where lines are broken, in pixels; a value that stands alone is a point.
  const broken = (u, index) => {
    const values = u.data[index], gaps = [], alone = [];
    values.spacing ??= spacing(values);
    const x = (i) => Math.round(u.valToPos(data.times[i], "x", true));
    let before = -1, open = true;
    values.forEach((v, i) => {
      if (v == null) return;
      const gap = apart(values, before, i);
      if (gap && before >= 0) {
        gaps.push([x(before), x(i)]);
        if (open) alone.push(before);
      }
      open = gap;
      before = i;
    });
    if (open && before >= 0) alone.push(before);
    return { gaps, alone };
  };

  // Bands behind the lines show the stages.
  const bands = {
    hooks: {
      drawClear: (u) => {
        const ctx = u.ctx;
        ctx.save();
        data.stages.forEach((stage, i) => {
          const from = Math.max(u.valToPos(stage.from, "x", true), u.bbox.left), to = Math.min(u.valToPos(stage.to, "x", true), u.bbox.left + u.bbox.width);
          if (to <= from) return;
          ctx.fillStyle = `rgba(${css("--heat")}, ${i % 2 ? 0.09 : 0.03})`;
          ctx.fillRect(from, u.bbox.top, to - from, u.bbox.height);
          ctx.fillStyle = css("--faint");
          ctx.font = `${11 * devicePixelRatio}px system-ui`;
          ctx.textAlign = "left";
          ctx.textBaseline = "alphabetic";
          if (to - from > ctx.measureText(stage.name).width) ctx.fillText(stage.name, from + 4, u.bbox.top + 12 * devicePixelRatio);
        });
        ctx.restore();
      },
    },
  };

  function panel(title) {
    const box = document.createElement("div");
    box.className = "chart";
    const head = document.createElement("h3");
    const text = document.createElement("span");
    text.textContent = title;
    head.append(text);
    box.append(head);
    root.append(box);
    return { box, head };
  }

  function lines(title, unit, columns, log) {
    const { box } = panel(title);
    const names = () => columns().map((c) => c.name);
    let drawn = "", plot;
    const axis = { stroke: () => css("--faint"), grid: { stroke: () => css("--line"), width: 1 }, ticks: { stroke: () => css("--line") } };
    const draw = () => {
      const all = columns();
      const values = [data.times, ...all.map((c) => c.values)];
      all.forEach((c) => { delete c.values.spacing; });
      if (plot && drawn === names().join()) {
        plot.setData(values);
        return;
      }
      if (plot) plot.destroy();
      drawn = names().join();
      plot = new uPlot({
        width: box.clientWidth - 24, height: 220, plugins: [bands], cursor: { sync: { key: "twinfleet" } },
        scales: { x: { time: false }, y: log ? { distr: 3 } : { range: (u, low, high) => [0, Math.max(high * 1.05, 1)] } },
        axes: [{ ...axis, values: (u, ticks) => ticks.map(clock) }, { ...axis, size: 64, values: (u, ticks) => ticks.map((v) => v == null ? "" : unit(v)) }],
        series: [{ label: "at", value: (u, v) => v == null ? "–" : clock(v) },
          ...all.map((c, i) => ({ label: c.name, stroke: palette[(c.color ?? i) % palette.length], width: 1.5, dash: c.dash, spanGaps: false, gaps: (u, index) => broken(u, index).gaps, points: { show: data.times.length < 30, filter: (u, index, show) => show ? null : broken(u, index).alone }, value: (u, v) => unit(v) }))],
      }, values, box);
    };
    charts.push({ draw, resize: () => plot.setSize({ width: box.clientWidth - 24, height: 220 }), redraw: () => plot.redraw(false), destroy: () => plot.destroy() });
    draw();
  }

  function chooser(head, label, options, choose) {
    const select = document.createElement("select");
    select.setAttribute("aria-label", label);
    const update = () => {
      const names = options();
      if (names.join() === [...select.options].map((o) => o.value).join()) return;
      const chosen = select.value;
      select.replaceChildren(...names.map((n) => new Option(n, n)));
      if (names.includes(chosen)) select.value = chosen;
    };
    select.onchange = choose;
    head.append(select);
    update();
    return { select, update };
  }

  // Colour says how many answers of a time took how long.
  function heat() {
    const { box, head } = panel("Latency heat map");
    const canvas = document.createElement("canvas");
    canvas.className = "heat";
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", "how many answers took how long, over time");
    box.append(canvas);
    const names = () => [...data.ops].sort((a, b) => last(b.rate) - last(a.rate)).map((o) => o.name);
    const draw = () => {
      choice.update();
      const op = data.ops.find((o) => o.name === choice.select.value);
      const ratio = devicePixelRatio || 1, width = canvas.clientWidth * ratio, height = 220 * ratio;
      canvas.width = width; canvas.height = height;
      const ctx = canvas.getContext("2d");
      if (!op || !data.times.length) return;
      const left = 64 * ratio, bottom = 22 * ratio, rows = data.edges.length;
      const most = Math.max(1, ...op.heat.map((column) => Math.max(0, ...column)));
      const start = Math.min(data.stages.length ? data.stages[0].from : 0, data.times[0]), span = Math.max(last(data.times) - start, 1);
      const x = (t) => left + (t - start) / span * (width - left), cell = (height - bottom) / rows;
      op.heat.forEach((column, i) => {
        const from = x(i ? data.times[i - 1] : start), to = x(data.times[i]);
        column.forEach((n, row) => {
          if (!n) return;
          ctx.fillStyle = `rgba(${css("--heat")}, ${0.12 + 0.88 * Math.log1p(n) / Math.log1p(most)})`;
          ctx.fillRect(from, height - bottom - (row + 1) * cell, Math.max(to - from, 1), cell);
        });
      });
      ctx.fillStyle = css("--faint");
      ctx.font = `${11 * ratio}px system-ui`;
      ctx.textBaseline = "alphabetic";
      ctx.textAlign = "right";
      data.edges.forEach((edge, row) => { if (row % 3 === 0) ctx.fillText(latency(edge), left - 6 * ratio, height - bottom - (row + 1) * cell + cell / 2); });
      ctx.textAlign = "center";
      for (let i = 1; i < 6; i++) ctx.fillText(clock(start + span * i / 6), x(start + span * i / 6), height - 6 * ratio);
    };
    const choice = chooser(head, "operation of the heat map", names, draw);
    if (data.ops.some((o) => o.name === "twin_report")) choice.select.value = "twin_report";
    charts.push({ draw, resize: draw, redraw: draw, destroy: () => {} });
    draw();
  }

  const plain = (o) => !o.name.startsWith("query ");
  const some = (list) => list.length ? list : [{ name: "none", values: data.times.map(() => 0) }];
  lines("Devices by state", short, () => some(Object.keys(data.devices).sort().map((name) => ({ name, values: data.devices[name] }))));
  lines("Operations a second", (v) => short(v) + (v == null ? "" : "/s"), () => some(data.ops.filter(plain).map((o) => ({ name: o.name, values: o.rate }))));
  const percentiles = (title, pick) => lines(title, latency, () => some(data.ops.filter(pick).flatMap((o, i) =>
    ["p50", "p95", "p99"].map((p) => ({ name: `${o.name} ${p}`, values: o[p], color: i, dash: dash[p] })))), true);
  percentiles("Latency of devices", (o) => ["connect", "twin_report", "telemetry"].includes(o.name));
  heat();
  lines("Throttled and failed a second", (v) => short(v) + (v == null ? "" : "/s"), () => some(data.ops.flatMap((o, i) => [
    { name: o.name + " throttled", values: o.throttled, color: i, dash: [6, 3] }, { name: o.name + " errors", values: o.errors, color: i },
  ]).filter((c) => c.values.some((v) => v > 0))));
  if (data.ops.some((o) => !plain(o))) {
    percentiles("Latency of queries", (o) => !plain(o));
    lines("Results of queries", short, () => some(Object.keys(data.queries).sort().map((name) => ({ name, values: data.queries[name] }))));
  }
  const others = (o) => plain(o) && ["freshness", "desired", "desired_reply", "method", "twin_read", "delivery"].includes(o.name);
  if (data.ops.some(others)) percentiles("Freshness and the service side", others);

  const sizes = new ResizeObserver(() => charts.forEach((c) => c.resize()));
  sizes.observe(root);
  const theme = matchMedia("(prefers-color-scheme: dark)"), redraw = () => charts.forEach((c) => c.redraw());
  theme.addEventListener("change", redraw);
  return {
    update: () => charts.forEach((c) => c.draw()),
    destroy: () => {
      sizes.disconnect();
      theme.removeEventListener("change", redraw);
      charts.forEach((c) => c.destroy());
      root.replaceChildren();
    },
  };
}
