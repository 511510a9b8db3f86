import type { DataFrame } from '@grafana/data';
import { useTheme2, type UPlotConfigBuilder } from '@grafana/ui';
import { useLayoutEffect } from 'react';
import type uPlot from 'uplot';

const apart = 14; // pixels

/** A diamond for the highest exemplar of every few pixels, kept inside of the plot. */
export function Exemplars({ config, frames }: { config: UPlotConfigBuilder; frames: DataFrame[] }) {
  const color = useTheme2().visualization.getColorByName('blue');
  useLayoutEffect(() => {
    const scale = config.scales.map((one) => one.props.scaleKey).find((key) => key !== 'x');
    if (scale) {
      config.addHook('draw', (u) => {
        const { min, max } = u.scales[scale];
        drawExemplars(u, frames, color, (value) =>
          u.valToPos(Math.min(max!, Math.max(min!, value)), scale, true)
        );
      });
    }
  }, [config, frames, color]);
  return null;
}

export function drawExemplars(
  u: uPlot,
  frames: DataFrame[],
  color: string,
  yOf: (value: number) => number
): void {
  const { min, max } = u.scales.x;
  const shown = new Map<number, { x: number; value: number }>();
  for (const { fields, length } of frames) {
    for (let row = 0; row < length; row++) {
      const [time, value] = fields.map((field) => field.values[row] as number);
      const x = u.valToPos(time, 'x', true);
      const slot = Math.round(x / apart);
      if (time >= min! && time <= max! && value > (shown.get(slot)?.value ?? -Infinity)) {
        shown.set(slot, { x, value });
      }
    }
  }
  u.ctx.save();
  u.ctx.fillStyle = color;
  for (const { x, value } of shown.values()) {
    u.ctx.translate(x, yOf(value));
    u.ctx.rotate(Math.PI / 4);
    u.ctx.fillRect(-3, -3, 6, 6);
    u.ctx.resetTransform();
  }
  u.ctx.restore();
  u.root.dataset.exemplars = String(shown.size);
}
