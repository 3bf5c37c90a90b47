// The live page: it takes the run's stream of events and keeps answers, charts, tables and buttons current.
"use strict";
(() => {
  const { number, seconds, latency, rate, share, percent, spare, element, set } = live;
  const $ = (id) => document.getElementById(id);
  const token = location.hash.slice(1);
  const mostPoints = 1500; // then the page asks for all once more: the server has put neighbours together
  const words = {
    starting: ["Starting", ""], holding: ["✓ Holding", "good"], cannot_say: ["? Cannot say", "warn"], missing: ["✗ Missing", "bad"], failing: ["✗ Failing", "bad"],
    passed: ["✓ Passed", "good"], missed: ["✗ Missed", "bad"], saturated: ["? Saturated", "warn"], interrupted: ["Interrupted", "warn"], failed: ["✗ Failed", "bad"],
  };
  let run = {}, plan = [], data = null, charts = null, tables = null, events = [], waited = false, stream = null, gone = false;

  function answer(id, value, detail, tone, part) {
    const box = $(id), bar = box.querySelector(".bar");
    set(box.querySelector("b"), value);
    set(box.querySelector("span"), detail || "");
    box.querySelector("span").title = detail || "";
    box.className = tone || "";
    if (!bar) return;
    bar.classList.toggle("none", part == null);
    bar.style.setProperty("--part", 100 * Math.min(1, part || 0) + "%");
  }

  function showRun() {
    const state = run.outcome || (run.waiting ? "finishing" : run.paused ? "paused" : run.name ? "running" : "waiting");
    set($("badge"), state);
    $("badge").className = "badge " + state;
    set($("name"), run.name || "twinfleet");
    set($("description"), run.description || "");
    if (run.outcome || run.waiting || waited) set($("message"), run.outcome ? "" : run.waiting);
    waited = !!run.waiting;
    set($("changed"), run.by_hand && !run.outcome ? `${run.by_hand[0].toUpperCase()}${run.by_hand.slice(1)}. Such a run is never PASSED.` : "");
    set($("pause"), run.paused ? "Resume" : "Pause");
    const idle = !!run.outcome || !token || gone;
    $("controls").hidden = !!run.outcome;
    for (const id of ["pause", "next", "change"]) $(id).disabled = idle || !!run.waiting || !run.name;
    $("stop").disabled = idle;
    if (idle) dialogs.close();
    set($("facts"), [`${number(run.devices || 0)} devices`, run.target, `seed ${run.seed}`, `twinfleet ${run.version}`,
      run.started && run.name && `started ${new Date(run.started).toLocaleString()}`].filter(Boolean).join(" · "));
    if (run.outcome) showOver();
  }

  function showAnswers() {
    const a = tables.answer, c = a.counts, over = !!run.outcome, [word, tone] = words[a.verdict] || [a.verdict, ""];
    // A threshold that holds on a load that was not the one asked for says little: that is read in the same place.
    const doubted = a.verdict === "holding" && a.doubt;
    answer("verdict", word, doubted ? `${a.reason}, of a load that was not the one asked for` : a.reason || (a.verdict === "passed" ? "everything ran, and every threshold held" : ""), doubted ? "warn" : tone);
    document.title = `${word}: ${run.name || "twinfleet"}`;
    const [connected, fleet] = (a.devices || "–").split(", ").map((x) => x.replace(/ devices?/, ""));
    const whole = fleet ? `; ${fleet}` : "";
    const there = over ? "when the last stage ended" : a.share >= 1 ? "all that should be" : a.share > 0 ? percent(a.share) + " of those that should be" : "";
    const agents = a.agents ? (there || fleet ? "; " : "") + a.agents : "";
    answer("devices", connected, (there ? there + whole : fleet || "") + agents,
      a.agents.endsWith("lost") ? "warn" : over || !a.devices || a.share >= 0.999 ? "" : "warn", a.devices ? a.share : null);
    const stage = run.stage ? `stage ${run.stage}, ` : "";
    if (over) answer("left", "It is over", `after ${seconds(run.at)}`, "", null);
    else if (a.left > 0) answer("left", seconds(a.left), `${stage}${seconds(run.at)} into the run`, "", a.done >= 0 ? a.done : 0);
    else answer("left", run.waiting ? "the last answers" : "not known", run.waiting ? "the stages are over" : `${stage}${seconds(run.at)} into the run`, "",
      run.waiting ? 1 : null);
    const t = tables.thresholds[a.worst];
    if (!t) answer("worst", "none", "the scenario sets no thresholds", "");
    else {
      const since = t.state !== "missed" ? "" : t.since == null ? "; seen at the very end" : `; missed since ${seconds(t.since)} into the run`;
      const far = t.past == null ? "" : ", " + spare(t.past);
      answer("worst", t.text, t.observed + (t.state === "cannot_say" ? ": cannot say" : t.state === "pending" ? "" : far) + since,
        { met: "good", missed: "bad", cannot_say: "warn" }[t.state]);
    }
    const [first, ...also] = [[c.failed, "failed"], [c.throttled, "throttled"], [c.dropped, "dropped"]].filter(([n]) => n > 0)
      .map(([n, what]) => `${share(n, c.scheduled)} ${what}`);
    answer("failed", !c.scheduled ? "–" : first || "nothing",
      [also.length && "and " + also.join(", "), a.why && "mostly " + a.why, c.dropped && "dropped: " + c.why,
        c.scheduled && `of ${number(c.scheduled)} operations so far`.replace(over ? " so far" : "", "")].filter(Boolean).join("; "),
      !c.scheduled ? "" : c.failed ? "bad" : first ? "warn" : "good");
    const knows = run.stage || over && tables.generator.lines.length || tables.stages.length;
    answer("believe", !knows ? "–" : a.doubt ? "No" : "Yes", !knows ? "" : a.doubt || "the load is the one that was asked for", !knows ? "" : a.doubt ? "warn" : "good");
  }

  // A stage's bar is as full as the stage was long: one that was cut short is not full.
  function showStages() {
    const now = plan.findIndex((stage) => stage.name === run.stage);
    const list = tables ? tables.stages.filter((s) => s.to > 0) : [], began = Object.fromEntries(list.map((s) => [s.name, s]));
    const items = plan.map((stage, i) => {
      const seen = began[stage.name], current = stage.name === run.stage && !run.outcome;
      const cut = run.outcome && run.outcome !== "passed" && seen === list.at(-1);
      const part = !seen ? i < now ? 1 : 0 : stage.seconds ? Math.min(1, ((current ? run.at : seen.to) - seen.from) / stage.seconds) : current || cut ? 0.5 : 1;
      // A sample may end a moment before its stage.
      return { stage, seen, current, part: !current && stage.seconds && stage.seconds * (1 - part) < 1.5 ? 1 : part };
    });
    while ($("stages").children.length > items.length) $("stages").lastChild.remove();
    items.forEach(({ stage, seen, current, part }, i) => {
      const li = $("stages").children[i] || $("stages").appendChild(element("li"));
      const cut = seen && !current && part < 1 ? ", cut short" : "";
      set(li, stage.seconds ? `${stage.name} (${cut ? seconds(seen.to - seen.from) + " of " : ""}${seconds(stage.seconds)}${cut})` : stage.name + (cut && ` (${cut.slice(2)})`));
      li.title = li.textContent;
      li.style.setProperty("--done", 100 * part + "%");
      li.style.setProperty("--share", Math.max(1, Math.sqrt(stage.seconds || 1)));
      if (current) li.setAttribute("aria-current", "step");
      else li.removeAttribute("aria-current");
    });
  }

  // The last second; of a run that is over there is none.
  function showTiles() {
    $("tiles").hidden = !!run.outcome;
    const last = (column) => column && column.length ? column[column.length - 1] : null;
    const op = (name) => data.ops.find((o) => o.name === name);
    // The last value, unless it is older than so many seconds: then there is none.
    const recent = (column, age = 10) => column && column.findLast((v, i) => v != null && last(data.times) - data.times[i] < age);
    const sum = (key) => data.ops.reduce((n, o) => n + (recent(o[key]) || 0), 0);
    const main = op("twin_report") || op("telemetry") || op("connect");
    const query = data.ops.find((o) => o.name.startsWith("query ") && o.name !== "query " + run.probe), fresh = op("freshness");
    const tiles = [
      ["operations a second", rate(sum("rate"))], main && [`p99 of ${main.name}`, latency(recent(main.p99))], query && [`p95 of ${query.name}`, latency(recent(query.p95, 120))],
      fresh && ["p95 of freshness", latency(recent(fresh.p95, 120))], ["throttled a second", rate(sum("throttled")), sum("throttled") > 0 && "warn"],
        ["failed a second", rate(sum("errors")), sum("errors") > 0 && "bad"],
      ["lost, coming back", number(last(data.devices.backoff) || 0), last(data.devices.backoff) > 0 && "warn"],
    ].filter(Boolean);
    $("tiles").style.setProperty("--tiles", tiles.length);
    while ($("tiles").children.length > tiles.length) $("tiles").lastChild.remove();
    tiles.forEach(([label, value, tone], i) => {
      let tile = $("tiles").children[i];
      if (!tile) {
        tile = $("tiles").appendChild(element("div"));
        tile.append(element("b"), element("span"));
      }
      tile.className = "tile " + (tone || "");
      set(tile.firstChild, value);
      set(tile.lastChild, label);
    });
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

  // press has the run do something, and says what is wrong when it does not.
  async function press(action, body) {
    let problem = "";
    try {
      const headers = { Authorization: "Bearer " + token, ...(body && { "Content-Type": "application/json" }) };
      const got = await fetch("do/" + action, { method: "POST", headers, body: body && JSON.stringify(body) });
      if (!got.ok) problem = (await got.text()).trim();
    } catch {
      problem = "The run does not answer; it may be over.";
    }
    if (!body) set($("message"), problem);
    return problem;
  }
  const dialogs = twinfleetDialogs(press);
  const tabs = twinfleetTables();
  // The first thing that is done by hand takes the run its pass away, and so it asks.
  $("pause").onclick = () => {
    if (run.paused || run.by_hand) press(run.paused ? "resume" : "pause");
    else dialogs.ask("Pause the load?", "Devices stay connected and the stages go on, but what is due is dropped until you resume. " +
      "A run whose load was paused by hand is never PASSED: it ends as interrupted.", "Pause the load", () => press("pause"));
  };
  $("change").onclick = () => dialogs.change(run.devices || 0);
  $("next").onclick = () => {
    const stage = plan.find((s) => s.name === run.stage), seen = data && data.stages.at(-1);
    const left = stage && stage.seconds && seen ? Math.max(0, stage.seconds - (run.at - seen.from)) : 0;
    dialogs.ask("End this stage now?", `${run.stage ? `Stage ${run.stage}` : "The stage"} ends at once${left >= 1 ? `: ${seconds(left)} of its load will never be sent` : ""}. ` +
      "A run of which a stage was ended by hand is never PASSED: it ends as interrupted.", "End the stage", () => press("next"));
  };
  $("stop").onclick = () => dialogs.ask("Stop the run?", "The run ends politely and still reports, but its verdict will be “interrupted”, whatever its thresholds say. " +
    "It cannot be taken up again.", "Stop the run", () => press("stop"));

  function draw() {
    showStages();
    showTiles();
    if (run.outcome && data.stages.length) data.end = data.stages.at(-1).to;
    if (!tabs.chartsShown()) return;
    if (charts) charts.update();
    else charts = twinfleetCharts($("charts"), data);
  }
  tabs.onCharts(() => { if (data) draw(); });

  // The report is taken along as soon as it is there: it can be saved also when the program has ended.
  async function showOver() {
    $("over").hidden = false;
    set($("gone"), gone ? "The run is over and its program has ended; this page stays as it is." : "The run is over; this page stays as its report.");
    $("open").hidden = gone || !run.report;
    if (!run.report || gone || $("save").href) return;
    $("save").href = "#";
    try {
      const got = await fetch("report.html");
      if (!got.ok) throw new Error(got.status);
      $("save").href = URL.createObjectURL(await got.blob());
      $("save").download = `twinfleet-${(run.name || "run").replace(/[^\w.-]+/g, "-")}.html`;
      $("save").hidden = false;
    } catch {
      $("save").removeAttribute("href"); // its record has it
    }
  }

  function listen() {
    stream = new EventSource("events");
    const on = (kind, what) => stream.addEventListener(kind, (m) => what(JSON.parse(m.data)));
    on("all", (all) => {
      ({ run, data, tables, events } = all);
      plan = all.plan || [];
      events = (events || []).reverse();
      if (charts) charts.destroy();
      charts = null;
      gone = false;
      tabs.events(events);
      tabs.update(tables, all.course && all.course.values ? all.course : { times: [], values: [] });
      showRun();
      showAnswers();
      draw();
    });
    on("run", (r) => {
      const ends = r.outcome && !run.outcome;
      run = r;
      showRun();
      showStages();
      showTiles();
      showAnswers();
      if (ends && data) draw();
    });
    on("tables", (t) => {
      tables = t;
      const way = tabs.course();
      if (!run.outcome && t.thresholds.length && way.times[way.times.length - 1] !== run.at) {
        way.times.push(run.at);
        t.thresholds.forEach((x, i) => { (way.values[i] ||= new Array(way.times.length - 1).fill(null)).push(x.value); });
      }
      tabs.update(t);
      showAnswers();
    });
    on("sample", (more) => {
      append(more);
      draw();
      if (data.times.length <= mostPoints) return;
      stream.close();
      listen();
    });
    on("event", (e) => {
      events.unshift(e);
      events.length = Math.min(events.length, 200);
      tabs.events(events);
    });
    stream.onerror = () => {
      if (!run.outcome) { // it is asked for again by the browser
        set($("badge"), "not connected");
        $("badge").className = "badge";
        return;
      }
      stream.close();
      gone = true;
      showRun();
    };
  }
  listen();
  if (!token) set($("message"), "Open the whole address that the run printed, with what follows #, to use the buttons.");
})();
