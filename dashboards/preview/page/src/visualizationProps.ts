/** What a panel is drawn from. */
import type { Panel } from '@grafana/schema';

import type { PanelFrames } from './data';
import type { Settings } from './settings';

export interface VisualizationProps {
  panel: Panel;
  data: PanelFrames;
  settings: Settings;
  width: number;
  height: number;
}

// The schema of a dashboard leaves the options of a panel type open.
export type Options = Record<string, any>;
