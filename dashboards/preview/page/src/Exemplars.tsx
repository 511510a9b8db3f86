import { useTheme2, type UPlotConfigBuilder } from '@grafana/ui';
import { useLayoutEffect } from 'react';
import type uPlot from 'uplot';

import type { Exemplar } from './prometheus';

const apart = 14; // pixels

/** A diamond for the highest exemplar of every few pixels, kept inside of the plot. */
export function Exemplars({
  config,
  exemplars,
}: {
  config: UPlotConfigBuilder;
  exemplars: Exemplar[];
}) {
  const color = useTheme2().visualization.getColorByName('blue');
  useLayoutEffect(() => {
    const scale = config.scales.map((one) => one.props.scaleKey).find((key) => key !== 'x');
    if (scale) {
      config.addHook('draw', (u) => {
        const { min, max } = u.scales[scale];
        drawExemplars(u, exemplars, color, (value) =>
          u.valToPos(Math.min(max!, Math.max(min!, value)), scale)
        );
      });
    }
  }, [config, exemplars, color]);
  return null;
}

/** Marks over the canvas, which then has nothing but what is drawn of the series. */
export function drawExemplars(
  u: uPlot,
  exemplars: Exemplar[],
  color: string,
  yOf: (value: number) => number
): void {
  const { min, max } = u.scales.x;
  const shown = new Map<number, { x: number; value: number }>();
  for (const { time, value } of exemplars) {
    const x = u.valToPos(time, 'x');
    const slot = Math.round(x / apart);
    if (time >= min! && time <= max! && value > (shown.get(slot)?.value ?? -Infinity)) {
      shown.set(slot, { x, value });
    }
  }
  u.over.querySelectorAll('[data-exemplar]').forEach((mark) => mark.remove());
  for (const { x, value } of shown.values()) {
    const mark = document.createElement('div');
    mark.dataset.exemplar = '';
    mark.style.cssText = `position: absolute; left: ${x - 3}px; top: ${yOf(value) - 3}px;
      width: 6px; height: 6px; transform: rotate(45deg); background: ${color}`;
    u.over.append(mark);
  }
}
