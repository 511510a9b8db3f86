/** From a panel's JSON to frames that can be drawn: queries, transformations, overrides. */
import {
  applyFieldOverrides,
  cacheFieldDisplayNames,
  rangeUtil,
  transformDataFrame,
  type DataFrame,
  type FieldConfigSource,
  type GrafanaTheme2,
} from '@grafana/data';
import type { Panel } from '@grafana/schema';
import { firstValueFrom } from 'rxjs';

import { logs } from './loki';
import { exemplars, query, type PrometheusQuery } from './prometheus';
import { optionsOf } from './registries';
import type { Settings } from './settings';
import { asReplacements, interpolate, timeMacros, type Replacements, type Variable } from './variables';

export interface PanelFrames {
  frames: DataFrame[];
  exemplars: DataFrame[];
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

export async function panelFrames(
  panel: Panel,
  width: number,
  settings: Settings,
  variables: Variable[],
  theme: GrafanaTheme2
): Promise<PanelFrames> {
  const known = asReplacements(variables);
  const replace = (text: string, more: Replacements = {}) => interpolate(text, { ...known, ...more });
  const results: DataFrame[] = [];
  const traces: DataFrame[] = [];
  const targets = ((panel.targets ?? []) as unknown as PrometheusQuery[]).filter((target) => !target.hide);
  for (const target of targets) {
    const lowest = target.interval || panel.interval || `${settings.scrapeInterval}s`;
    const resolution = panel.maxDataPoints ?? Math.max(1, Math.floor(width));
    const step = rangeUtil.calculateInterval(settings.range, resolution, replace(lowest)).intervalMs / 1000;
    const expr = replace(target.expr, timeMacros(settings, step));
    const found = isLoki(panel, target) ? await fromLoki(settings, expr) : undefined;
    results.push(...(found ?? (await query(settings, { ...target, expr }, step, targets.length === 1))));
    const samples = target.exemplar && !found && (await exemplars(settings, { ...target, expr }));
    if (samples) {
      traces.push(samples);
    }
  }
  const context = { interpolate: (text: string) => replace(text) };
  const transformed = await firstValueFrom(
    transformDataFrame((panel.transformations ?? []) as never, results, context)
  );
  const fieldConfig = withDefaults(panel);
  const frames = applyFieldOverrides({
    data: transformed,
    fieldConfig,
    fieldConfigRegistry: optionsOf(fieldConfig),
    replaceVariables: (text) => replace(text),
    theme,
    timeZone: 'utc',
  });
  cacheFieldDisplayNames(frames);
  return { frames, exemplars: traces, fieldConfig, replace };
}

function isLoki(panel: Panel, target: PrometheusQuery & { datasource?: { type?: string } }): boolean {
  return (target.datasource?.type ?? panel.datasource?.type) === 'loki';
}

async function fromLoki(settings: Settings, expr: string): Promise<DataFrame[]> {
  if (!settings.loki) {
    throw new Unavailable('This panel reads from Loki, which is not part of this preview.');
  }
  return logs(settings, expr, 100);
}

function withDefaults(panel: Panel): FieldConfigSource {
  const given = panel.fieldConfig ?? { defaults: {}, overrides: [] };
  const custom = { ...pluginDefaults[panel.type], ...given.defaults.custom };
  return {
    overrides: given.overrides ?? [],
    defaults: {
      ...given.defaults,
      color: given.defaults.color ?? { mode: panel.type === 'timeseries' ? 'palette-classic' : 'thresholds' },
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
