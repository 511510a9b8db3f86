import { FieldType, formattedValueToString, getDisplayProcessor, type Field } from '@grafana/data';
import { AxisPlacement, ScaleDirection, ScaleOrientation } from '@grafana/schema';
import { UPlotChart, UPlotConfigBuilder, useTheme2 } from '@grafana/ui';
import * as chromatic from 'd3-scale-chromatic';
import { useMemo } from 'react';
import type uPlot from 'uplot';

import { drawExemplars } from './Exemplars';
import type { Options, VisualizationProps } from './visualizationProps';

const legendHeight = 22;

/** Buckets of a histogram over time: a cell for each, the brighter the more fell into it. */
export function Heatmap({ panel, data, settings, width, height }: VisualizationProps) {
  const theme = useTheme2();
  const options: Options = panel.options ?? {};
  const frame = data.frames[0];
  const [time, ...buckets] = frame.fields;
  const least = options.filterValues?.le ?? 1e-9;
  const counts = buckets
    .flatMap((bucket) => bucket.values as number[])
    .filter((count) => count > least);
  const most = Math.max(...counts);
  const color = useMemo(
    () => colors(options.color ?? {}, theme.isDark),
    [options.color, theme.isDark]
  );
  const unit = options.yAxis?.unit ?? data.fieldConfig.defaults.unit;
  const label = getDisplayProcessor({
    field: { type: FieldType.number, config: { unit, decimals: options.yAxis?.decimals } },
    theme,
  });

  const config = useMemo(() => {
    const builder = new UPlotConfigBuilder('utc');
    const last = lastUsed(buckets, least);
    const first = firstUsed(buckets, least);
    builder.addScale({
      scaleKey: 'x',
      isTime: true,
      orientation: ScaleOrientation.Horizontal,
      direction: ScaleDirection.Right,
      range: () => [settings.range.from.valueOf(), settings.range.to.valueOf()],
    });
    builder.addScale({
      scaleKey: 'y',
      orientation: ScaleOrientation.Vertical,
      direction: ScaleDirection.Up,
      range: () => [first - 1, last],
    });
    builder.addAxis({
      scaleKey: 'x',
      isTime: true,
      placement: AxisPlacement.Bottom,
      timeZone: 'utc',
      theme,
    });
    const every = Math.ceil((last - first + 2) / Math.max(1, Math.floor((height - 50) / 22)));
    const rows = buckets
      .map((_, index) => index)
      .filter((index) => index >= first - 1 && index <= last);
    builder.addAxis({
      scaleKey: 'y',
      placement: AxisPlacement.Left,
      theme,
      splits: () => rows.filter((_, position) => position % every === 0),
      values: (_, splits) =>
        splits.map((index) => {
          const value = bound(buckets[index]);
          return Number.isFinite(value) ? formattedValueToString(label(value)) : '+Inf';
        }),
    });
    builder.addSeries({ scaleKey: 'y', theme, pxAlign: false, show: true, lineWidth: 0 } as never);
    builder.addHook('draw', (u) => {
      drawCells(u, time, buckets, least, most, color);
      const dots = theme.visualization.getColorByName(options.exemplars?.color ?? 'magenta');
      drawExemplars(u, data.exemplars, dots, (value) => {
        const row = buckets.findIndex((bucket) => value <= bound(bucket));
        return u.valToPos(Math.min(last, row) - 0.5, 'y');
      });
    });
    builder.setPrepData(() => [time.values as number[], time.values.map(() => null)] as never);
    return builder;
  }, [data, width, height]);

  return (
    <>
      <UPlotChart
        config={config}
        data={[time.values as number[], time.values.map(() => null)] as uPlot.AlignedData}
        width={width}
        height={height - legendHeight}
      />
      <Scale color={color} least={Math.min(...counts)} most={most} />
    </>
  );
}

function bound(bucket: Field): number {
  return Number(bucket.labels?.le ?? bucket.name);
}

function used(bucket: Field, least: number): boolean {
  return bucket.values.some((count: number) => count > least);
}

function firstUsed(buckets: Field[], least: number): number {
  return Math.max(
    0,
    buckets.findIndex((bucket) => used(bucket, least))
  );
}

function lastUsed(buckets: Field[], least: number): number {
  return Math.max(
    0,
    buckets.findLastIndex((bucket) => used(bucket, least))
  );
}

function colors(options: Options, dark: boolean): (share: number) => string {
  const exponent = options.exponent ?? 0.5;
  const steps = options.steps ?? 64;
  const byName = chromatic as unknown as Record<string, (share: number) => string>;
  const scheme =
    byName[`interpolate${options.scheme ?? 'Oranges'}`] ?? chromatic.interpolateOranges;
  // Schemes of one hue run from white, which in the dark is what should be most.
  const diverging = ['Spectral', 'Turbo', 'Inferno', 'Magma', 'Plasma', 'Viridis'].includes(
    options.scheme
  );
  const turned = Boolean(options.reverse) !== (dark && !diverging);
  return (share) => {
    const step = Math.round(share ** exponent * (steps - 1)) / (steps - 1);
    return scheme(turned ? 1 - step : step);
  };
}

function drawCells(
  u: uPlot,
  time: Field,
  buckets: Field[],
  least: number,
  most: number,
  color: (share: number) => string
) {
  const interval = time.config.interval ?? 15_000;
  const { ctx, bbox } = u;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  time.values.forEach((at: number, column: number) => {
    const right = u.valToPos(at, 'x', true);
    const left = u.valToPos(at - interval, 'x', true);
    buckets.forEach((bucket, row) => {
      const count = bucket.values[column];
      if (count > least) {
        const top = u.valToPos(row, 'y', true);
        const bottom = u.valToPos(row - 1, 'y', true);
        ctx.fillStyle = color(count / most);
        ctx.fillRect(left, top, Math.max(1, right - left - 1), bottom - top - 1);
      }
    });
  });
  ctx.restore();
}

function Scale({
  color,
  least,
  most,
}: {
  color: (share: number) => string;
  least: number;
  most: number;
}) {
  const theme = useTheme2();
  const stops = Array.from({ length: 11 }, (_, index) => color(index / 10)).join(', ');
  const text = (value: number) => value.toPrecision(2).replace(/\.?0+$/, '');
  return (
    <div
      style={{
        display: 'flex',
        alignItems: 'center',
        gap: 8,
        height: legendHeight,
        paddingLeft: 8,
        fontSize: theme.typography.bodySmall.fontSize,
        color: theme.colors.text.secondary,
      }}
    >
      {text(least)}
      <div
        style={{
          width: 220,
          height: 8,
          borderRadius: 2,
          background: `linear-gradient(90deg, ${stops})`,
        }}
      />
      {text(most)}
    </div>
  );
}
