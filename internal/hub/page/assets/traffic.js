// What goes through the hub, as it happens.
import { call, el, field, number, oneLine, stateLine, visible } from './lib.js';

const kinds = {
  connect: 'connect', disconnect: 'disconnect', report: 'report', 'twin-read': 'twin read', desired: 'desired change', method: 'method', message: 'message', telemetry: 'telemetry',
  request: 'REST call',
};
const most = 300; // rows kept

// watch streams batches to a function until it is told to stop.
export function watch(id, take, say) {
  const abort = new AbortController();
  (async () => {
    while (!abort.signal.aborted) {
      try {
        const answer = await call(`api/traffic?${new URLSearchParams(id ? { id } : {})}`, { signal: abort.signal });
        if (!answer.ok) throw new Error((await answer.json()).error);
        say('looking');
        const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
        for (let rest = ''; ;) {
          const { value, done } = await reader.read();
          if (done) break;
          const parts = (rest + value).split('\n\n');
          rest = parts.pop();
          for (const p of parts) if (p.startsWith('data: ')) take(JSON.parse(p.slice(6)));
        }
      } catch (e) {
        if (abort.signal.aborted) return;
        say(`${e.message}; trying again`, 'bad');
      }
      await new Promise((done) => { setTimeout(done, 1500); });
    }
  })();
  return () => abort.abort();
}

export function trafficList(id, chosen) {
  const rows = el('tbody', { 'aria-live': 'off' });
  const state = stateLine();
  let stop = null;
  let seen = 0;
  let left = 0;
  const take = (batch) => {
    const fresh = batch.events.filter((e) => chosen(e.kind)).map((e) => el('tr', {},
      el('td', { class: 'when mono' }, new Date(e.at).toLocaleTimeString('en-GB') + String(new Date(e.at).getMilliseconds() / 1000).slice(1).padEnd(4, '0')),
      el('td', {}, kinds[e.kind] || e.kind),
      el('td', {}, e.id ? el('a', { href: `#device/${e.id.split('/').map(encodeURIComponent).join('/')}` }, visible(e.id)) : ''),
      el('td', { class: 'num' }, e.status || ''),
      el('td', { class: 'mono' }, oneLine([e.text, e.body].filter(Boolean).join(' ')) + (e.size > 256 ? ` … ${number(e.size)} bytes` : '') + (e.ms ? ` (${e.ms.toFixed(1)} ms)` : ''))));
    rows.prepend(...fresh.reverse());
    while (rows.children.length > most) rows.lastChild.remove();
    for (const n of Object.values(batch.counts)) seen += n;
    left += batch.leftOut;
    state.say(`${number(seen)} events since you look${left ? `; ${number(left)} of them came too fast and are counted, not shown` : ''}`);
  };
  const start = () => { stop ??= watch(id(), take, state.say); };
  const end = () => { stop?.(); stop = null; state.say('paused'); };
  const view = el('div', {}, state.line, el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': 'Live traffic' }, el('table', {},
    el('thead', {}, el('tr', {}, ['Time', 'What', 'Device'].map((t) => el('th', { scope: 'col' }, t)), el('th', { scope: 'col', class: 'num' }, 'Status'), el('th', { scope: 'col' }, 'Content'))), rows)));
  return { view, start, end, clear: () => { rows.replaceChildren(); seen = left = 0; }, running: () => stop !== null };
}

export function traffic(main) {
  const off = new Set();
  const device = el('input', { autocomplete: 'off', spellcheck: 'false', change: () => { list.end(); list.clear(); list.start(); toggle.textContent = 'Pause'; } });
  const list = trafficList(() => device.value.trim(), (kind) => !off.has(kind));
  const toggle = el('button', { type: 'button', click: () => {
    if (list.running()) list.end(); else list.start();
    toggle.textContent = list.running() ? 'Pause' : 'Look on';
  } }, 'Pause');
  main.append(el('h2', {}, 'Live traffic'),
    el('div', { class: 'bar' }, field('One device only', device), toggle, el('button', { type: 'button', click: list.clear }, 'Clear')),
    el('div', { class: 'bar', role: 'group', 'aria-label': 'What to show' }, Object.entries(kinds).map(([kind, title]) => el('label', { class: 'check' },
      el('input', { type: 'checkbox', checked: true, change: (e) => (e.target.checked ? off.delete(kind) : off.add(kind)) }), title))),
    list.view);
  list.start();
  return list.end;
}
