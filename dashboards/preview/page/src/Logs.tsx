import { dateTimeFormat } from '@grafana/data';
import { useTheme2 } from '@grafana/ui';

import type { Options, VisualizationProps } from './visualizationProps';

const colorOfLevel: Record<string, string> = {
  error: 'red',
  warn: 'yellow',
  warning: 'yellow',
  info: 'green',
};

/** Lines of a log with a bar in the colour of their level. */
export function Logs({ panel, data, height }: VisualizationProps) {
  const theme = useTheme2();
  const options: Options = panel.options ?? {};
  const [time, line, labels] = data.frames[0].fields;
  return (
    <div
      style={{
        height,
        overflow: 'hidden',
        fontFamily: theme.typography.fontFamilyMonospace,
        fontSize: theme.typography.bodySmall.fontSize,
        lineHeight: '19px',
      }}
    >
      {line.values.map((text: string, row: number) => (
        <div key={row} data-line style={{ display: 'flex', gap: 8, whiteSpace: 'pre' }}>
          <span
            style={{
              flex: '0 0 3px',
              margin: '1px 0',
              background: theme.visualization.getColorByName(
                colorOfLevel[labels.values[row].detected_level ?? labels.values[row].level] ??
                  'text'
              ),
            }}
          />
          {options.showTime !== false && (
            <span style={{ color: theme.colors.text.secondary }}>
              {dateTimeFormat(time.values[row], {
                timeZone: 'utc',
                format: 'YYYY-MM-DD HH:mm:ss.SSS',
              })}
            </span>
          )}
          <span
            style={
              options.wrapLogMessage
                ? { whiteSpace: 'pre-wrap', overflowWrap: 'anywhere' }
                : undefined
            }
          >
            {text}
          </span>
        </div>
      ))}
    </div>
  );
}
