/** Template variables and `$__` macros, as far as a panel without a mouse needs them. */
import type { Dashboard, VariableModel } from '@grafana/schema';

import { streamLabels } from './loki';
import { labelValues } from './prometheus';
import type { Settings } from './settings';
import { fieldValues } from './victorialogs';

export interface Variable {
  name: string;
  label: string;
  /** What the head of the page shows. */
  shown: string;
  /** What a query gets. */
  value: string;
}

const sources: Record<string, string> = { 'victoriametrics-logs-datasource': 'VictoriaLogs' };

/** The dashboard's variables, each with the value that it has when the dashboard is opened. */
export async function readVariables(dashboard: Dashboard, settings: Settings): Promise<Variable[]> {
  const variables: Variable[] = [];
  for (const model of dashboard.templating?.list ?? []) {
    const label = model.label || model.name;
    if (model.type === 'datasource') {
      variables.push({
        name: model.name,
        label,
        shown: sources[String(model.query)] ?? title(String(model.query)),
        value: model.name,
      });
    } else if (model.type === 'constant') {
      const value = String(model.query ?? '');
      variables.push({ name: model.name, label, shown: '', value }); // hidden
    } else if (model.type === 'query') {
      variables.push({ name: model.name, label, ...(await chosen(model, variables, settings)) });
    } else {
      const value = String(model.current?.value ?? model.query ?? '');
      variables.push({ name: model.name, label, shown: value, value });
    }
  }
  return variables;
}

async function chosen(model: VariableModel, before: Variable[], settings: Settings) {
  let values = await candidates(model, before, settings);
  if (model.regex) {
    const pattern = new RegExp(model.regex.replace(/^\/|\/$/g, ''));
    values = values.filter((value) => pattern.test(value));
  }
  const current = [model.current?.value ?? []].flat().map(String);
  if (model.includeAll && (current.length === 0 || current.includes('$__all'))) {
    return { shown: 'All', value: model.allValue || anyOf(values) };
  }
  const picked = current.filter((value) => values.includes(value));
  const used = picked.length > 0 ? picked : values.slice(0, 1);
  return { shown: used.join(' + ') || 'none', value: model.multi ? anyOf(used) : used.join('') };
}

async function candidates(
  model: VariableModel,
  before: Variable[],
  settings: Settings
): Promise<string[]> {
  const query = (typeof model.query === 'string' ? { query: model.query } : model.query) as Record<
    string,
    string
  >;
  if (model.datasource?.type === 'loki') {
    return settings.loki ? streamLabels(settings, query.label) : [];
  }
  if (model.datasource?.type === 'victoriametrics-logs-datasource') {
    return settings.victorialogs ? fieldValues(settings, query) : [];
  }
  const call = /^\s*label_values\(\s*(?:(.*)\s*,)?\s*(\w+)\s*\)\s*$/s.exec(query.query);
  if (!call) {
    throw new Error(`variable ${model.name}: cannot read ${JSON.stringify(query)}`);
  }
  const selector = call[1] && interpolate(call[1], asReplacements(before)).trim();
  return labelValues(settings, call[2], selector);
}

/** Several values as a regular expression, escaped for PromQL. */
function anyOf(values: string[]): string {
  const escaped = values.map((value) => value.replace(/[\\^$*+?.()|[\]{}]/g, '\\\\$&'));
  return escaped.length === 1 ? escaped[0] : `(${escaped.join('|')})`;
}

function title(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}

export type Replacements = Record<string, string>;

export function asReplacements(variables: Variable[]): Replacements {
  return Object.fromEntries(variables.map((variable) => [variable.name, variable.value]));
}

/** The same as VictoriaLogs' data source sends them: a list for `in(...)`, `*` for all. */
export function inLogsQL(variables: Variable[]): Replacements {
  return Object.fromEntries(
    variables.map(({ name, value, shown }) => [name, shown === 'All' ? '*' : value])
  );
}

/** `$name`, `${name}` and `${name:format}`; what is not known stays as it is. */
export function interpolate(text: string, replacements: Replacements): string {
  return text.replace(
    /\$(\w+)|\$\{(\w+)(?::\w+)?\}/g,
    (whole, plain?: string, braced?: string) => replacements[plain ?? braced ?? ''] ?? whole
  );
}

/** The time macros of a query with that step. */
export function timeMacros(settings: Settings, stepSeconds: number): Replacements {
  const { from, to } = settings.range;
  const range = Math.round((to.valueOf() - from.valueOf()) / 1000);
  const rate = Math.max(stepSeconds + settings.scrapeInterval, 4 * settings.scrapeInterval);
  return {
    __interval: `${stepSeconds}s`,
    __interval_ms: String(stepSeconds * 1000),
    __rate_interval: `${rate}s`,
    __range: `${range}s`,
    __range_s: String(range),
    __range_ms: String(range * 1000),
    __from: String(from.valueOf()),
    __to: String(to.valueOf()),
  };
}
