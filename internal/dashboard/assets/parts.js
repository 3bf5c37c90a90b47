// How the live page writes figures, and the small parts that it is made of.
"use strict";
const live = (() => {
  const number = (n) => n == null ? "–" : Math.round(n).toLocaleString("en");
  const seconds = (s) => s == null ? "–" : s >= 3600 ? `${Math.floor(s / 3600)}h${String(Math.floor(s / 60) % 60).padStart(2, "0")}m`
    : s >= 60 ? `${Math.floor(s / 60)}m${String(Math.floor(s % 60)).padStart(2, "0")}s` : `${Math.floor(s)}s`;
  const latency = (ms) => ms == null ? "–" : ms >= 60000 ? seconds(ms / 1000) : ms >= 1000 ? +(ms / 1000).toPrecision(3) + " s" : ms >= 1 ? +ms.toPrecision(3) + " ms"
    : Math.round(ms * 1000) + " µs";
  const rate = (n) => n == null ? "–" : (n >= 100 ? number(n) : +n.toPrecision(3)) + "/s";
  const share = (part, whole) => whole ? percent(part / whole) : "–";
  const percent = (x) => x === 0 ? "0 %" : x < 0.0001 ? "< 0.01 %" : +(100 * x).toPrecision(x >= 0.0995 ? 3 : 2) + " %";
  // spare says how far a value is from its bound, of which past is the share.
  const spare = (past) => past > 2 ? `${number(1 + past)} times the bound` : past > 0 ? `${percent(past)} past the bound` : `${percent(-past)} to spare`;
  // quantity writes a value in the unit of a threshold.
  const quantity = (v, unit) => v == null ? "–" : unit === "seconds" ? latency(1000 * v) : unit === "ratio" ? percent(v) : unit === "per_second" ? rate(v)
    : +v.toPrecision(6) + "";

  function element(tag, content, className) {
    const el = document.createElement(tag);
    if (content != null) el.textContent = content;
    if (className) el.className = className;
    return el;
  }

  // set writes a text only where it changed, so that a selection stays and nothing is read out twice.
  function set(el, text) { if (el.textContent !== text) el.textContent = text; }

  // A table whose rows are filled in place: what did not change is not touched.
  function table(panel, caption, columns, { sortable, empty } = {}) {
    const scroll = element("div", null, "scroll"), el = document.createElement("table"), none = element("p", empty || "nothing yet", "empty");
    scroll.tabIndex = 0;
    scroll.setAttribute("role", "region");
    scroll.setAttribute("aria-label", caption);
    const head = el.createTHead().insertRow(), body = el.createTBody();
    const order = { column: -1, down: true };
    let shown = [];
    columns.forEach((c, i) => {
      const th = element("th", null, c.className || (c.number ? "n" : ""));
      th.scope = "col";
      if (sortable && c.sort) {
        const button = element("button", c.title);
        button.type = "button";
        th.setAttribute("aria-sort", "none");
        button.onclick = () => {
          order.down = order.column === i ? !order.down : !!c.number;
          order.column = i;
          [...head.cells].forEach((cell, k) => cell.hasAttribute("aria-sort") && cell.setAttribute("aria-sort", k !== i ? "none" : order.down ? "descending" : "ascending"));
          fill(shown);
        };
        th.append(button);
      } else if (c.title) th.textContent = c.title;
      else th.append(element("span", c.spoken, "unseen"));
      head.append(th);
    });
    scroll.append(el);
    panel.append(none, scroll);

    function sorted(rows) {
      if (order.column < 0) return rows;
      const by = columns[order.column].sort, sign = order.down ? -1 : 1;
      // What has no value stands last, whichever way.
      return [...rows].sort((a, b) => {
        const x = by(a), y = by(b);
        if (x == null || y == null) return (x == null) - (y == null);
        return sign * (typeof x === "string" ? x.localeCompare(y) : x - y);
      });
    }

    function fill(rows) {
      shown = rows;
      none.hidden = rows.length > 0;
      scroll.hidden = rows.length === 0;
      const list = sorted(rows);
      while (body.rows.length > list.length) body.deleteRow(-1);
      list.forEach((row, i) => {
        const tr = body.rows[i] || body.insertRow();
        columns.forEach((c, k) => {
          let td = tr.cells[k];
          if (!td) {
            td = element(k === 0 && !c.mark ? "th" : "td", null, (c.number ? "n " : "") + (c.className || ""));
            if (td.tagName === "TH") td.scope = "row";
            tr.append(td);
          }
          if (c.draw) c.draw(td, row, i);
          else set(td, c.text(row));
          const tone = c.tone ? c.tone(row) : "";
          for (const t of ["good", "warn", "bad"]) td.classList.toggle(t, t === tone);
        });
      });
    }
    return { fill };
  }

  // mark shows a state by a sign, a word and a colour: by none alone.
  function mark(td, sign, word, tone) {
    const span = td.firstChild || td.appendChild(element("span", null, "mark"));
    set(span, `${sign} ${word}`);
    span.className = "mark " + tone;
  }

  // course draws how a value went, with its bound.
  function course(td, times, values, bound, label) {
    const ns = "http://www.w3.org/2000/svg", known = (values || []).filter((v) => v != null && isFinite(v));
    if (known.length < 2) {
      td.replaceChildren();
      return;
    }
    let svg = td.firstChild;
    if (!svg) {
      svg = td.appendChild(document.createElementNS(ns, "svg"));
      svg.setAttribute("class", "course");
      svg.setAttribute("viewBox", "0 0 140 32");
      svg.setAttribute("preserveAspectRatio", "none");
      svg.setAttribute("role", "img");
      svg.append(document.createElementNS(ns, "line"), document.createElementNS(ns, "polyline"));
    }
    const low = Math.min(bound, ...known), high = Math.max(bound, ...known), from = times[0], span = times[times.length - 1] - from || 1;
    const y = (v) => high === low ? 16 : 30 - 28 * (v - low) / (high - low);
    const [line, path] = svg.children;
    for (const [name, v] of [["x1", 0], ["x2", 140], ["y1", y(bound)], ["y2", y(bound)]]) line.setAttribute(name, v);
    path.setAttribute("points", values.map((v, i) => v == null || !isFinite(v) ? ""
      : `${(140 * (times[i] - from) / span).toFixed(1)},${y(v).toFixed(1)}`).filter(Boolean).join(" "));
    svg.setAttribute("aria-label", label);
  }

  return { number, seconds, latency, rate, share, percent, spare, quantity, element, set, table, mark, course };
})();
