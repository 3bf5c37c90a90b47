// What Prometheus answers, as Grafana's data frames: the part that its data source for Prometheus does.
import { FieldType, toDataFrame } from '@grafana/data';

// legendOf is the name of a series: {{label}} stands for a label.
function legendOf(format, metric) {
  if (!format) {
    return JSON.stringify(metric);
  }
  return format.replace(/{{\s*(\w+)\s*}}/g, (_, label) => metric[label] ?? label);
}

const number = (text) => (text === '+Inf' ? Infinity : text === '-Inf' ? -Infinity : Number(text));

// seriesFrames are a frame for each series of a range, or of an instant.
function seriesFrames(target, answer, stepMs) {
  return answer.result.map((series) => {
    const points = series.values ?? [series.value];
    const name = legendOf(target.legendFormat, series.metric);
    return toDataFrame({
      refId: target.refId,
      name,
      fields: [
        { name: 'Time', type: FieldType.time, values: points.map((p) => p[0] * 1000), config: { interval: stepMs } },
        { name: 'Value', type: FieldType.number, values: points.map((p) => number(p[1])), labels: series.metric, config: { displayNameFromDS: name } },
      ],
    });
  });
}

// tableFrame is one frame with a column for each label.
function tableFrame(target, answer, several) {
  const rows = answer.result;
  const labels = [...new Set(rows.flatMap((r) => Object.keys(r.metric)))].sort();
  return toDataFrame({
    refId: target.refId,
    fields: [
      { name: 'Time', type: FieldType.time, values: rows.map((r) => r.value[0] * 1000) },
      ...labels.map((l) => ({ name: l, type: FieldType.string, values: rows.map((r) => r.metric[l] ?? '') })),
      { name: several ? `Value #${target.refId}` : 'Value', type: FieldType.number, values: rows.map((r) => number(r.value[1])) },
    ],
  });
}

// heat are the cells of a heat map: of classic buckets what each holds beside the one below, of native ones what they say.
export function heat(answer) {
  const cells = [];
  const classic = answer.result.filter((r) => r.metric.le !== undefined).sort((a, b) => number(a.metric.le) - number(b.metric.le));
  let below = new Map();
  let low = 0;
  for (const series of classic) {
    const high = number(series.metric.le);
    const all = new Map(series.values.map(([at, v]) => [at, number(v)]));
    for (const [at, v] of all) {
      cells.push({ at: at * 1000, low, high, value: Math.max(0, v - (below.get(at) ?? 0)) });
    }
    below = all;
    low = high;
  }
  for (const series of answer.result) {
    for (const [at, histogram] of series.histograms ?? []) {
      for (const [, from, to, count] of histogram.buckets ?? []) {
        cells.push({ at: at * 1000, low: number(from), high: number(to), value: number(count) });
      }
    }
  }
  return cells.filter((c) => c.value > 1e-9);
}

// framesOf are the frames of a panel.
export function framesOf(panel, answers, stepMs) {
  const shown = panel.targets.filter((t) => answers[t.refId]);
  if (panel.type === 'table') {
    return shown.map((t) => tableFrame(t, answers[t.refId], panel.targets.length > 1)).filter((f) => f.length > 0);
  }
  if (panel.type === 'heatmap') {
    return [];
  }
  return shown.flatMap((t) => seriesFrames(t, answers[t.refId], stepMs));
}
