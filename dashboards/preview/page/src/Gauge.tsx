import { formattedValueToString, getActiveThreshold, type FieldDisplay } from '@grafana/data';
import { useTheme2 } from '@grafana/ui';

const start = (-120 * Math.PI) / 180;
const sweep = (240 * Math.PI) / 180;

function arc(radius: number, from: number, to: number): string {
  const point = (share: number) => {
    const angle = start + sweep * share;
    return `${100 + radius * Math.sin(angle)} ${100 - radius * Math.cos(angle)}`;
  };
  const large = (to - from) * sweep > Math.PI ? 1 : 0;
  return `M${point(from)}A${radius} ${radius} 0 ${large} 1 ${point(to)}`;
}

/** An arc from the field's minimum to its maximum, with a ring of its thresholds. */
export function Gauge({
  value,
  named,
  width,
  height,
}: {
  value: FieldDisplay;
  named: boolean;
  width: number;
  height: number;
}) {
  const theme = useTheme2();
  const { min = 0, max = 100, thresholds } = value.field;
  const share = (number: number) => Math.min(1, Math.max(0, (number - min!) / (max! - min!)));
  const steps = thresholds?.steps ?? [];
  const inPercent = thresholds?.mode === 'percentage';
  const bounds = steps.map((step) =>
    inPercent ? Math.max(0, step.value / 100) : share(step.value)
  );
  const text = formattedValueToString(value.display);
  const color = value.display.color ?? getActiveThreshold(value.display.numeric, steps).color;
  return (
    <svg viewBox="0 0 200 165" width={width} height={height}>
      <path
        d={arc(72, 0, 1)}
        fill="none"
        stroke={theme.colors.background.secondary}
        strokeWidth="24"
      />
      {share(value.display.numeric) > 0 && (
        <path
          d={arc(72, 0, share(value.display.numeric))}
          fill="none"
          stroke={color}
          strokeWidth="24"
        />
      )}
      {steps.map((step, index) => (
        <path
          key={index}
          d={arc(90, bounds[index], bounds[index + 1] ?? 1)}
          fill="none"
          stroke={theme.visualization.getColorByName(step.color)}
          strokeWidth="5"
        />
      ))}
      <text
        x="100"
        y="112"
        fill={color}
        textAnchor="middle"
        fontSize={Math.min(34, 210 / text.length)}
        fontWeight={theme.typography.fontWeightMedium}
      >
        {text}
      </text>
      {named && (
        <text x="100" y="158" fill={theme.colors.text.primary} textAnchor="middle" fontSize="14">
          {value.display.title}
        </text>
      )}
    </svg>
  );
}
