/** Loki's HTTP API: streams as a list of lines, counts as series. */
import type { DataFrame } from '@grafana/data';

import { lines, type Line } from './lines';
import { frame, type Series } from './prometheus';
import type { Settings } from './settings';

export interface LogQuery {
  refId: string;
  expr: string;
  queryType?: string;
  legendFormat?: string;
  maxLines?: number;
}

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

type Stream = { stream: Record<string, string>; values: Array<[string, string]> };
type Answer =
  | { resultType: 'streams'; result: Stream[] }
  | { resultType: 'vector' | 'matrix'; result: Series[] };

/** Rows of one frame, or a frame for each series; *step* in seconds. */
export async function logs(
  settings: Settings,
  target: LogQuery,
  step: number
): Promise<DataFrame[]> {
  const { from, to } = settings.range;
  const limit = target.maxLines ?? 100;
  const end = String(to.valueOf() * 1e6);
  const range = { start: String(from.valueOf() * 1e6), end, step: String(step) };
  const instant = target.queryType === 'instant';
  const parameters = new URLSearchParams({
    query: target.expr,
    limit: String(limit),
    direction: 'backward',
    ...(instant ? { time: end } : range),
  });
  const answer = await get<Answer>(settings, `query${instant ? '' : '_range'}?${parameters}`);
  if (answer.resultType !== 'streams') {
    return answer.result.map((one) => frame(one, target, step));
  }
  const found: Line[] = answer.result.flatMap(({ stream, values }) =>
    values.map(([time, text]) => ({ time: Number(time) / 1e6, text, labels: stream }))
  );
  return lines(found, limit);
}
