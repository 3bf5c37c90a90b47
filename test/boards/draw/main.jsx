// Draws a board with Grafana's own components. The page is given a board, what Prometheus answered to its queries, and a theme; it tells what
// it has drawn in window.drawn.
import {
  applyFieldOverrides, createTheme, dateTime, getDisplayValueAlignmentFactors, getFieldDisplayName, getFieldDisplayValues, getValueFormat, Registry, standardTransformers, standardTransformersRegistry,
  ThemeContext, transformDataFrame,
} from '@grafana/data';
import { initPluginTranslations } from '@grafana/i18n';
import { BarGauge, BigValue, GlobalStyles, PanelChrome, TimeSeries, VizRepeater } from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import React from 'react';
import { createRoot } from 'react-dom/client';
import { flushSync } from 'react-dom';
import { lastValueFrom } from 'rxjs';

import '@fontsource/inter/400.css';
import '@fontsource/inter/500.css';
import '@grafana/react-data-grid/lib/styles.css';

import { framesOf, heat } from './frames.js';

// registry knows the settings of fields; each is taken as it stands.
const settings = [
  ...['unit', 'min', 'max', 'decimals', 'displayName', 'noValue', 'mappings', 'thresholds', 'color', 'links'].map((id) => [id, id, false]),
  ...[
    'drawStyle', 'lineWidth', 'fillOpacity', 'showPoints', 'spanNulls', 'stacking', 'thresholdsStyle', 'scaleDistribution', 'axisSoftMax', 'align', 'cellOptions', 'width', 'inspect', 'hideFrom',
  ].map((path) => [`custom.${path}`, path, true]),
];
const registry = new Registry(() =>
  settings.map(([id, path, isCustom]) => ({ id, path, isCustom, name: id, process: (v) => v, shouldApply: () => true, override: () => null, editor: () => null, getItemsCount: () => 0 })));

standardTransformersRegistry.setInit(() =>
  [standardTransformers.mergeTransformer, standardTransformers.organizeFieldsTransformer, standardTransformers.filterFieldsByNameTransformer, standardTransformers.convertFieldTypeTransformer].map(
    (transformation) => ({ id: transformation.id, name: transformation.name, transformation: () => Promise.resolve(transformation), editor: () => null })));

const unknown = new Set(); // settings that the registry lacks: they would be drawn as if they were not there

function minded(panel) {
  const known = new Set(settings.map(([id]) => id));
  for (const key of Object.keys(panel.fieldConfig.defaults)) {
    if (key !== 'custom' && !known.has(key)) unknown.add(key);
  }
  for (const key of Object.keys(panel.fieldConfig.defaults.custom ?? {})) {
    if (!known.has(`custom.${key}`)) unknown.add(`custom.${key}`);
  }
  for (const o of panel.fieldConfig.overrides) {
    for (const p of o.properties) if (!known.has(p.id)) unknown.add(p.id);
  }
}

async function prepared(panel, given, theme) {
  minded(panel);
  let frames = framesOf(panel, given.answers[panel.id] ?? {}, given.stepMs);
  if (panel.transformations?.length) {
    frames = await lastValueFrom(transformDataFrame(panel.transformations, frames, { interpolate: (s) => s }));
  }
  frames = applyFieldOverrides({
    data: frames, fieldConfig: panel.fieldConfig, fieldConfigRegistry: registry, replaceVariables: (s) => s, theme, timeZone: 'utc', timeRange: given.range,
  });
  frames.forEach((frame) => frame.fields.forEach((field) => getFieldDisplayName(field, frame, frames))); // is kept in the field
  return frames;
}

function Empty({ panel, height }) {
  return <div className="empty" style={{ height, display: 'flex', alignItems: 'center', justifyContent: 'center', textAlign: 'center', padding: '0 16px', opacity: 0.75 }}>{panel.fieldConfig.defaults.noValue ?? 'No data'}</div>;
}

function Stats({ panel, frames, given, theme, width, height, draw }) {
  const values = () =>
    getFieldDisplayValues({
      fieldConfig: panel.fieldConfig, reduceOptions: panel.options.reduceOptions, replaceVariables: (s) => s, theme, data: frames, sparkline: panel.options.graphMode === 'area', timeZone: 'utc',
    });
  return (
    <VizRepeater getValues={values} getAlignmentFactors={getDisplayValueAlignmentFactors} source={frames} width={width} height={height} renderCounter={0} itemSpacing={8} orientation={panel.type === 'bargauge' ? 'horizontal' : 'auto'}
      maxVizHeight={panel.options.maxVizHeight} minVizHeight={panel.options.minVizHeight} minVizWidth={panel.options.minVizWidth} autoGrid={panel.type === 'stat'} renderValue={draw} />
  );
}

function bigValue(panel, theme) {
  return ({ value, width, height, count, alignmentFactors }) => (
    <BigValue value={value.display} sparkline={value.sparkline} width={width} height={height} theme={theme} count={count} alignmentFactors={alignmentFactors} colorMode={panel.options.colorMode}
      graphMode={panel.options.graphMode} textMode={panel.options.textMode} justifyMode={panel.options.justifyMode} wideLayout={panel.options.wideLayout} />
  );
}

function bar(panel, theme) {
  return ({ value, width, height, alignmentFactors }) => (
    <BarGauge value={value.display} field={value.field} display={value.view?.getFieldDisplayProcessor(value.colIndex ?? 0)} width={width} height={height} theme={theme} orientation="horizontal"
      alignmentFactors={alignmentFactors} displayMode={panel.options.displayMode} valueDisplayMode={panel.options.valueMode} namePlacement={panel.options.namePlacement}
      showUnfilled={panel.options.showUnfilled} />
  );
}

// Heat stands in for Grafana's heat map, whose source is not for others' use: cells with their colours, axes and a key.
function Heat({ panel, cells, given, theme, width, height }) {
  const left = 56, bottom = 44, right = 8, top = 6;
  const format = (v) => { const f = getValueFormat(panel.fieldConfig.defaults.unit)(v); return f.text + (f.suffix ?? ''); };
  const edges = [...new Set(cells.flatMap((c) => [c.low, c.high]))].filter((e) => e > 0 && Number.isFinite(e)).sort((a, b) => a - b);
  const floor = edges[0] / 2, ceiling = edges[edges.length - 1];
  const y = (v) => top + (height - top - bottom) * (1 - Math.log(Math.min(Math.max(v, floor), ceiling) / floor) / Math.log(ceiling / floor));
  const x = (at) => left + ((at - given.from) / (given.to - given.from)) * (width - left - right);
  const most = Math.max(...cells.map((c) => c.value));
  const color = (v) => `hsl(${38 - 14 * Math.sqrt(v / most)} 92% ${theme.isDark ? 22 + 40 * Math.sqrt(v / most) : 88 - 45 * Math.sqrt(v / most)}%)`;
  const ticks = edges.filter((e, i) => i === 0 || Math.floor(y(edges[i]) / 24) !== Math.floor(y(edges[i - 1]) / 24));
  const text = { fill: theme.colors.text.primary, fontSize: 11, fontFamily: theme.typography.fontFamily };
  return (
    <svg width={width} height={height}>
      {cells.map((c, i) => <rect key={i} x={x(c.at - given.stepMs) + 0.5} width={Math.max(1, x(c.at) - x(c.at - given.stepMs) - 1)} y={y(c.high) + 0.5} height={Math.max(1, y(c.low) - y(c.high) - 1)} fill={color(c.value)} />)}
      {ticks.map((e) => <text key={e} x={left - 6} y={y(e) + 4} textAnchor="end" {...text}>{format(e)}</text>)}
      {[0, 0.25, 0.5, 0.75].map((s) => <text key={s} x={left + s * (width - left - right)} y={height - bottom + 14} {...text}>{dateTime(given.from + s * (given.to - given.from)).utc().format('HH:mm:ss')}</text>)}
      {[0, 0.25, 0.5, 0.75, 1].map((s) => <rect key={s} x={left + 30 * s * 4} y={height - 18} width={28} height={8} fill={color(most * s)} />)}
      <text x={left + 156} y={height - 10} {...text}>{`0 to ${Number(most.toPrecision(2))} a second`}</text>
    </svg>
  );
}

function Body({ panel, frames, given, theme, width, height }) {
  const answers = given.answers[panel.id] ?? {};
  if (panel.type === 'heatmap') {
    const cells = Object.values(answers).flatMap(heat);
    return cells.length ? <Heat {...{ panel, cells, given, theme, width, height }} /> : <Empty panel={panel} height={height} />;
  }
  if (panel.type === 'stat') {
    return <Stats {...{ panel, frames, given, theme, width, height }} draw={bigValue(panel, theme)} />;
  }
  if (!filled(panel, frames, answers)) {
    return <Empty panel={panel} height={height} />;
  }
  switch (panel.type) {
    case 'timeseries':
      return <TimeSeries frames={frames} width={width} height={height} timeRange={given.range} timeZone="utc" legend={panel.options.legend} options={panel.options} />;
    case 'bargauge':
      return <Stats {...{ panel, frames, given, theme, width, height }} draw={bar(panel, theme)} />;
    case 'table':
      return <TableNG data={frames[0]} width={width} height={height} cellHeight={panel.options.cellHeight} noHeader={!panel.options.showHeader} showTypeIcons={false} fieldConfig={panel.fieldConfig} timeRange={given.range} getActions={() => []} enableVirtualization={false} />;
    default:
      throw new Error(`no component for ${panel.type}`);
  }
}

// filled says whether there is anything to show.
function filled(panel, frames, answers) {
  if (panel.type === 'heatmap') {
    return Object.values(answers).some((a) => heat(a).length > 0);
  }
  return frames.some((f) => f.length > 0 && f.fields.some((x) => x.type !== 'time' && x.values.some((v) => v !== null && v !== '' && !Number.isNaN(v))));
}

// told is what a panel shows, as far as it is the same in each run.
function told(panel, frames, answers) {
  const names = panel.type === 'heatmap' ? [] : frames.flatMap((f) => f.fields.filter((x) => panel.type === 'table' || x.type === 'number').map((x) => getFieldDisplayName(x, f, frames)));
  return { title: panel.title, type: panel.type, unit: panel.fieldConfig.defaults.unit, data: filled(panel, frames, answers), names: panel.type === 'table' ? names : [...new Set(names)].sort(), note: panel.fieldConfig.defaults.noValue ?? '' };
}

const rowHeight = 30, gap = 8, boardWidth = 1600;

// laid are the panels with where they are: rows that are folded are opened, and those below move down, unless they are to stay folded.
function laid(board, folded) {
  const all = [];
  let down = 0;
  for (const p of board.panels) {
    all.push({ ...p, gridPos: { ...p.gridPos, y: p.gridPos.y + down } });
    if (p.type === 'row' && p.collapsed && folded) {
      const next = board.panels.find((o) => o.gridPos.y > p.gridPos.y);
      if (next) down -= next.gridPos.y - p.gridPos.y - 1;
    } else if (p.type === 'row' && p.collapsed) {
      let most = 0;
      for (const inner of p.panels) {
        all.push({ ...inner, gridPos: { ...inner.gridPos, y: inner.gridPos.y + down } });
        most = Math.max(most, inner.gridPos.y + inner.gridPos.h - p.gridPos.y - 1);
      }
      const next = board.panels.find((o) => o.gridPos.y > p.gridPos.y);
      if (next && next.gridPos.y < p.gridPos.y + 1 + most) down += p.gridPos.y + 1 + most - next.gridPos.y;
    }
  }
  return all;
}

function Board({ board, panels, theme, given }) {
  const unit = (boardWidth - 2 * gap) / 24;
  const end = Math.max(...panels.map((p) => p.gridPos.y + p.gridPos.h));
  return (
    <div style={{ position: 'relative', width: boardWidth, height: 44 + end * (rowHeight + gap) + gap, background: theme.colors.background.canvas, color: theme.colors.text.primary }}>
      <div style={{ padding: '12px 16px', fontSize: 16, fontWeight: 500 }}>{board.title}</div>
      {panels.map((p) => {
        const at = { position: 'absolute', left: gap + p.gridPos.x * unit, top: 44 + p.gridPos.y * (rowHeight + gap), width: p.gridPos.w * unit - gap, height: p.gridPos.h * rowHeight + (p.gridPos.h - 1) * gap };
        if (p.type === 'row') {
          return <div key={p.id} style={{ ...at, fontSize: 16, fontWeight: 500, paddingTop: 4 }}>{(p.collapsed && given.folded ? '▸ ' : '▾ ') + p.title}</div>;
        }
        return (
          <div key={p.id} style={at}>
            <PanelChrome width={at.width} height={at.height} title={p.title} description={p.description} padding={p.type === 'table' ? 'none' : 'md'}>
              {(width, height) => <Body panel={p} frames={p.frames} given={given} theme={theme} width={width} height={height} />}
            </PanelChrome>
          </div>
        );
      })}
    </div>
  );
}

async function main() {
  const given = await (await fetch(new URLSearchParams(location.search).get('of'))).json();
  given.range = { from: dateTime(given.from), to: dateTime(given.to), raw: { from: dateTime(given.from), to: dateTime(given.to) } };
  await initPluginTranslations('grafana');
  await Promise.all(['400 14px Inter', '500 14px Inter'].map((font) => document.fonts.load(font)));
  const theme = createTheme({ colors: { mode: given.theme } });
  const panels = laid(given.board, given.folded);
  for (const p of panels) {
    if (p.type !== 'row') p.frames = await prepared(p, given, theme);
  }
  const root = createRoot(document.getElementById('board'));
  flushSync(() => root.render(
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <Board board={given.board} panels={panels} theme={theme} given={given} />
    </ThemeContext.Provider>));
  if (unknown.size) throw new Error(`the page does not know these settings of fields: ${[...unknown].join(', ')}`);
  const ready = () => document.fonts.status === 'loaded' && [...document.querySelectorAll('[role="grid"]')].every((g) => g.querySelector('[role="gridcell"]'));
  for (let tries = 0; !ready(); tries++) { // tables fill themselves once they know their size
    if (tries === 600) throw new Error('a table stays empty');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const rows = panels.map((p) => (p.type === 'row' ? { title: p.title, type: 'row' } : told(p, p.frames, given.answers[p.id] ?? {})));
  // Pictures of uPlot come a frame or two later.
  requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => { window.drawn = rows; }, 200)));
}

main().catch((err) => console.error(err));
