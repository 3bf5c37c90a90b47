// The page: its head with the hub's numbers, and the view that the address names.
import { ask, el, number, rate, token, visible } from './lib.js';
import { devices } from './devices.js';
import { device } from './device.js';
import { query } from './query.js';
import { traffic } from './traffic.js';
import { connect, faults, limits } from './views.js';

const views = { devices, query, traffic, limits, faults, connect };
const titles = { devices: 'Devices', query: 'Query', traffic: 'Live traffic', limits: 'Operations and limits', faults: 'Faults', connect: 'Connect' };
const at = (id) => document.getElementById(id);

// hub is what views know of the hub: its numbers, whether one may act, and who wants to hear of new numbers.
const hub = { numbers: null, may: false, listeners: new Set() };
let leave = null;

// A token in the address is taken out of it at once.
const given = /^#token=([\w-]+)$/.exec(location.hash);
if (given) {
  token.set(given[1]);
  history.replaceState(null, '', '#devices');
}

function show() {
  const [name, ...rest] = location.hash.slice(1).split('/');
  const key = rest.map(decodeURIComponent).join('/');
  leave?.();
  const main = at('main');
  main.replaceChildren();
  const [view, title] = name === 'device' ? [device, visible(key)] : [views[name] || devices, titles[name] || titles.devices];
  document.title = `${title} · twinfleet hub`;
  for (const a of at('nav').children) {
    if (a.hash === `#${name || 'devices'}` || name === 'device' && a.hash === '#devices') a.setAttribute('aria-current', 'page');
    else a.removeAttribute('aria-current');
  }
  leave = view(main, hub, key);
}

at('nav').append(...Object.entries(titles).map(([name, title]) => el('a', { href: `#${name}` }, title)));
addEventListener('hashchange', () => {
  show();
  at('main').focus({ preventScroll: true });
});

function who() {
  if (hub.may) {
    at('who').replaceChildren(el('span', {}, 'You may change things.'), el('button', { type: 'button', click: () => { token.set(''); poll(); } }, 'Forget the token'));
  } else {
    at('who').replaceChildren(el('span', {}, 'Read-only.'), el('button', { type: 'button', click: enter }, 'Enter the token'));
  }
}

function enter() {
  const input = el('input', { type: 'password', autocomplete: 'off', 'aria-label': 'Token', size: 40 });
  const said = el('p', { class: 'state bad', role: 'alert' });
  const form = el('form', { method: 'dialog', submit: async (e) => {
    e.preventDefault();
    token.set(input.value.trim().replace(/^.*#token=/, ''));
    try {
      await ask('api/token');
      box.close();
      poll();
    } catch (failure) {
      token.set('');
      said.textContent = failure.message;
    }
  } }, el('p', {}, 'The hub printed the address of this page with its token when it started. With it you can edit twins, call methods, make and remove devices, and switch faults.'),
  el('div', { class: 'bar' }, input, el('button', { class: 'go' }, 'Enter'), el('button', { type: 'button', click: () => box.close() }, 'Cancel')), said);
  const box = el('dialog', { close: () => box.remove() }, form);
  document.body.append(box);
  box.showModal();
}

// per is how often something happened a second since the numbers before.
function per(now, before, of) {
  return before && now.time > before.time ? Math.max(0, (of(now) - of(before)) / ((now.time - before.time) / 1000)) : 0;
}
const served = (n) => n.classes.reduce((sum, c) => sum + c.served, 0);

function head(n, before) {
  at('where').textContent = `${visible(n.host)} · ${n.address} · ${n.tier ? `behaves like ${n.units} × ${n.tier}` : 'without the limits of a tier'}`;
  const tiles = [
    ['devices', number(n.devices.totalDeviceCount)], ['connected', number(n.connected)], ['sessions kept', number(n.sessions.kept)],
    ['messages waiting', number(n.sessions.waiting)], ['telemetry a second', rate(per(n, before, (x) => x.telemetry))], ['operations a second', rate(per(n, before, served))],
  ];
  if (n.quota) tiles.push([`of ${number(n.quota)} messages today`, number(n.quotaUsed)]);
  at('tiles').replaceChildren(...tiles.map(([title, value]) => el('div', { class: 'tile' }, el('b', {}, value), el('span', {}, title))));
  const on = [];
  if (n.faults.stall > 0) on.push(`answers nothing for ${Math.ceil(n.faults.stall)} s more`);
  if (n.faults.refuse > 0) on.push(`refuses connections for ${Math.ceil(n.faults.refuse)} s more`);
  if (n.faults.dropAcks > 0) on.push(`leaves out ${Math.round(n.faults.dropAcks * 100)} % of its answers to devices`);
  if (n.faults.slow) on.push('takes its time for twin operations');
  if (n.dps && Object.values(n.dps.faults).some((v) => v > 0)) on.push('provisions badly');
  at('alarm').hidden = on.length === 0;
  at('alarm').textContent = on.length ? `By a fault that is switched on, the hub ${on.join(', and ')}.` : '';
}

let timer = 0;
async function poll() {
  clearTimeout(timer);
  try {
    const n = await ask('api/numbers');
    n.time = performance.now();
    const may = n.may;
    head(n, hub.numbers);
    n.per = (of) => per(n, before, of);
    const before = hub.numbers;
    hub.numbers = n;
    at('badge').textContent = 'live';
    at('badge').className = 'badge live';
    if (may !== hub.may || !before) {
      hub.may = may;
      who();
      show();
    }
    hub.listeners.forEach((f) => f(n));
  } catch (e) {
    at('badge').textContent = e.status === 401 ? 'token needed' : 'no answer';
    at('badge').className = 'badge down';
    if (e.status === 401) { who(); at('where').textContent = e.message; }
  }
  timer = setTimeout(poll, document.hidden ? 15000 : 2000);
}
document.addEventListener('visibilitychange', () => { if (!document.hidden) poll(); });
poll();
