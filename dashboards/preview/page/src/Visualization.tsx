/** A panel's content, by Grafana's components where they are published. */
import {
  getDisplayValueAlignmentFactors,
  getFieldDisplayValues,
  renderMarkdown,
  VizOrientation,
  type DisplayValueAlignmentFactors,
  type FieldDisplay,
} from '@grafana/data';
import {
  BarGauge,
  BigValue,
  TimeSeries,
  useTheme2,
  VizRepeater,
  type VizRepeaterRenderValueProps,
} from '@grafana/ui';
import { TableNG } from '@grafana/ui/unstable';
import type { JSX, ReactNode } from 'react';

import { Exemplars } from './Exemplars';
import { Gauge } from './Gauge';
import { Heatmap } from './Heatmap';
import { Logs } from './Logs';
import type { Options, VisualizationProps } from './visualizationProps';

/** By panel type; gauge, heatmap and logs are not in Grafana's packages and are drawn here. */
export const visualizations: Record<string, (props: VisualizationProps) => ReactNode> = {
  timeseries: TimeSeriesPanel,
  stat: StatPanel,
  bargauge: BarGaugePanel,
  gauge: GaugePanel,
  heatmap: Heatmap,
  table: TablePanel,
  logs: Logs,
  text: TextPanel,
};

function TimeSeriesPanel({ panel, data, settings, width, height }: VisualizationProps) {
  const options: Options = panel.options ?? {};
  return (
    <TimeSeries
      frames={data.frames}
      timeRange={settings.range}
      timeZone="utc"
      width={width}
      height={height}
      legend={{
        displayMode: 'list',
        placement: 'bottom',
        calcs: [],
        showLegend: true,
        ...options.legend,
      }}
      options={options}
    >
      {(config) => <Exemplars config={config} exemplars={data.exemplars} />}
    </TimeSeries>
  );
}

function StatPanel(props: VisualizationProps) {
  const theme = useTheme2();
  const options: Options = props.panel.options ?? {};
  return (
    <Values
      {...props}
      sparkline={(options.graphMode ?? 'area') !== 'none'}
      draw={({ value, width, height, count, alignmentFactors }) => (
        <BigValue
          value={value.display}
          count={count}
          sparkline={value.sparkline}
          colorMode={options.colorMode ?? 'value'}
          graphMode={options.graphMode ?? 'area'}
          justifyMode={options.justifyMode ?? 'auto'}
          textMode={options.textMode ?? 'auto'}
          text={options.text}
          disableWideLayout={options.wideLayout === false}
          percentChangeColorMode={options.percentChangeColorMode}
          alignmentFactors={alignmentFactors}
          width={width}
          height={height}
          theme={theme}
        />
      )}
    />
  );
}

function BarGaugePanel(props: VisualizationProps) {
  const theme = useTheme2();
  const options: Options = props.panel.options ?? {};
  return (
    <Values
      {...props}
      itemSpacing={options.displayMode === 'lcd' ? 2 : 10}
      draw={({ value, width, height, orientation, alignmentFactors }) => (
        <BarGauge
          value={value.display}
          field={value.field}
          display={value.view?.getFieldDisplayProcessor(value.colIndex ?? 0)}
          orientation={orientation}
          displayMode={options.displayMode ?? 'gradient'}
          valueDisplayMode={options.valueMode ?? 'color'}
          namePlacement={options.namePlacement ?? 'auto'}
          showUnfilled={options.showUnfilled ?? true}
          text={options.text}
          lcdCellWidth={12}
          itemSpacing={10}
          alignmentFactors={alignmentFactors}
          width={width}
          height={height}
          theme={theme}
        />
      )}
    />
  );
}

function GaugePanel(props: VisualizationProps) {
  return (
    <Values
      {...props}
      draw={({ value, width, height, count }) => (
        <Gauge value={value} named={count > 1} width={width} height={height} />
      )}
    />
  );
}

interface ValuesProps extends VisualizationProps {
  sparkline?: boolean;
  itemSpacing?: number;
  draw: (
    cell: VizRepeaterRenderValueProps<FieldDisplay, DisplayValueAlignmentFactors>
  ) => JSX.Element;
}

/** One value of each field, side by side or below each other. */
function Values({ panel, data, width, height, sparkline, itemSpacing, draw }: ValuesProps) {
  const theme = useTheme2();
  const options: Options = panel.options ?? {};
  const values = () =>
    getFieldDisplayValues({
      fieldConfig: data.fieldConfig,
      reduceOptions: { calcs: ['lastNotNull'], ...options.reduceOptions },
      replaceVariables: data.replace,
      theme,
      data: data.frames,
      sparkline,
      percentChange: options.showPercentChange,
      timeZone: 'utc',
    });
  return (
    <VizRepeater<FieldDisplay, DisplayValueAlignmentFactors>
      getValues={values}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      renderValue={draw}
      orientation={options.orientation ?? VizOrientation.Auto}
      autoGrid={panel.type !== 'bargauge'}
      itemSpacing={itemSpacing}
      source={data}
      renderCounter={0}
      width={width}
      height={height}
    />
  );
}

function TablePanel({ panel, data, settings, width, height }: VisualizationProps) {
  const options: Options = panel.options ?? {};
  return (
    <TableNG
      data={data.frames[0]}
      width={width}
      height={height}
      sortBy={options.sortBy}
      noHeader={options.showHeader === false}
      cellHeight={options.cellHeight}
      timeRange={settings.range}
      fieldConfig={data.fieldConfig}
      enableVirtualization={false}
    />
  );
}

function TextPanel({ panel, data, height }: VisualizationProps) {
  const options: Options = panel.options ?? {};
  const text = data.replace(options.content ?? '');
  const html = options.mode === 'html' ? text : renderMarkdown(text);
  return (
    <div
      className="markdown-html"
      style={{ height, overflow: 'hidden' }}
      dangerouslySetInnerHTML={{ __html: html }}
    />
  );
}
