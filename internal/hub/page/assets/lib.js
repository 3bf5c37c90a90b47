// What all views share: elements, text, numbers, and questions to the hub.

// visible shows characters that would hide or turn text: what comes from devices is shown as it is.
const hidden = /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;
export const visible = (text) => String(text).replace(hidden, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);

// oneLine is visible, with line feeds too.
export const oneLine = (text) => visible(text).replaceAll('\n', '\\n');

// el makes an element. Attributes that are functions listen; text goes in as text, never as HTML.
export function el(tag, attributes, ...children) {
  const e = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (typeof value === 'function') e.addEventListener(name, value);
    else if (value === true) e.setAttribute(name, '');
    else if (value !== false && value != null) e.setAttribute(name, value);
  }
  e.append(...children.flat().filter((c) => c != null && c !== false));
  return e;
}

export const mark = (text, tone) => el('span', { class: `mark ${tone || ''}` }, text);
export const number = (n) => Math.round(n).toLocaleString('en');
export const rate = (n) => (n >= 10 || n === 0 ? number(n) : n.toFixed(1));

export function ago(text) {
  if (!text) return 'never';
  const s = (Date.now() - new Date(text)) / 1000;
  if (s < 0 || s > 86400) return text.replace('T', ' ').replace(/(\.\d+)?Z$/, '');
  return s < 2 ? 'now' : s < 90 ? `${Math.round(s)} s ago` : s < 5400 ? `${Math.round(s / 60)} min ago` : `${Math.round(s / 3600)} h ago`;
}

// The token lives as long as this tab: it goes into no cookie, no URL that is sent, and no storage that stays.
export const token = {
  get: () => sessionStorage.getItem('token') || '',
  set: (t) => (t ? sessionStorage.setItem('token', t) : sessionStorage.removeItem('token')),
};

// Failure is an answer of the hub that is an error.
export class Failure extends Error {
  constructor(status, body) {
    const b = typeof body === 'object' && body ? body : {};
    let text = b.error || b.Message || b.message || `the hub answers ${status}`;
    try { text = JSON.parse(text).message || text; } catch { /* it is text */ }
    super(text);
    Object.assign(this, { status, line: b.line, column: b.column, offset: b.offset, hint: b.hint });
  }
}

export function call(path, options = {}) {
  const headers = { 'X-Twinfleet-Page': '1', ...options.headers };
  if (token.get()) headers.Authorization = `Bearer ${token.get()}`;
  return fetch(`/page/${path}`, { ...options, headers });
}

// ask asks the hub and reads its answer.
export async function ask(path, options) {
  const answer = await call(path, options);
  const text = await answer.text();
  let body = text;
  try { body = text ? JSON.parse(text) : null; } catch { /* it is text */ }
  if (!answer.ok) throw new Failure(answer.status, body);
  return body;
}

export const post = (path, body, method = 'POST', headers = {}) =>
  ask(path, { method, headers: { 'Content-Type': 'application/json', ...headers }, body: body === undefined ? undefined : JSON.stringify(body) });

// stateLine is a line that says how an action went.
export function stateLine() {
  const line = el('p', { class: 'state', role: 'status' });
  const say = (text, tone = '') => {
    line.className = `state ${tone}`;
    line.textContent = visible(text);
  };
  // during runs an action with its buttons off, and says how it went.
  const during = async (buttons, doing, action) => {
    buttons.forEach((b) => { b.disabled = true; });
    say(doing);
    try {
      say((await action()) || '', 'good');
    } catch (e) {
      say(e.hint ? `${e.message}; ${e.hint}` : e.message, 'bad');
      line.failure = e;
    } finally {
      buttons.forEach((b) => { b.disabled = false; });
    }
  };
  return { line, say, during };
}

// table makes a table; a column is {title, class}.
export function table(columns, rows, caption) {
  return el('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': caption }, el('table', {},
    el('thead', {}, el('tr', {}, columns.map((c) => el('th', { scope: 'col', class: c.class }, c.title)))),
    el('tbody', {}, rows)));
}

export const field = (title, input, wide) => el('label', wide ? { class: 'wide' } : {}, title, input);

// ids are escaped for a path; a key is a device or device/module.
export const twinPath = (key) => `do/twins/${keyPath(key)}`;
export const devicePath = (key) => `do/devices/${keyPath(key)}`;
function keyPath(key) {
  const i = key.indexOf('/');
  return i < 0 ? encodeURIComponent(key) : `${encodeURIComponent(key.slice(0, i))}/modules/${encodeURIComponent(key.slice(i + 1))}`;
}
