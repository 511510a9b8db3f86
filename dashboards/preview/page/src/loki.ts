/** Loki's HTTP API: streams as a list of lines. */
import { FieldType, type DataFrame } from '@grafana/data';

import { field } from './prometheus';
import type { Settings } from './settings';

async function get<T>(settings: Settings, path: string): Promise<T> {
  const response = await fetch(`${settings.loki}/loki/api/v1/${path}`);
  const answer = await response.json();
  if (answer.status !== 'success') {
    throw new Error(`${path}: ${answer.error}`);
  }
  return answer.data;
}

export function streamLabels(settings: Settings, label: string): Promise<string[]> {
  return get(settings, `label/${label}/values`);
}

/** One frame: time, line and labels, newest first. */
export async function logs(settings: Settings, expr: string, limit: number): Promise<DataFrame[]> {
  const { from, to } = settings.range;
  const parameters = new URLSearchParams({
    query: expr,
    start: String(from.valueOf() * 1e6),
    end: String(to.valueOf() * 1e6),
    limit: String(limit),
    direction: 'backward',
  });
  type Stream = { stream: Record<string, string>; values: Array<[string, string]> };
  const { result } = await get<{ result: Stream[] }>(settings, `query_range?${parameters}`);
  const lines = result
    .flatMap(({ stream, values }) =>
      values.map(([time, line]) => ({ time: Number(time) / 1e6, line, stream }))
    )
    .sort((a, b) => b.time - a.time)
    .slice(0, limit);
  if (lines.length === 0) {
    return [];
  }
  return [
    {
      length: lines.length,
      fields: [
        field(
          'Time',
          FieldType.time,
          lines.map(({ time }) => time)
        ),
        field(
          'Line',
          FieldType.string,
          lines.map(({ line }) => line)
        ),
        field(
          'labels',
          FieldType.other,
          lines.map(({ stream }) => stream)
        ),
      ],
    },
  ];
}
