/** From a panel's JSON to frames that can be drawn: queries, transformations, overrides. */
import {
  applyFieldOverrides,
  cacheFieldDisplayNames,
  rangeUtil,
  transformDataFrame,
  type DataFrame,
  type DataTransformerConfig,
  type FieldConfigSource,
  type GrafanaTheme2,
} from '@grafana/data';
import type { Panel } from '@grafana/schema';
import { firstValueFrom } from 'rxjs';

import { logs, type LogQuery } from './loki';
import { exemplars, query, type Exemplar, type PrometheusQuery } from './prometheus';
import { optionsOf } from './registries';
import type { Settings } from './settings';
import { asReplacements, interpolate, inLogsQL, timeMacros, type Variable } from './variables';
import { logsql } from './victorialogs';

export interface PanelFrames {
  frames: DataFrame[];
  exemplars: Exemplar[];
  fieldConfig: FieldConfigSource;
  replace: (text: string) => string;
}

/** A panel whose data source is not there. */
export class Unavailable extends Error {}

/** What Grafana's plugins assume where the JSON says nothing. */
const pluginDefaults: Record<string, object> = {
  timeseries: {
    drawStyle: 'line',
    lineInterpolation: 'linear',
    lineWidth: 1,
    fillOpacity: 0,
    gradientMode: 'none',
    barAlignment: 0,
    barWidthFactor: 0.6,
    showPoints: 'auto',
    pointSize: 5,
    spanNulls: false,
    insertNulls: false,
    stacking: { mode: 'none', group: 'A' },
    axisPlacement: 'auto',
    axisLabel: '',
    axisColorMode: 'text',
    axisBorderShow: false,
    axisCenteredZero: false,
    scaleDistribution: { type: 'linear' },
    thresholdsStyle: { mode: 'off' },
    hideFrom: { legend: false, tooltip: false, viz: false },
  },
  table: { align: 'auto', cellOptions: { type: 'auto' }, inspect: false },
};

type Target = PrometheusQuery & { datasource?: { type?: string } };

export async function panelFrames(
  panel: Panel,
  width: number,
  settings: Settings,
  variables: Variable[],
  theme: GrafanaTheme2
): Promise<PanelFrames> {
  const known = asReplacements(variables);
  const replace = (text: string) => interpolate(text, known);
  const targets = ((panel.targets ?? []) as unknown as Target[]).filter(({ hide }) => !hide);
  const results: DataFrame[] = [];
  const traces: Exemplar[] = [];
  for (const target of targets) {
    const step = stepOf(panel, target, width, settings);
    const macros = timeMacros(settings, step);
    const kind = target.datasource?.type ?? panel.datasource?.type;
    if (kind === 'victoriametrics-logs-datasource') {
      const expr = interpolate(target.expr, { ...inLogsQL(variables), ...macros });
      results.push(...(await fromVictoriaLogs(settings, { ...target, expr } as LogQuery, step)));
      continue;
    }
    const expr = interpolate(target.expr, { ...known, ...macros });
    if (kind === 'loki') {
      results.push(...(await fromLoki(settings, { ...target, expr } as LogQuery, step)));
      continue;
    }
    const asked = { ...target, expr };
    results.push(...(await query(settings, asked, step, targets.length === 1)));
    if (target.exemplar) {
      traces.push(...(await exemplars(settings, expr)));
    }
  }
  const fieldConfig = withDefaults(panel);
  const frames = applyFieldOverrides({
    data: await transformed(panel, results, replace),
    fieldConfig,
    fieldConfigRegistry: optionsOf(fieldConfig),
    replaceVariables: replace,
    theme,
    timeZone: 'utc',
  });
  cacheFieldDisplayNames(frames);
  return { frames, exemplars: traces, fieldConfig, replace };
}

/** Seconds between two points: as many as pixels, but not more than scrapes. */
function stepOf(panel: Panel, target: Target, width: number, settings: Settings): number {
  const points = panel.maxDataPoints ?? Math.max(1, Math.floor(width));
  const lowest = target.interval || panel.interval || `${settings.scrapeInterval}s`;
  return rangeUtil.calculateInterval(settings.range, points, lowest).intervalMs / 1000;
}

function transformed(
  panel: Panel,
  frames: DataFrame[],
  replace: (text: string) => string
): Promise<DataFrame[]> {
  const steps = (panel.transformations ?? []) as DataTransformerConfig[];
  return firstValueFrom(transformDataFrame(steps, frames, { interpolate: replace }));
}

async function fromLoki(settings: Settings, target: LogQuery, step: number) {
  if (!settings.loki) {
    throw new Unavailable('This panel reads from Loki, which is not part of this preview.');
  }
  return logs(settings, target, step);
}

async function fromVictoriaLogs(settings: Settings, target: LogQuery, step: number) {
  if (!settings.victorialogs) {
    throw new Unavailable('This panel reads from VictoriaLogs, which is not part of this preview.');
  }
  return logsql(settings, target, step);
}

function withDefaults(panel: Panel): FieldConfigSource {
  const given = panel.fieldConfig ?? { defaults: {}, overrides: [] };
  const custom = { ...pluginDefaults[panel.type], ...given.defaults.custom };
  return {
    overrides: given.overrides ?? [],
    defaults: {
      ...given.defaults,
      color: given.defaults.color ?? {
        mode: panel.type === 'timeseries' ? 'palette-classic' : 'thresholds',
      },
      thresholds: given.defaults.thresholds ?? {
        mode: 'absolute',
        steps: [
          { value: -Infinity, color: 'green' },
          { value: 80, color: 'red' },
        ],
      },
      custom,
    },
  } as FieldConfigSource;
}

/** Values that came back. */
export function countSamples(frames: DataFrame[]): number {
  let count = 0;
  for (const frame of frames) {
    for (const field of frame.fields) {
      if (field.type !== 'time') {
        count += field.values.filter((value) => value != null).length;
      }
    }
  }
  return count;
}
