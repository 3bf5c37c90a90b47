// The list of devices, page by page.
import { ago, ask, devicePath, el, field, mark, number, post, stateLine, table, visible } from './lib.js';

const size = 50;

export function devices(main, hub) {
  let pages = ['']; // the id after which each page so far begins
  let shown = [];
  const search = el('input', { type: 'search', autocomplete: 'off', spellcheck: 'false', input: () => { clearTimeout(wait); wait = setTimeout(first, 300); } });
  let wait = 0;
  const body = el('div');
  const previous = el('button', { type: 'button', click: () => { pages.pop(); load(); } }, 'Previous');
  const next = el('button', { type: 'button', click: () => { pages.push(shown[shown.length - 1].id); load(); } }, 'Next');
  const place = el('span', { class: 'hint', role: 'status' });
  const state = stateLine();

  const cells = (d) => [
    el('td', {}, el('a', { href: `#device/${encodeURIComponent(d.id)}` }, visible(d.id))),
    el('td', {}, mark(d.connected ? 'connected' : 'not connected', d.connected ? 'good' : '')),
    el('td', {}, d.status === 'enabled' ? 'enabled' : mark(visible(d.status), 'bad')),
    el('td', { class: 'when', title: d.active }, ago(d.active)),
    el('td', { class: 'num' }, number(d.c2d)),
  ];
  function draw(more) {
    previous.disabled = pages.length === 1;
    next.disabled = !more;
    const from = (pages.length - 1) * size;
    place.textContent = shown.length ? `${number(from + 1)} to ${number(from + shown.length)}` : '';
    if (!shown.length) {
      body.replaceChildren(el('p', { class: 'lead' }, search.value ? 'No id holds that.' : hub.may
        ? 'There are no devices yet. Make one below, or run a scenario: twinfleet run makes its own.'
        : 'There are no devices yet. Run a scenario, which makes its own, or enter the token to make one here.'));
      return;
    }
    body.replaceChildren(table([{ title: 'Device' }, { title: 'Connection' }, { title: 'Status' }, { title: 'Last activity' }, { title: 'Messages waiting', class: 'num' }],
      shown.map((d) => (d.row = el('tr', {}, cells(d)))), 'Devices'));
  }
  async function load() {
    try {
      const q = new URLSearchParams({ after: pages[pages.length - 1], search: search.value.trim(), top: size });
      const answer = await ask(`api/devices?${q}`);
      shown = answer.devices;
      draw(answer.more);
      state.say('');
    } catch (e) {
      state.say(e.message, 'bad');
    }
  }
  function first() {
    pages = [''];
    load();
  }
  // Only the devices shown are asked for again.
  let asking = false;
  async function refresh(n) {
    if (!shown.length && n.devices.totalDeviceCount && !search.value) { first(); return; }
    if (!shown.length || asking || document.hidden || body.contains(document.activeElement)) return;
    asking = true;
    try {
      const now = new Map((await ask(`api/states?${new URLSearchParams(shown.map((d) => ['id', d.id]))}`)).map((d) => [d.id, d]));
      for (const d of shown) {
        const fresh = now.get(d.id);
        if (fresh) d.row.replaceChildren(...cells(Object.assign(d, fresh)));
        else d.row.replaceChildren(el('td', { colspan: 5 }, `${visible(d.id)} is gone`));
      }
    } catch { /* the head says that the hub does not answer */ }
    asking = false;
  }

  main.append(el('h2', {}, 'Devices'),
    el('div', { class: 'bar' }, field('Part of the id', search, true), el('button', { type: 'button', click: first }, 'Refresh'), previous, next, place), body, state.line);
  if (hub.may) {
    const id = el('input', { required: true, maxlength: 128, autocomplete: 'off', spellcheck: 'false', pattern: "[A-Za-z0-9\\-:.+%_#*?!\\(\\),=@$']+" });
    const edge = el('input', { type: 'checkbox' });
    const go = el('button', { class: 'go' }, 'Create device');
    main.append(el('form', { class: 'bar', submit: (e) => {
      e.preventDefault();
      state.during([go], 'creating…', async () => {
        await post(devicePath(id.value), { deviceId: id.value, status: 'enabled', authentication: { type: 'sas' }, capabilities: { iotEdge: edge.checked } }, 'PUT');
        await load();
        return `${id.value} is made. Its page shows the connection string.`;
      });
    } }, field('Id of a new device', id), el('label', { class: 'check' }, edge, 'IoT Edge'), go));
  }
  load();
  hub.listeners.add(refresh);
  return () => { clearTimeout(wait); hub.listeners.delete(refresh); };
}
