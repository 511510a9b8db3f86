/** The HTTP API of VictoriaLogs, its answers as its data source for Grafana gives them. */
import type { DataFrame } from '@grafana/data';

import { lines } from './lines';
import type { LogQuery } from './loki';
import { frame, type Series } from './prometheus';
import type { Settings } from './settings';

async function ask(
  settings: Settings,
  path: string,
  parameters: Record<string, string>
): Promise<Response> {
  const address = `${settings.victorialogs}/select/logsql/${path}`;
  const answer = await fetch(`${address}?${new URLSearchParams(parameters)}`);
  if (!answer.ok) {
    throw new Error(`${parameters.query}: ${await answer.text()}`);
  }
  return answer;
}

function seconds(settings: Settings): { start: string; end: string } {
  const { from, to } = settings.range;
  return { start: String(from.valueOf() / 1000), end: String(to.valueOf() / 1000) };
}

export async function fieldValues(settings: Settings, query: Record<string, string>) {
  const asked = { query: query.query, field: query.field, ...seconds(settings) };
  const { values } = await (await ask(settings, 'field_values', asked)).json();
  return values.map(({ value }: { value: string }) => value) as string[];
}

/** Rows of one frame, or a frame for each series; *step* in seconds. */
export async function logsql(
  settings: Settings,
  target: LogQuery,
  step: number
): Promise<DataFrame[]> {
  const query = target.expr;
  const { start, end } = seconds(settings);
  if (target.queryType === 'statsRange') {
    const range = { query, start, end, step: `${step}s` };
    return series(await ask(settings, 'stats_query_range', range), target, step);
  }
  if (target.queryType === 'stats') {
    const within = { query: `_time:[${start}, ${end}] ${query}`, time: end };
    return series(await ask(settings, 'stats_query', within), target, step);
  }
  const limit = target.maxLines ?? 50;
  const answer = await ask(settings, 'query', { query, start, end, limit: String(limit) });
  const rows = (await answer.text()).split('\n').filter((row) => row !== '');
  const found = rows.map((row) => {
    const { _time: time, _msg: text, ...labels } = JSON.parse(row);
    return { time: Date.parse(time), text: text ?? '', labels };
  });
  return lines(found, limit);
}

async function series(answer: Response, target: LogQuery, step: number): Promise<DataFrame[]> {
  const { data } = (await answer.json()) as { data: { result: Series[] } };
  return data.result.map((one) => frame(one, target, step));
}
