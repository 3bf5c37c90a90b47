// The tabs of the live page with their tables.
"use strict";
function twinfleetTables() {
  const { number, seconds, latency, rate, share, spare, quantity, element, set, table, mark, course } = live;
  const $ = (id) => document.getElementById(id);
  const signs = { met: ["✓", "holds", "good"], missed: ["✗", "missed", "bad"], cannot_say: ["?", "cannot say", "warn"], pending: ["…", "not yet", ""] };
  const waysOfAgents = { lost: ["✗", "lost", "bad"], slow: ["✗", "the bottleneck", "bad"], unsure: ["!", "clock uncertain", "warn"], well: ["✓", "well", "good"] };
  const count = (title, key, tone) => ({ title, number: true, text: (r) => number(r[key]), sort: (r) => r[key], tone: tone && ((r) => r[key] > 0 ? tone : "") });
  const text = (title, key, className) => ({ title, className, text: (r) => r[key] || "", sort: (r) => r[key] || "" });
  const time = (title, key) => ({ title, number: true, text: (r) => latency(r[key]), sort: (r) => r[key] });
  const account = [count("ok", "ok"), count("failed", "failed", "bad"), count("throttled", "throttled", "warn"), {
    ...count("dropped", "dropped"),
    draw: (td, r) => { set(td, number(r.dropped)); td.title = r.why || ""; },
  }];
  // What is in trouble comes first; the rest keeps its order, so that rows do not jump about.
  const worstFirst = (rows, rank) => rows.toSorted((a, b) => rank(a) - rank(b));
  let all = null, ways = { times: [], values: [] };

  const panels = [
    { id: "charts", title: "Charts" },
    {
      id: "thresholds", title: "Thresholds", rows: () => worstFirst(all.thresholds, (t) => ["missed", "cannot_say", "pending", "met"].indexOf(t.state)),
      count: () => { const n = all.thresholds.filter((t) => t.state === "missed").length; return n ? [n, "bad", "missed"] : null; },
      make: (p) => table(p, "thresholds", [
        { title: "", spoken: "state", mark: true, draw: (td, r) => mark(td, ...signs[r.state]) },
        { title: "threshold", text: (r) => r.text, className: "wide" },
        { title: "value", text: (r) => r.state === "cannot_say" ? `${r.observed}: the load was not the one asked for` : r.observed, className: "wide" },
        { title: "bound", number: true, text: (r) => r.op ? `${r.op} ${quantity(r.bound, r.unit)}` : "" },
        { title: "distance", number: true, text: (r) => r.past == null ? "" : spare(r.past) },
        { title: "missed since", text: (r) => r.state !== "missed" ? "" : r.since == null ? "the very end" : `${seconds(r.since)} into the run` },
        { title: "so far", draw: (td, r) => course(td, ways.times, ways.values[all.thresholds.indexOf(r)], r.bound, `the value over time, ${r.observed} now, with the bound`) },
      ], { empty: "The scenario sets no thresholds: the run passes when all that was tried works." }),
    },
    {
      id: "operations", title: "Operations", rows: () => worstFirst(all.operations, (o) => o.failed ? 0 : o.throttled ? 1 : 2),
      make: (p) => table(p, "operations", [
        text("operation", "name"), text("group", "group"), ...account, { title: "rate now", number: true, text: (r) => rate(r.rate), sort: (r) => r.rate },
        time("p50", "p50"), time("p95", "p95"), time("p99", "p99"), time("max", "max"),
      ], { sortable: true, empty: "No operation has been due yet." }),
      hint: "Counts and latencies are of the whole run so far, latencies from the time that the schedule wanted; the rate is of the last second.",
    },
    {
      id: "errors", title: "Errors", rows: () => all.reasons, count: () => all.reasons.length ? [all.reasons.length, "warn", "reasons"] : null,
      make: (p) => table(p, "errors by reason", [
        count("count", "count"), text("operation", "operation"), text("what happened", "text", "wide"), text("group", "groups"), text("stage", "stages"),
        { title: "last seen, into the run", number: true, text: (r) => seconds(r.last), sort: (r) => r.last },
      ], { sortable: true, empty: "Nothing has failed, nothing was throttled." }),
    },
    {
      id: "groups", title: "Groups", rows: () => worstFirst(all.groups, (g) => g.failed ? 0 : g.throttled ? 1 : 2),
      make: (p) => table(p, "groups of devices", [
        text("group", "name"), { title: "connected", number: true, text: (r) => `${number(r.connected)} of ${number(r.wanted)}`, sort: (r) => r.connected },
          count("coming back", "lost", "warn"), ...account,
        { title: "not done", number: true, text: (r) => share(r.failed + r.throttled + r.dropped, r.scheduled),
          sort: (r) => r.scheduled ? (r.failed + r.throttled + r.dropped) / r.scheduled : null },
        text("mostly", "reason", "wide"),
      ], { sortable: true, empty: "No device has been made yet." }),
    },
    {
      id: "stages", title: "Stages", rows: () => all.stages,
      make: (p) => table(p, "stages", [
        { title: "stage", text: (r) => r.name }, { title: "from", number: true, text: (r) => r.to ? seconds(r.from) : "" },
          { title: "took", number: true, text: (r) => r.to ? seconds(r.to - r.from) : "" },
        count("scheduled", "scheduled"), ...account, count("under way", "open"), count("late", "late"),
      ], { empty: "No stage has begun yet." }),
      hint: "An operation belongs to the stage that wanted it, whenever it ended. Late ones started more than 10 ms after their time.",
    },
    {
      id: "rollouts", title: "Rollouts", rows: () => all.waves, shown: () => all.waves.length > 0,
      make: (p) => table(p, "rollouts", [
        text("rollout", "rollout"), text("group", "group"), { ...text("wave", "wave"), number: true }, { title: "reaches", number: true, text: (r) => r.percent + " %" },
          count("devices", "devices"), count("patched", "patched"), count("told", "told"),
        count("answered", "answered"), count("failed", "failed", "bad"), { title: "took", number: true, text: (r) => seconds(r.took) },
          { ...text("state", "state"), tone: (r) => r.state === "stopped" ? "bad" : "" },
      ], { empty: "No wave has begun yet." }),
    },
    {
      id: "generator", title: "Generator", rows: () => all.generator.rows, count: () => all.answer.doubt ? ["!", "warn", "in doubt"] : null,
      make(p) {
        const line = element("p", "", "state");
        p.append(line);
        const used = table(p, "what the generator uses", [text("what", "name"), { title: "now", number: true, text: (r) => r.now || "–" },
          { title: "at most", number: true, text: (r) => r.most }, { title: "of", number: true, text: (r) => r.limit || "–" }],
          { empty: "Nothing is known of the generator." });
        const title = element("h3", "Was each stage delivered as asked?");
        p.append(title);
        const stages = table(p, "stages as they were delivered", [
          { title: "stage", text: (r) => r.name }, { title: "as asked", draw: (td, r) => mark(td, ...(r.as_asked ? ["✓", "yes", "good"] : ["✗", "no", "bad"])) },
            count("asked", "asked"), count("started", "started"),
          { title: "late by its own doing", number: true, text: (r) => number(r.late) }, text("why not", "why", "wide"),
        ], { empty: "Nothing is known of the stages." });
        return { fill(rows) { set(line, all.generator.lines.join("\n")); used.fill(rows); stages.fill(all.generator.stages); } };
      },
      hint: "Whether the figures speak of the target, or of the machine that loads it.",
    },
    {
      id: "agents", title: "Agents", rows: () => all.agents.rows, shown: () => all.agents.rows.length > 0,
      count: () => all.agents.wrong ? [all.agents.wrong, all.agents.rows.some((r) => r.state === "lost" || r.state === "slow") ? "bad" : "warn", "in trouble"] : null,
      make(p) {
        const line = element("p", "", "state");
        p.append(line);
        const rows = table(p, "agents that run the devices", [
          { title: "", spoken: "state", mark: true, draw: (td, r) => mark(td, ...waysOfAgents[r.state]) },
          text("agent", "name", "whole"), text("what is wrong", "wrong", "wide"), count("devices", "devices"),
          { ...count("connected", "connected"), tone: (r) => r.state === "lost" ? "bad" : "" },
          { title: "cpu now", number: true, text: (r) => r.state === "lost" ? "–" : share(r.used, 1), sort: (r) => r.used },
          { title: "cpu at most", number: true, text: (r) => share(r.most, 1), sort: (r) => r.most, tone: (r) => r.most > 0.9 ? "warn" : "" },
          { title: "late", number: true, text: (r) => r.state === "lost" ? "–" : latency(r.lag), sort: (r) => r.lag },
          { title: "clock", number: true, text: (r) => r.clock, sort: (r) => r.offset, tone: (r) => r.state === "unsure" ? "warn" : "" },
          { title: "control", number: true, text: (r) => r.control }, count("ended badly", "bad", "warn"), count("dropped", "dropped"),
        ], { sortable: true, empty: "No agent is ready yet." });
        const more = element("p", "", "hint");
        p.append(more);
        return { fill(list) { set(line, all.agents.line); rows.fill(list); set(more, all.agents.more); } };
      },
      hint: "Agents run the devices on their machines. Late is by their own doing, the 99th percentile of the last second; the clock is how far theirs is ahead, and what that may be wrong by.",
    },
    {
      id: "events", title: "Events", rows: () => events,
      make: (p) => table(p, "events", [
        { title: "at", number: true, text: (r) => seconds(r.at / 1e9) }, text("stage", "stage"),
          { title: "what", className: "wide", text: (r) => (r.ok ? "" : "! ") + r.text, tone: (r) => r.ok ? "" : "bad" }, text("more", "detail", "wide"),
      ], { empty: "Nothing has happened yet." }),
    },
  ];
  let events = [], selected = panels[0];

  // The tabs follow the ARIA pattern: one of them is in the order of TAB, arrows go to the others.
  for (const panel of panels) {
    const tab = element("button");
    tab.type = "button";
    tab.id = "tab-" + panel.id;
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", "panel-" + panel.id);
    panel.count_ = element("span", "", "count");
    panel.count_.hidden = true;
    tab.append(panel.title, panel.count_);
    tab.onclick = () => select(panel);
    tab.onkeydown = (e) => {
      const open = panels.filter((p) => !p.tab.hidden), at = open.indexOf(panel), n = open.length;
      const to = { ArrowRight: (at + 1) % n, ArrowLeft: (at + n - 1) % n, Home: 0, End: n - 1 }[e.key];
      if (to === undefined) return;
      e.preventDefault();
      select(open[to]);
      open[to].tab.focus();
    };
    $("tabs").append(tab);
    panel.tab = tab;
    panel.box = $("panel-" + panel.id);
    if (panel.make) {
      panel.box.append(element("h2", panel.title, "unseen"));
      if (panel.hint) panel.box.append(element("p", panel.hint, "hint"));
      panel.table = panel.make(panel.box);
    }
  }

  function select(panel) {
    selected = panel;
    for (const p of panels) {
      p.tab.setAttribute("aria-selected", String(p === panel));
      p.tab.tabIndex = p === panel ? 0 : -1;
      p.box.hidden = p !== panel;
    }
    panel.tab.scrollIntoView({ block: "nearest", inline: "nearest" });
    try { sessionStorage.setItem("twinfleet-tab", panel.id); } catch { /* then a reload begins with the charts */ }
    fill();
    if (panel.id === "charts") onCharts();
  }

  function fill() {
    if (!all) return;
    for (const p of panels) {
      if (p.shown) p.tab.hidden = !p.shown();
      const c = p.count ? p.count() : null;
      p.count_.hidden = !c;
      if (!c) continue;
      set(p.count_, String(c[0]));
      p.count_.className = "count " + c[1];
      p.count_.title = c[2];
    }
    if (selected.tab.hidden) select(panels[0]);
    if (selected.table) selected.table.fill(selected.rows());
  }

  let onCharts = () => {};
  let kept = null;
  try { kept = sessionStorage.getItem("twinfleet-tab"); } catch { /* it begins with the charts */ }
  const first = panels.find((p) => p.id === kept) || panels[0];
  select(first.shown ? panels[0] : first);
  return {
    chartsShown: () => selected.id === "charts",
    onCharts(what) { onCharts = what; },
    // A reload that was on a tab of what the run may lack goes back to it once that is there.
    update(tables, course) {
      all = tables;
      if (course) ways = course;
      fill();
      if (first.shown && kept && first.shown()) select(first);
      kept = null;
    },
    course: () => ways,
    events(list) { events = list; if (selected.id === "events") fill(); },
  };
}
