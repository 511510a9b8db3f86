/** What Grafana registers when it starts: the options of fields, and transformations. */
import {
  FieldConfigOptionsRegistry,
  FieldConfigProperty,
  FieldType,
  displayNameOverrideProcessor,
  booleanOverrideProcessor,
  dataLinksOverrideProcessor,
  identityOverrideProcessor,
  numberOverrideProcessor,
  standardFieldConfigEditorRegistry,
  standardTransformers,
  standardTransformersRegistry,
  stringOverrideProcessor,
  thresholdsOverrideProcessor,
  unitOverrideProcessor,
  valueMappingsOverrideProcessor,
  type FieldConfigPropertyItem,
  type FieldConfigSource,
} from '@grafana/data';

import { extractFields } from './extractFields';

type Process = FieldConfigPropertyItem['process'];

function option(id: string, process: Process, custom = false): FieldConfigPropertyItem {
  const nothing = () => null; // no editor is ever shown
  return {
    id: custom ? `custom.${id}` : id,
    path: id,
    name: id,
    isCustom: custom,
    process,
    // Where fields are axes, that of time has no label of its own.
    shouldApply: (field) => id !== 'axisLabel' || field.type !== FieldType.time,
    editor: nothing,
    override: nothing,
  };
}

const standard = (): FieldConfigPropertyItem[] => [
  option(FieldConfigProperty.Unit, unitOverrideProcessor as Process),
  option(FieldConfigProperty.Min, numberOverrideProcessor as Process),
  option(FieldConfigProperty.Max, numberOverrideProcessor as Process),
  option(FieldConfigProperty.FieldMinMax, booleanOverrideProcessor as Process),
  option(FieldConfigProperty.Decimals, numberOverrideProcessor as Process),
  option(FieldConfigProperty.DisplayName, displayNameOverrideProcessor as Process),
  option(FieldConfigProperty.NoValue, stringOverrideProcessor as Process),
  option(FieldConfigProperty.Thresholds, thresholdsOverrideProcessor as Process),
  option(FieldConfigProperty.Mappings, valueMappingsOverrideProcessor as Process),
  option(FieldConfigProperty.Links, dataLinksOverrideProcessor as Process),
  option(FieldConfigProperty.Color, identityOverrideProcessor as Process),
  option(FieldConfigProperty.Filterable, booleanOverrideProcessor as Process),
];

export function register(): void {
  standardFieldConfigEditorRegistry.setInit(standard);
  // Some are listed under two names.
  const byId = new Map(
    [...Object.values(standardTransformers), extractFields].map((one) => [one.id as string, one])
  );
  standardTransformersRegistry.setInit(
    () =>
      [...byId.values()].map((one) => ({
        id: one.id,
        name: one.name,
        transformation: async () => one,
        editor: () => null,
        imageDark: '',
        imageLight: '',
      })) as never
  );
}

/** The standard options and those of its own that a panel's JSON uses. */
export function optionsOf(source: FieldConfigSource): FieldConfigOptionsRegistry {
  const own = new Set(Object.keys(source.defaults.custom ?? {}));
  for (const { properties } of source.overrides) {
    for (const { id } of properties) {
      if (id.startsWith('custom.')) {
        own.add(id.slice('custom.'.length));
      }
    }
  }
  return new FieldConfigOptionsRegistry(() => [
    ...standard(),
    ...[...own].map((id) => option(id, identityOverrideProcessor as Process, true)),
  ]);
}
