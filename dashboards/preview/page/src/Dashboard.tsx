import { LoadingState } from '@grafana/data';
import type { Dashboard as Model, Panel, RowPanel } from '@grafana/schema';
import { Icon, PanelChrome, useTheme2 } from '@grafana/ui';
import { useEffect, useState } from 'react';

import { countSamples, panelFrames, Unavailable, type PanelFrames } from './data';
import type { Settings } from './settings';
import type { Variable } from './variables';
import { visualizations } from './Visualization';

const cell = 30;
const gap = 8;
const columns = 24;

interface DashboardProps {
  dashboard: Model;
  settings: Settings;
  variables: Variable[];
  width: number;
}

/** All panels where the JSON puts them; rows are open. */
export function Dashboard({ dashboard, settings, variables, width }: DashboardProps) {
  const placed = place((dashboard.panels ?? []) as Array<Panel | RowPanel>);
  const unit = (width - gap * (columns - 1)) / columns;
  const rows = Math.max(...placed.map(({ y, panel }) => y + panel.gridPos!.h));
  return (
    <div style={{ position: 'relative', height: rows * (cell + gap) }}>
      {placed.map(({ panel, y }) => {
        const { x, w, h } = panel.gridPos!;
        const size = { width: w * unit + (w - 1) * gap, height: h * cell + (h - 1) * gap };
        return (
          <div
            key={panel.id}
            style={{ position: 'absolute', left: x * (unit + gap), top: y * (cell + gap), ...size }}
          >
            {panel.type === 'row' ? (
              <Row title={panel.title ?? ''} />
            ) : (
              <PanelBox
                panel={panel as Panel}
                settings={settings}
                variables={variables}
                {...size}
              />
            )}
          </div>
        );
      })}
    </div>
  );
}

/** Panels with their height in the grid, those of closed rows too: what is below moves down. */
function place(panels: Array<Panel | RowPanel>): Array<{ panel: Panel | RowPanel; y: number }> {
  let shift = 0;
  return panels.flatMap((panel) => {
    const y = (panel.gridPos?.y ?? 0) + shift;
    const inside = panel.type === 'row' ? ((panel as RowPanel).panels ?? []) : [];
    if (inside.length === 0) {
      return [{ panel, y }];
    }
    const top = Math.min(...inside.map((one) => one.gridPos!.y));
    const placed = inside.map((one) => ({ panel: one, y: y + 1 + one.gridPos!.y - top }));
    shift += Math.max(...placed.map((one) => one.y + one.panel.gridPos!.h)) - y - 1;
    return [{ panel, y }, ...placed];
  });
}

function Row({ title }: { title: string }) {
  const theme = useTheme2();
  return (
    <div
      style={{
        display: 'flex',
        alignItems: 'center',
        gap: 8,
        height: '100%',
        fontSize: theme.typography.h5.fontSize,
      }}
    >
      <Icon name="angle-down" />
      {title}
    </div>
  );
}

type State =
  | { kind: 'loading' }
  | { kind: 'empty' }
  | { kind: 'data'; data: PanelFrames }
  | { kind: 'failed' | 'absent'; text: string };

interface PanelBoxProps {
  panel: Panel;
  settings: Settings;
  variables: Variable[];
  width: number;
  height: number;
}

function PanelBox({ panel, settings, variables, width, height }: PanelBoxProps) {
  const theme = useTheme2();
  const [state, setState] = useState<State>({ kind: 'loading' });
  useEffect(() => {
    panelFrames(panel, width, settings, variables, theme).then(
      (data) =>
        setState(
          panel.type === 'text' || countSamples(data.frames) > 0
            ? { kind: 'data', data }
            : { kind: 'empty' }
        ),
      (error) =>
        setState({
          kind: error instanceof Unavailable ? 'absent' : 'failed',
          text: String(error.message),
        })
    );
  }, [panel, width, settings, variables, theme]);
  const samples = state.kind === 'data' ? countSamples(state.data.frames) : 0;
  return (
    <div
      data-panel={panel.id}
      data-type={panel.type}
      data-title={panel.title}
      data-state={state.kind}
      data-samples={samples}
    >
      <PanelChrome
        title={panel.title}
        description={panel.description}
        displayMode={panel.transparent ? 'transparent' : 'default'}
        loadingState={state.kind === 'loading' ? LoadingState.Loading : LoadingState.Done}
        width={width}
        height={height}
      >
        {(innerWidth, innerHeight) => content(panel, settings, state, innerWidth, innerHeight)}
      </PanelChrome>
    </div>
  );
}

function content(panel: Panel, settings: Settings, state: State, width: number, height: number) {
  switch (state.kind) {
    case 'loading':
      return null;
    case 'empty':
      return <Message text={panel.fieldConfig?.defaults.noValue ?? 'No data'} />;
    case 'failed':
    case 'absent':
      return <Message text={state.text} />;
    case 'data': {
      const Visualization = visualizations[panel.type];
      return Visualization ? (
        <Visualization
          panel={panel}
          data={state.data}
          settings={settings}
          width={width}
          height={height}
        />
      ) : (
        <Message text={`This preview cannot draw a panel of type ${panel.type}.`} />
      );
    }
  }
}

function Message({ text }: { text: string }) {
  const theme = useTheme2();
  return (
    <div
      data-message
      style={{
        display: 'flex',
        alignItems: 'center',
        justifyContent: 'center',
        height: '100%',
        textAlign: 'center',
        color: theme.colors.text.secondary,
      }}
    >
      {text}
    </div>
  );
}
