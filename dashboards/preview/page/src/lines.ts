/** Log lines as the data sources of Grafana give them: time, line and labels, newest first. */
import { FieldType, type DataFrame } from '@grafana/data';

import { field } from './prometheus';

export interface Line {
  time: number;
  text: string;
  labels: Record<string, string>;
}

export function lines(found: Line[], limit: number): DataFrame[] {
  const shown = [...found].sort((a, b) => b.time - a.time).slice(0, limit);
  if (shown.length === 0) {
    return [];
  }
  return [
    {
      length: shown.length,
      fields: [
        field(
          'Time',
          FieldType.time,
          shown.map(({ time }) => time)
        ),
        field(
          'Line',
          FieldType.string,
          shown.map(({ text }) => text)
        ),
        field(
          'labels',
          FieldType.other,
          shown.map(({ labels }) => labels)
        ),
      ],
    },
  ];
}
