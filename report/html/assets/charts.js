// Draws the charts of a run from its columns. The live page and the report share it.
"use strict";
function twinfleetCharts(root, data) {
  const HEIGHT = 200, HUES = 8, SHADES = 32;
  const dashes = { p50: [], p95: [7, 3], p99: [2, 2] };
  // Each operation has its colour in all charts; those that are drawn together in one chart of latencies have different ones.
  const operations = ["connect", "twin_report", "telemetry", "twin_get", "subscribe", "freshness", "desired", "desired_reply",
    "delivery", "tag", "provision", "method", "twin_read", "desired_patch", "job", "statistics", "dps_register", "dps_connect", "dps_put", "dps_get", "recovery", "renew", "request"];
  const states = ["connecting", "backoff", "connected", "offline", "waiting"];
  const made = [];
  let theme = {};

  function readTheme() {
    const style = getComputedStyle(document.documentElement), css = (name) => style.getPropertyValue(name).trim();
    theme = { faint: css("--faint"), line: css("--line"), heat: css("--heat"), hues: Array.from({ length: HUES }, (_, i) => css("--series-" + (i + 1))) };
    theme.shades = Array.from({ length: SHADES }, (_, i) => `rgba(${theme.heat}, ${0.15 + 0.85 * i / (SHADES - 1)})`);
  }
  readTheme();

  const short = (v) => v == null ? "–" : v >= 1e6 ? (v / 1e6).toFixed(1) + "M" : v >= 1e4 ? Math.round(v / 1e3) + "k" : (+v.toPrecision(4)).toLocaleString("en", { maximumFractionDigits: 4 });
  const whole = (v) => v == null ? "–" : Math.round(v).toLocaleString("en");
  const rate = (v) => v == null ? "–" : short(v) + "/s";
  const latency = (ms) => ms == null ? "–" : ms >= 1000 ? +(ms / 1000).toPrecision(3) + " s" : ms >= 1 ? +ms.toPrecision(3) + " ms" : +(ms * 1000).toPrecision(3) + " µs";
  const clock = (s) => s >= 3600 ? (s / 3600).toFixed(1) + " h" : s >= 120 ? Math.floor(s / 60) + "m" + String(Math.round(s % 60)).padStart(2, "0") : +s.toFixed(1) + " s";
  const steps = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400, 604800, 6048000];
  const last = (column) => column && column.length ? column[column.length - 1] : null;
  // Of a run that is over the last values are those of its last stage: then its devices go.
  const upTo = () => data.end ? data.end + 0.001 : Infinity;

  function element(tag, className, content) {
    const el = document.createElement(tag);
    if (className) el.className = className;
    if (content != null) el.textContent = content;
    return el;
  }

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

  // Bands behind the lines show the stages; their names stand above, where no line goes through them.
  const bands = (u) => {
    const ctx = u.ctx, ratio = devicePixelRatio || 1;
    ctx.save();
    ctx.font = `${11 * ratio}px system-ui, sans-serif`;
    ctx.textAlign = "left";
    ctx.textBaseline = "alphabetic";
    data.stages.forEach((stage, i) => {
      const from = Math.max(u.valToPos(stage.from, "x", true), u.bbox.left), to = Math.min(u.valToPos(stage.to, "x", true), u.bbox.left + u.bbox.width);
      if (to <= from) return;
      ctx.fillStyle = `rgba(${theme.heat}, ${i % 2 ? 0.1 : 0.04})`;
      ctx.fillRect(from, u.bbox.top, to - from, u.bbox.height);
      let name = stage.name;
      while (name && ctx.measureText(name).width > to - from - 6 * ratio) name = name.length > 4 ? name.slice(0, -3) + "…" : "";
      ctx.fillStyle = theme.faint;
      if (name) ctx.fillText(name, from + 2 * ratio, u.bbox.top - 5 * ratio);
    });
    ctx.restore();
  };

  function panel(title, order) {
    const box = element("section", "chart"), head = element("h3");
    head.append(element("span", "", title));
    box.append(head);
    box.style.order = order;
    root.append(box);
    return { box, head };
  }

  // The legend has the last values, or those under the pointer: a table where an operation has several, else a list. Its names hide and
  // show their lines.
  function legend(box, unit, toggle) {
    const scroll = element("div", "legend");
    box.append(scroll);
    const hidden = new Set();
    let cells = [], at;
    const name = (row, column) => {
      const button = element("button", "line");
      button.type = "button";
      button.style.setProperty("--hue", `var(--series-${column.hue % HUES + 1})`);
      button.classList.toggle("dashed", !column.part && !!column.dash && column.dash.length > 0);
      button.setAttribute("aria-pressed", String(!hidden.has(row)));
      button.append(element("i"), row);
      button.onclick = () => {
        if (!hidden.delete(row)) hidden.add(row);
        button.setAttribute("aria-pressed", String(!hidden.has(row)));
        toggle();
      };
      return button;
    };
    const asTable = (columns, parts) => {
      const table = element("table"), head = table.createTHead().insertRow(), body = table.createTBody();
      at = element("th", "at", "last");
      at.scope = "col";
      head.append(at);
      for (const part of parts) {
        const th = element("th", "part " + part, part);
        th.scope = "col";
        head.append(th);
      }
      for (const row of new Set(columns.map((c) => c.row))) {
        const tr = body.insertRow(), th = element("th");
        th.scope = "row";
        th.append(name(row, columns.find((c) => c.row === row)));
        tr.append(th);
        for (const part of parts) cells.push({ cell: tr.insertCell(), index: columns.findIndex((c) => c.row === row && c.part === part) });
      }
      scroll.append(table);
    };
    const asList = (columns) => {
      const list = element("ul");
      at = element("li", "at", "last");
      list.append(at);
      columns.forEach((c, index) => {
        const item = element("li"), cell = element("span");
        item.append(name(c.row, c), cell);
        list.append(item);
        cells.push({ cell, index });
      });
      scroll.append(list);
    };
    return {
      hidden,
      build(columns) {
        cells = [];
        at = null;
        scroll.replaceChildren();
        const parts = [...new Set(columns.map((c) => c.part))];
        if (parts.some(Boolean)) asTable(columns, parts);
        else if (columns.length) asList(columns);
      },
      show(columns, i) {
        const pointed = i != null;
        if (at) at.textContent = pointed ? "at " + clock(data.times[i]) : "last";
        const end = upTo();
        for (const { cell, index } of cells) {
          const values = columns[index].values, k = pointed ? i : values.findLastIndex((v, n) => v != null && data.times[n] <= end);
          cell.textContent = unit(k < 0 ? null : values[k]);
          cell.classList.toggle("old", !pointed && k >= 0 && Math.min(end, last(data.times)) - data.times[k] > Math.max(5, 1.5 * (values.spacing ?? 0)));
        }
      },
    };
  }

  function lines(title, order, unit, columns, { log, none } = {}) {
    const { box } = panel(title, order);
    const empty = element("p", "empty", none), plotBox = element("div");
    box.append(empty, plotBox);
    let drawn = "", plot, all = [];
    const names = legend(box, unit, () => setVisible());
    const setVisible = () => plot && all.forEach((c, i) => plot.setSeries(i + 1, { show: !names.hidden.has(c.row) }));
    const axis = { stroke: () => theme.faint, grid: { stroke: () => theme.line, width: 1 }, ticks: { stroke: () => theme.line, size: 4 }, font: "11px system-ui, sans-serif" };
    // Lines behind a logarithmic scale stand at whole decades alone.
    const decades = { grid: { ...axis.grid, filter: (u, ticks) => ticks.map((v) => Number.isInteger(+Math.log10(v).toFixed(6)) ? v : null) } };
    const width = () => Math.max(120, box.clientWidth - 24);
    const draw = () => {
      all = columns();
      all.forEach((c) => { delete c.values.spacing; });
      empty.hidden = all.length > 0 || !none;
      plotBox.hidden = all.length === 0 && !!none;
      const values = [data.times, ...all.map((c) => c.values)], key = all.map((c) => c.row + " " + c.part).join();
      if (plot && drawn === key) {
        plot.setData(values);
        names.show(all, plot.cursor.idx);
        return;
      }
      if (plot) plot.destroy();
      plot = null;
      drawn = key;
      names.build(all);
      if (plotBox.hidden) return;
      plot = new uPlot({
        width: width(), height: HEIGHT, legend: { show: false }, padding: [20, 18, 0, 0],
        cursor: { sync: { key: "twinfleet" } },
        hooks: { drawClear: [bands], setCursor: [(u) => names.show(all, u.cursor.idx)] },
        scales: { x: { time: false }, y: log ? { distr: 3 } : { range: (u, low, high) => [0, Math.max(high * 1.05, 1)] } },
        axes: [{ ...axis, size: 30, incrs: steps, values: (u, ticks) => ticks.map(clock) }, { ...axis, ...(log && decades), size: 60,
          values: (u, ticks) => ticks.map((v) => v == null ? "" : unit(v)) }],
        series: [{}, ...all.map((c) => ({
          stroke: () => theme.hues[c.hue % HUES], width: c.part === "p99" ? 2 : 1.5, dash: c.dash, spanGaps: false, show: !names.hidden.has(c.row),
            gaps: (u, index) => broken(u, index).gaps,
          points: { show: () => data.times.length < 15, filter: (u, index, show) => show ? null : broken(u, index).alone },
        }))],
      }, values, plotBox);
      names.show(all, null);
    };
    made.push({
      box, order, draw, resize: () => plot && plot.setSize({ width: width(), height: HEIGHT }), redraw: () => plot && plot.redraw(false),
      destroy: () => plot && plot.destroy(),
    });
    draw();
  }

  function chooser(head, label, options, choose) {
    const select = element("select");
    select.setAttribute("aria-label", label);
    const update = () => {
      const names = options();
      if (names.join() === [...select.options].map((o) => o.value).join()) return;
      const chosen = select.value;
      select.replaceChildren(...names.map((n) => new Option(n, n)));
      if (names.includes(chosen)) select.value = chosen;
    };
    let byHand = false;
    select.onchange = () => { byHand = true; choose(); };
    head.append(select);
    update();
    return { select, update, chosen: () => byHand };
  }

  // A time that people count in, and at least so long.
  const round = (seconds) => steps.find((s) => s >= seconds) || 86400 * Math.ceil(seconds / 86400);

  // Colour says how many answers of a time took how long.
  function heat(order) {
    const { box, head } = panel("Latency heat map", order);
    const canvas = element("canvas", "heat"), key = element("p", "key"), least = element("span", "", "1"), scale = element("i"), greatest = element("span");
    canvas.setAttribute("role", "img");
    key.append(least, scale, greatest);
    box.append(canvas, key);
    // In the order in which they came: an operation keeps its place while somebody chooses.
    const names = () => data.ops.map((o) => o.name);
    const draw = () => {
      choice.update();
      if (!choice.chosen()) choice.select.value = usual() || choice.select.value;
      const op = data.ops.find((o) => o.name === choice.select.value);
      const ratio = devicePixelRatio || 1, width = canvas.clientWidth * ratio, height = HEIGHT * ratio;
      canvas.width = width;
      canvas.height = height;
      const ctx = canvas.getContext("2d");
      key.hidden = !op || !data.times.length;
      canvas.setAttribute("aria-label", op ? `how many answers of ${op.name} took how long, over time` : "nothing was measured yet");
      if (key.hidden) return;
      const left = 60 * ratio, bottom = 22 * ratio, rows = data.edges.length;
      let most = 1;
      for (const column of op.heat) for (const n of column) if (n > most) most = n;
      greatest.textContent = `${whole(most)} ${most === 1 ? "answer" : "answers"} in a cell`;
      const start = Math.min(data.stages.length ? data.stages[0].from : 0, data.times[0]), span = Math.max(last(data.times) - start, 1);
      const x = (t) => left + (t - start) / span * (width - left), cell = (height - bottom) / rows, steps = (SHADES - 1) / Math.log1p(most);
      op.heat.forEach((column, i) => {
        const from = x(i ? data.times[i - 1] : start), to = x(data.times[i]);
        column.forEach((n, row) => {
          if (!n) return;
          ctx.fillStyle = theme.shades[Math.round(Math.log1p(n) * steps)];
          ctx.fillRect(from, height - bottom - (row + 1) * cell, Math.max(to - from, 1), cell);
        });
      });
      ctx.fillStyle = theme.faint;
      ctx.font = `${11 * ratio}px system-ui, sans-serif`;
      ctx.textBaseline = "middle";
      ctx.textAlign = "right";
      data.edges.forEach((edge, row) => { if (row % 3 === 0) ctx.fillText(latency(edge), left - 6 * ratio, height - bottom - (row + 1) * cell); });
      ctx.textAlign = "center";
      ctx.textBaseline = "alphabetic";
      const step = round(span / (width / ratio < 420 ? 4 : 7));
      for (let t = Math.ceil(start / step + 0.2) * step; t < start + 0.97 * span; t += step) ctx.fillText(clock(t), x(t), height - 6 * ratio);
    };
    // Until somebody chooses: what devices do most, also when it began later than the rest.
    const usual = () => ["twin_report", "telemetry", "delivery"].find((name) => data.ops.some((o) => o.name === name));
    const choice = chooser(head, "operation of the heat map", names, draw);
    made.push({ box, order, draw, resize: draw, redraw: draw, destroy: () => {} });
    draw();
  }

  const plain = (o) => !o.name.startsWith("query ");
  const hue = (o) => {
    const i = operations.indexOf(o.name);
    return i >= 0 ? i : plain(o) ? operations.length : data.ops.filter((x) => !plain(x)).indexOf(o);
  };
  // When there are more lines than colours, those of the second round are dashed, further ones dotted.
  const again = (h) => [[], [7, 3], [2, 2]][Math.min(2, Math.floor(h / HUES))];
  const latencies = (pick) => () => data.ops.filter(pick).flatMap((o) =>
    Object.keys(dashes).map((p) => ({ row: o.name, part: p, values: o[p], hue: hue(o), dash: dashes[p] })));
  const kinds = [
    { when: () => true, make: (n) => lines("Devices by state", n, whole, () => Object.keys(data.devices).sort().map((name) => (
      { row: name, part: "", values: data.devices[name], hue: Math.max(0, states.indexOf(name)) + (name === "offline" ? 3 : 0) })), { none: "no device has been started yet" }) },
    { when: () => true, make: (n) => lines("Operations a second", n, rate, () => data.ops.filter(plain).map((o) => (
      { row: o.name, part: "", values: o.rate, hue: hue(o), dash: again(hue(o)) })), { none: "no operation has ended yet" }) },
    { when: () => true, make: (n) => lines("Latency of devices", n, latency, latencies((o) => ["connect", "twin_report", "telemetry"].includes(o.name)),
      { log: true, none: "no operation has ended yet" }) },
    { when: () => true, make: heat },
    { when: () => true, make: (n) => lines("Throttled and failed a second", n, rate, () => data.ops.flatMap((o, i) => [
      { row: o.name + " throttled", part: "", values: o.throttled, hue: hue(o), dash: [7, 3] }, { row: o.name + " failed", part: "", values: o.errors, hue: hue(o) },
    ]).filter((c) => c.values.some((v) => v > 0)), { none: "nothing was throttled, nothing failed" }) },
    { when: () => data.ops.some((o) => !plain(o)), make: (n) => lines("Latency of queries", n, latency, latencies((o) => !plain(o)), { log: true }) },
    { when: () => Object.keys(data.queries).length > 0, make: (n) => lines("Results of queries", n, whole, () => Object.keys(data.queries).sort().map((name, i) => (
      { row: name, part: "", values: data.queries[name], hue: i, dash: again(i) }))) },
    { when: () => data.ops.some(between), make: (n) => lines("Deliveries and requests", n, latency, latencies(between), { log: true }) },
    { when: () => data.ops.some(served), make: (n) => lines("Freshness and the service side", n, latency, latencies(served), { log: true }) },
  ];
  function served(o) { return ["freshness", "desired", "desired_reply", "method", "twin_read"].includes(o.name); }
  function between(o) { return ["delivery", "request"].includes(o.name); }

  // What a run comes to do later gets its chart then. A chart that would stand alone in its row takes all of it.
  const complete = () => {
    const before = made.length;
    kinds.forEach((kind, n) => {
      if (kind.made || !kind.when()) return;
      kind.made = true;
      kind.make(n);
    });
    if (made.length === before) return;
    const lastOne = made.reduce((a, b) => a.order > b.order ? a : b);
    made.forEach((c) => c.box.classList.toggle("wide", made.length % 2 === 1 && c === lastOne));
    made.forEach((c) => c.resize());
  };
  complete();

  const sizes = new ResizeObserver(() => { if (root.clientWidth) made.forEach((c) => c.resize()); });
  sizes.observe(root);
  const scheme = matchMedia("(prefers-color-scheme: dark)");
  const recolour = () => { readTheme(); made.forEach((c) => c.redraw()); };
  scheme.addEventListener("change", recolour);
  return {
    update: () => { complete(); made.forEach((c) => c.draw()); },
    destroy: () => {
      sizes.disconnect();
      scheme.removeEventListener("change", recolour);
      made.forEach((c) => c.destroy());
      root.replaceChildren();
    },
  };
}
