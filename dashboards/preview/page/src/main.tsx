import '@grafana/react-data-grid/lib/styles.css';

import { createTheme, dateTimeFormat, ThemeContext } from '@grafana/data';
import type { Dashboard as Model } from '@grafana/schema';
import { GlobalStyles, Icon, PortalContainer } from '@grafana/ui';
import { createRoot } from 'react-dom/client';

import { Dashboard } from './Dashboard';
import { register } from './registries';
import { readSettings, type Settings } from './settings';
import { readVariables, type Variable } from './variables';

const theme = createTheme({ colors: { mode: readSettings().theme } });
const margin = 16;

function Page({
  dashboard,
  settings,
  variables,
}: {
  dashboard: Model;
  settings: Settings;
  variables: Variable[];
}) {
  const logs = (dashboard.panels ?? []).some(
    (panel) => 'datasource' in panel && panel.datasource?.type === 'loki'
  );
  return (
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <div
        style={{ padding: margin, background: theme.colors.background.canvas, minHeight: '100vh' }}
      >
        <Head dashboard={dashboard} settings={settings} variables={variables} />
        <Dashboard
          dashboard={dashboard}
          settings={settings}
          variables={variables}
          width={document.documentElement.clientWidth - 2 * margin}
        />
        <footer
          style={{
            color: theme.colors.text.secondary,
            fontSize: theme.typography.bodySmall.fontSize,
            marginTop: 4,
          }}
        >
          Preview: Grafana&apos;s published components draw the panels of{' '}
          {settings.dashboard.split('/').pop()} from a real Prometheus. Gauges and heatmaps are not
          among them; this page draws those.
          {logs && ' The log records are the real ones too, from a stand-in for Loki.'}
        </footer>
      </div>
      <PortalContainer />
    </ThemeContext.Provider>
  );
}

function Head({
  dashboard,
  settings,
  variables,
}: {
  dashboard: Model;
  settings: Settings;
  variables: Variable[];
}) {
  const box = {
    border: `1px solid ${theme.colors.border.medium}`,
    borderRadius: theme.shape.radius.default,
    padding: '5px 8px',
    whiteSpace: 'nowrap',
  } as const;
  const at = (time: Settings['range']['from'], format: string) =>
    dateTimeFormat(time, { timeZone: 'utc', format });
  const { from, to } = settings.range;
  return (
    <header style={{ marginBottom: 12 }}>
      <div
        style={{
          display: 'flex',
          alignItems: 'center',
          justifyContent: 'space-between',
          marginBottom: 12,
        }}
      >
        <div
          style={{
            fontSize: theme.typography.h3.fontSize,
            fontWeight: theme.typography.fontWeightMedium,
          }}
        >
          {dashboard.title}
        </div>
        <div style={{ ...box, display: 'flex', alignItems: 'center', gap: 6 }}>
          <Icon name="clock-nine" />
          {at(from, 'YYYY-MM-DD HH:mm:ss')} to {at(to, 'HH:mm:ss')} UTC
        </div>
      </div>
      <div style={{ display: 'flex', flexWrap: 'wrap', gap: 12 }}>
        {(dashboard.links ?? [])
          .filter(({ type }) => type === 'link')
          .map(({ title }) => (
            <div key={title} style={{ ...box, order: 1, marginLeft: 'auto' }}>
              <Icon name="external-link-alt" size="sm" /> {title}
            </div>
          ))}
        {variables.filter(({ shown }) => shown !== '').map(({ name, label, shown }) => (
          <div
            key={name}
            style={{ display: 'flex', fontSize: theme.typography.bodySmall.fontSize }}
          >
            <span style={{ ...box, background: theme.colors.background.secondary }}>{label}</span>
            <span
              style={{ ...box, borderLeft: 'none', display: 'flex', alignItems: 'center', gap: 6 }}
            >
              {shown} <Icon name="angle-down" size="sm" />
            </span>
          </div>
        ))}
      </div>
    </header>
  );
}

function Styles() {
  return (
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
    </ThemeContext.Provider>
  );
}

async function fonts(): Promise<void> {
  await new Promise(requestAnimationFrame);
  const { fontFamily, fontFamilyMonospace } = theme.typography;
  const wanted = [`14px ${fontFamily}`, `500 14px ${fontFamily}`, `12px ${fontFamilyMonospace}`];
  await Promise.all(wanted.map((font) => document.fonts.load(font)));
}

async function start(): Promise<void> {
  register();
  const settings = readSettings();
  const dashboard = (await (await fetch(settings.dashboard)).json()) as Model;
  const variables = await readVariables(dashboard, settings);
  document.title = dashboard.title ?? document.title;
  const root = createRoot(document.getElementById('root')!);
  root.render(<Styles />);
  await fonts(); // their widths decide the size of what is drawn
  root.render(<Page dashboard={dashboard} settings={settings} variables={variables} />);
}

void start();
