// An editor for queries, with those of the device twin tutorial.
import { el, number, oneLine, post, stateLine, table, visible } from './lib.js';

const samples = [
  ['Tutorial: in Redmond43', "SELECT * FROM devices WHERE tags.location.plant = 'Redmond43'"],
  ['Tutorial: on cellular', "SELECT * FROM devices WHERE tags.location.plant = 'Redmond43'\n  AND properties.reported.connectivity.type = 'cellular'"],
  ['All, by connection', 'SELECT connectionState, COUNT() AS devices FROM devices GROUP BY connectionState'],
  ['By plant', 'SELECT tags.location.plant AS plant, COUNT() AS devices FROM devices GROUP BY tags.location.plant'],
  ['Not connected', "SELECT deviceId, lastActivityTime FROM devices WHERE connectionState = 'Disconnected'"],
  ['Modules', 'SELECT * FROM devices.modules'],
  ['Jobs', 'SELECT * FROM devices.jobs'],
];
let kept = samples[0][1];

export function query(main, hub) {
  const editor = el('textarea', { 'aria-label': 'Query', spellcheck: 'false', rows: 4, input: () => { kept = editor.value; }, keydown: (e) => {
    if (e.key === 'Enter' && (e.ctrlKey || e.metaKey)) { e.preventDefault(); run(''); }
  } });
  editor.value = kept;
  const state = stateLine();
  const result = el('div');
  const go = el('button', { type: 'button', class: 'go', click: () => run('') }, 'Run (Ctrl+Enter)');
  const more = el('button', { type: 'button', hidden: true }, 'Next page');
  let rows = 0;

  function run(continuation) {
    if (!continuation) { rows = 0; result.replaceChildren(); }
    more.hidden = true;
    return state.during([go, more], 'asking…', async () => {
      let page;
      try {
        page = await post('api/query', { query: editor.value, continuation });
      } catch (e) {
        if (e.line) {
          editor.focus();
          editor.setSelectionRange(e.offset || 0, (e.offset || 0) + 1);
          e.message = `line ${e.line}, column ${e.column}: ${e.message}`;
        }
        throw e;
      }
      const begin = rows;
      rows += page.items.length;
      result.replaceChildren(show(page));
      more.hidden = !page.continuation;
      more.onclick = () => run(page.continuation);
      if (!rows) return `no rows, in ${page.ms.toFixed(1)} ms`;
      return `rows ${number(begin + 1)} to ${number(rows)}${page.continuation ? ', there are more' : ', the last'}, in ${page.ms.toFixed(1)} ms`;
    });
  }
  main.append(el('h2', {}, 'Query'), el('div', { class: 'bar', role: 'group', 'aria-label': 'Queries to try' },
    samples.map(([title, text]) => el('button', { type: 'button', click: () => { editor.value = kept = text; run(''); } }, title))),
  editor, el('div', { class: 'bar' }, go, more), state.line, result);
  return () => {};
}

// show makes a table of a page: a column for each name of the first level, twins by what tells them apart.
function show(page) {
  if (!page.items.length) return el('p');
  if (page.type === 'Twin') {
    return table([{ title: 'Device' }, { title: 'Tags' }, { title: 'Desired' }, { title: 'Reported' }], page.items.map((t) => el('tr', {},
      el('td', {}, el('a', { href: `#device/${encodeURIComponent(t.deviceId)}${t.moduleId ? `/${encodeURIComponent(t.moduleId)}` : ''}` },
        visible(t.deviceId + (t.moduleId ? `/${t.moduleId}` : '')))),
      [t.tags, t.properties?.desired, t.properties?.reported].map((v) => el('td', { class: 'mono' }, oneLine(JSON.stringify(bare(v ?? {}))))))), 'Result');
  }
  const names = [...new Set(page.items.flatMap((row) => Object.keys(row)))];
  return table(names.map((n) => ({ title: visible(n) })), page.items.map((row) => el('tr', {}, names.map((n) =>
    el('td', { class: 'mono' }, n in row ? oneLine(typeof row[n] === 'string' ? row[n] : JSON.stringify(row[n])) : '')))), 'Result');
}

export function bare(section) {
  return Object.fromEntries(Object.entries(section).filter(([k]) => k !== '$metadata' && k !== '$version'));
}
