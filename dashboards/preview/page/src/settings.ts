/** What the address of the page says, e.g. `?dashboard=memory-overview.json&from=0&to=60000`. */
import { dateTime, type TimeRange } from '@grafana/data';

const query = new URLSearchParams(window.location.search);

function required(name: string): string {
  const value = query.get(name);
  if (!value) {
    throw new Error(`the address lacks ?${name}=`);
  }
  return value;
}

export interface Settings {
  /** Address of the dashboard's JSON. */
  dashboard: string;
  /** Address of a Prometheus. */
  prometheus: string;
  /** Address of something that answers as Loki does; none: its panels say so. */
  loki?: string;
  /** Address of a VictoriaLogs; none: likewise. */
  victorialogs?: string;
  /** Seconds between two scrapes, as a Grafana data source is told. */
  scrapeInterval: number;
  range: TimeRange;
  theme: 'dark' | 'light';
}

export function readSettings(): Settings {
  const from = dateTime(Number(required('from')));
  const to = dateTime(Number(required('to')));
  return {
    dashboard: required('dashboard'),
    prometheus: required('prometheus'),
    loki: query.get('loki') ?? undefined,
    victorialogs: query.get('victorialogs') ?? undefined,
    scrapeInterval: Number(query.get('scrape') ?? 15),
    range: { from, to, raw: { from, to } },
    theme: query.get('theme') === 'light' ? 'light' : 'dark',
  };
}
