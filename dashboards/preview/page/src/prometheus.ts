/** Prometheus' HTTP API, its answers as Grafana's data frames. */
import { FieldType, type DataFrame, type Field, type Labels } from '@grafana/data';

import type { Settings } from './settings';

export interface PrometheusQuery {
  refId: string;
  expr: string;
  format?: 'time_series' | 'table' | 'heatmap';
  instant?: boolean;
  range?: boolean;
  exemplar?: boolean;
  legendFormat?: string;
  interval?: string;
  hide?: boolean;
}

/** One observation, in milliseconds and in the unit of its metric; its trace is left out. */
export interface Exemplar {
  time: number;
  value: number;
}

export interface Series {
  metric: Labels;
  values?: Array<[number, string]>;
  value?: [number, string];
}

async function get<T>(
  settings: Settings,
  path: string,
  parameters: Record<string, string>
): Promise<T> {
  const address = `${settings.prometheus}/api/v1/${path}?${new URLSearchParams(parameters)}`;
  const response = await fetch(address);
  const answer = await response.json();
  if (answer.status !== 'success') {
    throw new Error(`${parameters.query ?? path}: ${answer.error}`);
  }
  return answer.data;
}

export async function labelValues(
  settings: Settings,
  label: string,
  selector?: string
): Promise<string[]> {
  const { from, to } = seconds(settings);
  const match = selector ? { 'match[]': selector } : {};
  const values = await get<string[]>(settings, `label/${label}/values`, {
    start: String(from),
    end: String(to),
    ...(match as Record<string, string>),
  });
  return values.sort();
}

/** The frames of one query; *step* in seconds, *alone* if the panel has no other. */
export async function query(
  settings: Settings,
  target: PrometheusQuery,
  step: number,
  alone: boolean
): Promise<DataFrame[]> {
  const { from, to } = seconds(settings);
  if (target.instant && !target.range) {
    const answer = await get<{ resultType: string; result: unknown }>(settings, 'query', {
      query: target.expr,
      time: String(to),
    });
    const series = asSeries(answer);
    return target.format === 'table'
      ? [table(series, target, alone)]
      : series.map((one) => frame(one, target, step));
  }
  const answer = await get<{ result: Series[] }>(settings, 'query_range', {
    query: target.expr,
    start: String(Math.floor(from / step) * step),
    end: String(Math.floor(to / step) * step),
    step: String(step),
  });
  const frames = answer.result.map((one) => frame(one, target, step));
  if (target.format === 'table') {
    return [table(answer.result, target, alone)];
  }
  return target.format === 'heatmap' ? buckets(frames) : frames;
}

export async function exemplars(settings: Settings, expr: string): Promise<Exemplar[]> {
  const { from, to } = seconds(settings);
  type Answer = Array<{ exemplars: Array<{ value: string; timestamp: number }> }>;
  const answer = await get<Answer>(settings, 'query_exemplars', {
    query: expr,
    start: String(from),
    end: String(to),
  });
  return answer
    .flatMap((series) => series.exemplars)
    .map(({ timestamp, value }) => ({ time: timestamp * 1000, value: Number(value) }));
}

function seconds(settings: Settings) {
  return { from: settings.range.from.valueOf() / 1000, to: settings.range.to.valueOf() / 1000 };
}

function asSeries(answer: { resultType: string; result: unknown }): Series[] {
  if (answer.resultType === 'scalar') {
    return [{ metric: {}, value: answer.result as [number, string] }];
  }
  return answer.result as Series[];
}

export function field(
  name: string,
  type: FieldType,
  values: unknown[],
  extra: Partial<Field> = {}
): Field {
  return { name, type, values, config: {}, ...extra };
}

function points(series: Series): Array<[number, string]> {
  return series.values ?? (series.value ? [series.value] : []);
}

/** Where values are missing, one that is none: Grafana draws no line across, either. */
function withGaps(samples: Array<[number, string]>, step: number): Array<[number, string]> {
  return samples.flatMap((sample, index) => {
    const next = samples[index + 1];
    const gap = next !== undefined && next[0] - sample[0] > 1.5 * step;
    return gap ? [sample, [sample[0] + step, 'NaN']] : [sample];
  });
}

/** NaN, which is 0/0 and so on, is no value. */
function number(text: string): number | null {
  const value = text === '+Inf' ? Infinity : text === '-Inf' ? -Infinity : Number(text);
  return Number.isNaN(value) ? null : value;
}

/** One series; its name is the legend with the values of its labels. */
export function frame(
  series: Series,
  target: { refId: string; expr: string; legendFormat?: string },
  step: number
): DataFrame {
  const { __name__: metric, ...labels } = series.metric;
  const samples = withGaps(points(series), step);
  const legend = target.legendFormat;
  const automatic = !legend || legend === '__auto';
  const name = automatic
    ? Object.keys(labels).length === 0
      ? metric || target.expr
      : undefined
    : legend.replace(/\{\{\s*(.+?)\s*\}\}/g, (_, label: string) => series.metric[label] ?? '');
  return {
    refId: target.refId,
    length: samples.length,
    fields: [
      field(
        'Time',
        FieldType.time,
        samples.map(([time]) => time * 1000),
        { config: { interval: step * 1000 } }
      ),
      field(
        metric || 'Value',
        FieldType.number,
        samples.map(([, value]) => number(value)),
        {
          labels,
          config: { displayNameFromDS: name },
        }
      ),
    ],
  };
}

function table(series: Series[], target: PrometheusQuery, alone: boolean): DataFrame {
  const rows = series.flatMap((one) =>
    points(one).map(([time, value]) => ({ metric: one.metric, time, value }))
  );
  const names = [...new Set(series.flatMap((one) => Object.keys(one.metric)))].sort();
  return {
    refId: target.refId,
    length: rows.length,
    fields: [
      field(
        'Time',
        FieldType.time,
        rows.map((row) => row.time * 1000)
      ),
      ...names.map((name) =>
        field(
          name,
          FieldType.string,
          rows.map((row) => row.metric[name] ?? '')
        )
      ),
      field(
        alone ? 'Value' : `Value #${target.refId}`,
        FieldType.number,
        rows.map((row) => number(row.value))
      ),
    ],
  };
}

/** Cumulative `le` series as one frame with a field for each bucket: what a heatmap draws. */
function buckets(frames: DataFrame[]): DataFrame[] {
  const bounded = frames
    .map((one) => ({ one, bound: number(one.fields[1].labels?.le ?? 'NaN')! }))
    .filter(({ bound }) => bound !== null)
    .sort((a, b) => a.bound - b.bound);
  if (bounded.length === 0) {
    return [];
  }
  const times = [...new Set(bounded.flatMap(({ one }) => one.fields[0].values as number[]))].sort(
    (a, b) => a - b
  );
  let below = new Map<number, number>();
  const fields = bounded.map(({ one, bound }) => {
    const cumulative = new Map<number, number>(
      one.fields[0].values.map((time: number, index: number) => [time, one.fields[1].values[index]])
    );
    const values = times.map((time) =>
      Math.max(0, (cumulative.get(time) ?? 0) - (below.get(time) ?? 0))
    );
    below = cumulative;
    return field(String(bound), FieldType.number, values, { labels: { le: String(bound) } });
  });
  return [
    {
      refId: frames[0].refId,
      length: times.length,
      fields: [
        field('Time', FieldType.time, times, { config: frames[0].fields[0].config }),
        ...fields,
      ],
    },
  ];
}
