/** Grafana's transformation of that name, which its packages do not have: a column for each label. */
import { DataTransformerID, FieldType, type DataFrame } from '@grafana/data';
import { map } from 'rxjs';

import { field } from './prometheus';

interface Options {
  source: string;
  keepTime?: boolean;
  replace?: boolean;
}

export const extractFields = {
  id: DataTransformerID.extractFields,
  name: 'Extract fields',
  description: '',
  defaultOptions: {},
  operator: (options: Options) => map((frames: DataFrame[]) => frames.map((f) => extracted(f, options))),
};

function extracted(frame: DataFrame, { source, keepTime, replace }: Options): DataFrame {
  const rows: Array<Record<string, unknown>> =
    frame.fields.find(({ name }) => name === source)?.values ?? [];
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const columns = names.map((name) =>
    field(
      name,
      FieldType.string,
      rows.map((row) => row[name])
    )
  );
  const time = keepTime ? frame.fields.filter(({ name }) => name === 'Time') : [];
  return { ...frame, fields: [...(replace ? [] : frame.fields), ...time, ...columns] };
}
