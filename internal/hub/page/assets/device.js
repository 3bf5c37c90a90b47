// One device or module: its twin, its session, and what one can do to it.
import { ago, ask, devicePath, el, field, mark, number, post, stateLine, table, twinPath, visible } from './lib.js';
import { bare } from './query.js';
import { trafficList } from './traffic.js';

// leaves are the properties of a section, one a row, with what the metadata says of each.
function leaves(section, metadata, path = '') {
  return Object.entries(section).filter(([k]) => path || (k !== '$metadata' && k !== '$version')).flatMap(([k, v]) => {
    const here = path ? `${path}.${k}` : k;
    const meta = metadata?.[k] || {};
    if (v !== null && typeof v === 'object' && !Array.isArray(v) && Object.keys(v).length) return leaves(v, meta, here);
    return [{ path: here, value: JSON.stringify(v), updated: meta.$lastUpdated, version: meta.$lastUpdatedVersion }];
  });
}

function section(title, doc, note) {
  const rows = leaves(bare(doc || {}), doc?.$metadata);
  const dated = doc?.$metadata !== undefined;
  const columns = [{ title: 'Path' }, { title: 'Value' }];
  if (dated) columns.push({ title: 'Changed' }, { title: 'Version', class: 'num' });
  return el('section', {}, el('h3', {}, title, doc?.$version ? ` · version ${doc.$version}` : ''), rows.length
    ? table(columns, rows.map((r) => el('tr', {}, el('td', { class: 'mono' }, visible(r.path)), el('td', { class: 'mono' }, visible(r.value)),
      dated && el('td', { class: 'when', title: r.updated || '' }, ago(r.updated)), dated && el('td', { class: 'num' }, r.version ?? ''))), title)
    : el('p', { class: 'hint' }, note));
}

export function device(main, hub, key) {
  const module = key.includes('/');
  let shown = null;
  const facts = el('div');
  const twin = el('div');
  const state = stateLine();
  const list = trafficList(() => key, () => true);
  const watching = el('button', { type: 'button', click: () => {
    if (list.running()) list.end(); else list.start();
    watching.textContent = list.running() ? 'Stop looking' : 'Look at its traffic';
  } }, 'Look at its traffic');

  async function load(quiet) {
    try {
      const d = await ask(`api/device?${new URLSearchParams({ id: key, ...(quiet ? {} : { modules: '1' }) })}`);
      if (quiet) d.modules = shown.modules;
      const same = shown && JSON.stringify(shown) === JSON.stringify(d);
      shown = d;
      if (!same) draw(d);
    } catch (e) {
      if (!quiet || e.status === 404) state.say(e.message, 'bad');
    }
  }
  function draw(d) {
    const t = d.twin;
    const pair = (name, value) => el('div', {}, el('dt', {}, name), el('dd', {}, value));
    const connected = module ? d.session.connected : t.connectionState === 'Connected';
    facts.replaceChildren(el('dl', { class: 'facts' },
      pair('Connection', mark(connected ? 'connected' : 'not connected', connected ? 'good' : '')),
      pair('Status', t.status === 'enabled' ? 'enabled' : mark(visible(t.status), 'bad')),
      pair('Last activity', el('span', { title: t.lastActivityTime }, t.lastActivityTime?.startsWith('0001') ? 'never' : ago(t.lastActivityTime))),
      pair('Messages waiting', number(d.session.waiting)),
      pair('Authentication', visible(t.authenticationType)),
      pair('Session', d.session.kept ? 'outlives the connection' : d.session.connected ? 'ends with the connection' : 'none'),
      pair('Listens to', d.session.listens.join(', ') || 'nothing'),
      pair('Twin', `version ${t.version}, ETag ${visible(t.etag)}`),
      t.modelId && pair('Model', visible(t.modelId)),
      !module && pair('Modules', d.modules.length ? el('span', {}, d.modules.flatMap((m, i) => [i ? ', ' : '',
        el('a', { href: `#device/${encodeURIComponent(key)}/${encodeURIComponent(m)}` }, visible(m))])) : 'none')));
    twin.replaceChildren(
      el('div', { class: 'columns' }, section('Desired properties', t.properties.desired, 'The service has set none.'),
        section('Reported properties', t.properties.reported, 'The device has reported none.')),
      section('Tags', t.tags, 'None. The service alone sees tags.'),
      el('details', {}, el('summary', {}, 'The whole twin as JSON'), el('pre', { tabindex: '0' }, visible(JSON.stringify(t, null, 2)))));
    remember();
  }
  let remember = () => {};

  main.append(el('h2', { class: 'key' }, visible(key)), facts);
  if (hub.may) main.append(identity());
  main.append(state.line, twin);
  if (hub.may) main.append(el('h2', {}, 'Do'), el('div', { class: 'columns' }, editor(), el('div', {}, method(), !module && message())));
  else main.append(el('p', { class: 'hint' }, 'With the token you can edit the twin, call methods, send messages, and see the connection string.'));
  main.append(el('h2', {}, 'Traffic'), el('div', { class: 'bar' }, watching), list.view);

  function identity() {
    const secret = el('code');
    const show = el('button', { type: 'button', click: () => state.during([show], 'asking…', async () => {
      secret.textContent = (await ask(`api/connection?${new URLSearchParams({ id: key })}`)).connection;
    }) }, 'Show connection string');
    const toggle = el('button', { type: 'button', click: () => state.during([toggle], 'changing…', async () => {
      const doc = await ask(devicePath(key));
      doc.status = doc.status === 'enabled' ? 'disabled' : 'enabled';
      await post(devicePath(key), doc, 'PUT', { 'If-Match': `"${doc.etag}"` });
      await load();
      return `${key} is ${doc.status}`;
    }) });
    const remove = el('button', { type: 'button', class: 'danger', click: () => {
      if (!confirm(`Delete ${visible(key)} and its twin? This cannot be undone.`)) return;
      state.during([remove], 'deleting…', async () => {
        await post(devicePath(key), undefined, 'DELETE', { 'If-Match': '*' });
        location.hash = '#devices';
      });
    } }, 'Delete');
    remember = () => { toggle.textContent = shown.twin.status === 'enabled' ? 'Disable' : 'Enable'; };
    return el('div', {}, el('div', { class: 'bar' }, !module && toggle, remove, show), secret);
  }

  function editor() {
    const text = el('textarea', { rows: 8, spellcheck: 'false', 'aria-label': 'Tags and desired properties as JSON' });
    text.value = '{\n  "tags": { "location": { "region": "US", "plant": "Redmond43" } },\n  "properties": { "desired": { } }\n}';
    const said = stateLine();
    const save = (verb, word) => said.during(buttons, 'saving…', async () => {
      const t = await post(twinPath(key), JSON.parse(text.value), verb, { 'If-Match': '*' });
      await load();
      return `${word}: the twin has version ${t.version}`;
    });
    const buttons = [el('button', { type: 'button', class: 'go', click: () => save('PATCH', 'merged') }, 'Merge'), el('button', { type: 'button', click: () => save('PUT', 'replaced') }, 'Replace'),
      el('button', { type: 'button', click: () => {
        const t = shown.twin;
        text.value = JSON.stringify({ tags: t.tags || {}, properties: { desired: bare(t.properties.desired) } }, null, 2);
      } }, 'Take what there is')];
    return el('section', { class: 'card' }, el('h3', {}, 'Edit the twin'), el('p', { class: 'hint' }, 'Merge keeps what is not named, and null takes away; Replace puts what is here in the place of all.'),
      text, el('div', { class: 'bar' }, buttons), said.line);
  }

  function method() {
    const name = el('input', { required: true, value: 'reboot', autocomplete: 'off', spellcheck: 'false' });
    const payload = el('textarea', { rows: 2, spellcheck: 'false' });
    payload.value = 'null';
    const seconds = el('input', { type: 'number', min: 5, max: 300, value: 10 });
    const result = el('pre', { hidden: true, tabindex: '0' });
    const said = stateLine();
    const go = el('button', { class: 'go' }, 'Call');
    return el('form', { class: 'card', submit: (e) => {
      e.preventDefault();
      result.hidden = true;
      said.during([go], 'calling…', async () => {
        const a = await post(`${twinPath(key)}/methods`, { methodName: name.value, payload: JSON.parse(payload.value || 'null'), responseTimeoutInSeconds: Number(seconds.value) });
        result.hidden = false;
        result.textContent = visible(JSON.stringify(a.payload, null, 2));
        return `the device answers with status ${a.status}`;
      });
    } }, el('h3', {}, 'Call a method'), el('div', { class: 'bar' }, field('Name', name, true), field('Seconds to wait', seconds)), field('Payload, JSON', payload), el('div', { class: 'bar' }, go), said.line, result);
  }

  function message() {
    const text = el('textarea', { rows: 2, spellcheck: 'false' });
    text.value = 'Hello';
    const said = stateLine();
    const go = el('button', { class: 'go' }, 'Send');
    return el('form', { class: 'card', submit: (e) => {
      e.preventDefault();
      said.during([go], 'sending…', async () => {
        await ask(`${devicePath(key)}/messages/deviceBound`, { method: 'POST', body: text.value });
        await load();
        return 'queued: the device takes it when it listens';
      });
    } }, el('h3', {}, 'Send a message to the device'), field('Content', text), el('div', { class: 'bar' }, go), said.line);
  }

  load();
  const refresh = () => { if (shown && !document.hidden) load(true); };
  hub.listeners.add(refresh);
  return () => { hub.listeners.delete(refresh); list.end(); };
}
