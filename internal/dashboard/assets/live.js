// The live page: it takes the run's stream of events and keeps charts, tiles and buttons current.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const token = location.hash.slice(1);
  let run = {}, plan = [], data = null, charts = null, waited = false;

  const seconds = (s) => s >= 60 ? `${Math.floor(s / 60)}m${String(Math.floor(s % 60)).padStart(2, "0")}s` : `${s.toFixed(0)}s`;
  const number = (n) => Math.round(n).toLocaleString("en");
  const latency = (ms) => ms == null ? "–" : ms >= 1000 ? (ms / 1000).toPrecision(3) + " s" : ms >= 1 ? +ms.toPrecision(3) + " ms" : Math.round(ms * 1000) + " µs";
  const last = (column) => column && column.length ? column[column.length - 1] : null;

  function text(tag, content, className) {
    const el = document.createElement(tag);
    el.textContent = content;
    if (className) el.className = className;
    return el;
  }

  function showRun() {
    const state = run.outcome || (run.waiting ? "finishing" : run.paused ? "paused" : run.name ? "running" : "waiting");
    $("badge").textContent = state;
    $("badge").className = "badge " + (run.outcome ? run.outcome : state);
    $("name").textContent = run.name || "twinfleet";
    document.title = `${state}: ${run.name || ""} – twinfleet`;
    $("description").textContent = run.description || "";
    if (run.outcome) $("message").textContent = run.reason || "";
    else if (run.waiting || waited) $("message").textContent = run.waiting;
    waited = !!run.waiting;
    $("pause").textContent = run.paused ? "Resume" : "Pause";
    for (const id of ["pause", "next", "stop"]) $(id).disabled = !!run.outcome || !token || !!run.waiting && id !== "stop";
    $("facts").textContent = [`${number(run.devices || 0)} devices`, run.target, `seed ${run.seed}`, `twinfleet ${run.version}`, run.started && `started ${new Date(run.started).toLocaleString()}`].filter(Boolean).join(" · ");
  }

  function showStages() {
    const began = Object.fromEntries((data ? data.stages : []).map((s) => [s.name, s]));
    const now = plan.findIndex((stage) => stage.name === run.stage);
    $("stages").replaceChildren(...plan.map((stage, i) => {
      const li = text("li", stage.seconds ? `${stage.name} (${seconds(stage.seconds)})` : stage.name);
      const seen = began[stage.name], current = stage.name === run.stage && !run.outcome;
      const part = i < now ? 100 : !seen ? 0 : !current ? 100 : stage.seconds ? Math.min(100, 100 * (run.at - seen.from) / stage.seconds) : 50;
      li.style.setProperty("--done", part + "%");
      if (current) li.setAttribute("aria-current", "step");
      return li;
    }));
  }

  function showTiles() {
    const op = (name) => data.ops.find((o) => o.name === name);
    // The last value, unless it is older than so many seconds: then there is none.
    const recent = (column, age = 10) => column && column.findLast((v, i) => v != null && last(data.times) - data.times[i] < age);
    const sum = (key) => data.ops.reduce((n, o) => n + (recent(o[key]) || 0), 0);
    const report = op("twin_report") || op("telemetry"), query = data.ops.find((o) => o.name.startsWith("query "));
    const tiles = [
      ["connected", number(last(data.devices.connected) || 0)], ["lost, coming back", number(last(data.devices.backoff) || 0), (last(data.devices.backoff) || 0) > 0],
      ["operations a second", number(sum("rate"))], ["p99 of " + (report ? report.name : "reports"), latency(report && recent(report.p99))],
      ["p95 of " + (query ? query.name : "queries"), latency(query && recent(query.p95, 120))], ["throttled a second", number(sum("throttled")), sum("throttled") > 0],
      ["errors a second", number(sum("errors")), sum("errors") > 0], ["running for", seconds(run.at || 0)],
    ];
    const fresh = op("freshness");
    if (fresh) tiles.splice(5, 0, ["p95 freshness", latency(recent(fresh.p95, 120))]);
    $("tiles").replaceChildren(...tiles.map(([label, value, bad]) => {
      const tile = text("div", "", "tile" + (bad ? " bad" : ""));
      tile.append(text("b", value), text("span", label));
      return tile;
    }));
  }

  function addEvent(e) {
    const row = document.createElement("tr");
    row.append(text("td", seconds(e.at / 1e9), "at"), text("td", e.stage || ""), text("td", (e.ok ? "" : "! ") + e.text), text("td", e.detail || ""));
    $("events").prepend(row);
    while ($("events").rows.length > 200) $("events").deleteRow(-1);
  }

  // Columns of one second are added to those that there are; what is new begins with nothing.
  function append(more) {
    const length = data.times.length;
    data.times.push(...more.times);
    data.stages.splice(0, data.stages.length, ...more.stages);
    for (const key of ["devices", "queries"]) {
      for (const name of Object.keys(more[key])) data[key][name] ||= new Array(length).fill(0);
      for (const name of Object.keys(data[key])) data[key][name].push(...(more[key][name] || more.times.map(() => 0)));
    }
    const columns = { rate: 0, throttled: 0, errors: 0, p50: null, p95: null, p99: null };
    for (const o of more.ops) {
      if (data.ops.some((known) => known.name === o.name)) continue;
      const fresh = { name: o.name, heat: Array.from({ length }, () => []) };
      for (const [key, empty] of Object.entries(columns)) fresh[key] = new Array(length).fill(empty);
      data.ops.push(fresh);
    }
    for (const o of data.ops) {
      const now = more.ops.find((x) => x.name === o.name);
      for (const [key, empty] of Object.entries(columns)) o[key].push(...(now ? now[key] : more.times.map(() => more.rest ? null : empty)));
      o.heat.push(...(now ? now.heat : more.times.map(() => [])));
    }
  }

  async function press(action) {
    try {
      const answer = await fetch("do/" + action, { method: "POST", headers: { Authorization: "Bearer " + token } });
      $("message").textContent = answer.ok ? "" : await answer.text();
    } catch {
      $("message").textContent = "The run does not answer; it may be over.";
    }
  }
  $("pause").onclick = () => press(run.paused ? "resume" : "pause");
  $("next").onclick = () => press("next");
  $("stop").onclick = () => press("stop");

  const draw = () => {
    showStages();
    showTiles();
    const shown = charts && charts.ops === data.ops.length;
    if (shown) charts.update();
    else {
      if (charts) charts.destroy();
      charts = twinfleetCharts($("charts"), data);
      charts.ops = data.ops.length;
    }
  };
  const stream = new EventSource("events");
  const on = (kind, what) => stream.addEventListener(kind, (m) => what(JSON.parse(m.data)));
  on("all", (all) => {
    ({ run, data } = all);
    plan = all.plan || [];
    $("events").replaceChildren();
    (all.events || []).forEach(addEvent);
    if (charts) charts.destroy();
    charts = null;
    showRun();
    draw();
  });
  on("run", (r) => { run = r; showRun(); showStages(); });
  on("sample", (more) => { append(more); draw(); });
  on("event", addEvent);
  stream.onerror = () => { if (!run.outcome) $("badge").textContent = "not connected"; else stream.close(); };
  if (!token) $("message").textContent = "Open the whole address that the run printed, with what follows #, to use the buttons.";
})();
