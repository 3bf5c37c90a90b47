// The smaller views: limits, faults, and how clients are pointed here.
import { ask, el, field, number, post, rate, stateLine, table, visible } from './lib.js';

const classes = {
  registry: 'identities', connect: 'connections', telemetry: 'telemetry', query: 'queries', twin_read: 'twin reads', twin_update: 'twin updates', c2d: 'messages to devices',
  method: 'method calls', job: 'job operations', job_device: 'devices of jobs', service_twin_read: 'twin reads by services', service_twin_update: 'twin updates by services',
};

export function limits(main, hub) {
  const body = el('div');
  const draw = (n) => {
    const columns = [{ title: 'Operations' }, { title: 'Served', class: 'num' }, { title: 'A second', class: 'num' }];
    if (n.tier) columns.push(...['Allowed a second', 'Left of the burst', 'Waiting', 'Wait, s', 'Delayed', 'Shed (429)'].map((title) => ({ title, class: 'num' })));
    body.replaceChildren(...[el('p', { class: 'lead' }, n.tier
      ? `The hub behaves like ${n.units} × ${n.tier}. A burst is served at once, then operations wait, then they are shed. Today ${number(n.quotaUsed)} of ${number(n.quota)} messages are used; ${number(n.refused)} operations came after the last.`
      : 'Nothing is limited. With --tier S1 --units 1 the hub behaves like so many units of a tier.'),
    n.dps && el('p', { class: 'lead' }, `The provisioning service, id scope ${visible(n.dps.scope)}, knows ${number(n.dps.known)} registrations, ${number(n.dps.assigning)} under way; so far ${
      Object.entries(n.dps.results).map(([name, count]) => `${visible(name)} ${number(count)}`).join(', ')}.`),
    table(columns, n.classes.map((c, i) => el('tr', {}, el('td', {}, classes[c.name] || visible(c.name)), [number(c.served), rate(n.per((x) => x.classes[i].served)),
      ...(n.tier ? (c.rate ? [rate(c.rate), number(c.tokens), number(c.waiting), c.wait.toFixed(1), number(c.delayed), number(c.rejected)] : ['–', '', '', '', '', '']) : [])]
      .map((v) => el('td', { class: 'num' }, v)))), 'Operations')].filter(Boolean));
  };
  main.append(el('h2', {}, 'Operations and limits'), body);
  draw(hub.numbers);
  hub.listeners.add(draw);
  return () => hub.listeners.delete(draw);
}

export function faults(main, hub) {
  const state = stateLine();
  const input = (value, more) => el('input', { type: 'number', value, min: 0, step: 'any', disabled: !hub.may, required: true, ...more });
  const card = (title, text, inputs, body, off, does = 'Switch on') => {
    const buttons = [el('button', { class: 'go', disabled: !hub.may }, does)];
    const send = (what, said) => state.during(hub.may ? buttons : [], 'switching…', async () => { await post('api/fault', what); return said; });
    if (off) buttons.push(el('button', { type: 'button', disabled: !hub.may, click: () => send(off, `${title}: off`) }, 'Switch off'));
    return el('form', { class: 'card', submit: (e) => { e.preventDefault(); send(body(), off ? `${title}: on` : `${title}: under way`); } }, el('h3', {}, title), el('p', { class: 'hint' }, text),
      el('div', { class: 'bar' }, inputs, buttons));
  };
  const stall = input(10);
  const refuse = input(30);
  const down = input(5);
  const drop = input(20, { max: 100 });
  const servers = input(8, { min: 1, step: 1 });
  const time = input(50, { min: 0.001 });
  main.append(el('h2', {}, 'Faults'), el('p', { class: 'lead' }, hub.may ? 'What is switched on is said at the top of the page.' : 'With the token you can switch them.'),
    el('div', { class: 'columns' },
      card('Stall', 'The hub reads and answers nothing, neither devices nor services.', field('Seconds', stall), () => ({ kind: 'stall', seconds: Number(stall.value) }), { kind: 'stall', seconds: 0 }),
      card('Refuse connections', 'New connections of devices are closed at once; those that are open stay.', field('Seconds', refuse), () => ({ kind: 'refuse', seconds: Number(refuse.value) }), { kind: 'refuse', seconds: 0 }),
      card('Restart', 'All connections end, also this page\'s, and new ones are refused for a time.', field('Seconds down', down), () => ({ kind: 'restart', seconds: Number(down.value) }), null, 'Restart'),
      card('Drop answers', 'A share of the answers and acknowledgements to devices is not sent.', field('Percent', drop), () => ({ kind: 'drop', share: Number(drop.value) / 100 }), { kind: 'drop', share: 0 }),
      card('Take time', 'Reports and twin reads of devices wait for a server that is free, and take an exponential time.', [field('Servers', servers), field('Milliseconds on average', time)],
        () => ({ kind: 'slow', servers: Number(servers.value), time: Number(time.value), exponential: true }), { kind: 'slow' }),
      hub.numbers.dps ? provisioning() : ''), state.line);

  // The provisioning service takes all of its faults at once.
  function provisioning() {
    const now = hub.numbers.dps.faults;
    const shares = { throttle: 'Throttled, percent', fail: 'Failed, percent', disable: 'Answered as disabled, percent', mute: 'Polls without an answer, percent', close: 'Connection ended, percent' };
    const inputs = Object.fromEntries(Object.keys(shares).map((name) => [name, input(Math.round(now[name] * 100), { max: 100 })]));
    const slow = input(now.slow);
    return card('Provisioning', 'What the provisioning service does to registrations.', [...Object.entries(shares).map(([name, title]) => field(title, inputs[name])), field('Seconds longer', slow)],
      () => ({ kind: 'dps', dps: { ...Object.fromEntries(Object.entries(inputs).map(([name, i]) => [name, Number(i.value) / 100])), slow: Number(slow.value) } }), { kind: 'dps' });
  }
  return () => {};
}

let chosen = '';

export function connect(main, hub) {
  const id = el('input', { autocomplete: 'off', spellcheck: 'false', placeholder: 'my-device', change: () => { chosen = id.value.trim(); load(); } });
  id.value = chosen;
  const body = el('div');
  const state = stateLine();
  const sides = { device: 'Devices', service: 'Services', tool: 'Tools' };
  const copy = (text) => el('button', { type: 'button', click: async (e) => {
    try { await navigator.clipboard.writeText(text); e.target.textContent = 'Copied'; } catch { e.target.textContent = 'Select it and copy'; }
    setTimeout(() => { e.target.textContent = 'Copy'; }, 2000);
  } }, 'Copy');
  async function load() {
    try {
      const a = await ask(`api/connect?${new URLSearchParams({ id: chosen })}`);
      body.replaceChildren(el('p', {}, 'The certificate to trust: ', el('code', {}, visible(a.ca || 'in memory only'))),
        hub.numbers.dps ? el('p', {}, 'Devices provision at ', el('code', {}, visible(hub.numbers.dps.endpoint)), ' with the id scope ', el('code', {}, visible(hub.numbers.dps.scope)), '.') : '',
        a.service ? el('div', {}, el('p', {}, 'The service connection string, a secret:'), el('pre', { tabindex: '0' }, a.service), copy(a.service)) : el('p', { class: 'hint' },
          'With the token the lines hold the keys; without it, places to fill in.'),
        ...Object.entries(sides).flatMap(([side, title]) => [el('h2', {}, title), el('div', { class: 'columns' }, a.clients.filter((c) => c.side === side).map((c) =>
          el('section', { class: 'card' }, el('h3', {}, c.name), (c.needs || []).map((n) => el('p', { class: 'hint' }, el('strong', {}, 'First: '), n, '.')),
            el('pre', { tabindex: '0' }, visible(c.lines)), copy(c.lines), c.note && el('p', { class: 'hint' }, c.note))))]));
      state.say('');
    } catch (e) {
      state.say(e.message, 'bad');
    }
  }
  main.append(el('h2', {}, 'Point clients at this hub'), el('div', { class: 'bar' }, field('For the device', id)), state.line, body);
  load();
  return () => {};
}
