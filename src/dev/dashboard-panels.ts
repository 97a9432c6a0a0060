/** What dashboards are written in: a question, the queries that answer it, and where the answer becomes bad. */
import {
  BigValueColorMode,
  BigValueGraphMode,
  GraphThresholdsStyleConfigBuilder,
  GraphThresholdsStyleMode,
  LegendDisplayMode,
  LegendPlacement,
  ReduceDataOptionsBuilder,
  SortOrder,
  StackingConfigBuilder,
  StackingMode,
  TooltipDisplayMode,
  VisibilityMode,
  VizLegendOptionsBuilder,
  VizTooltipOptionsBuilder,
} from '@grafana/grafana-foundation-sdk/common';
import {
  DashboardBuilder,
  DashboardCursorSync,
  DashboardLinkBuilder,
  DashboardLinkType,
  DatasourceVariableBuilder,
  QueryVariableBuilder,
  RowBuilder,
  ThresholdsConfigBuilder,
  ThresholdsMode,
  VariableRefresh,
} from '@grafana/grafana-foundation-sdk/dashboard';
import { DataqueryBuilder } from '@grafana/grafana-foundation-sdk/prometheus';
import { PanelBuilder as StatBuilder } from '@grafana/grafana-foundation-sdk/stat';
import { PanelBuilder as TimeSeriesBuilder } from '@grafana/grafana-foundation-sdk/timeseries';

export type Unit = 'ops' | 's' | 'percentunit' | 'short' | 'bytes' | 'none' | 'bool_on_off' | 'bool_yes_no';

export interface Query {
  readonly expr: string;
  readonly legend: string;
}

export interface Panel {
  readonly title: string;
  /** The question that it answers, and what to make of the answer. */
  readonly question: string;
  readonly unit: Unit;
  readonly queries: readonly Query[];
  /** From here on it is worth a look, and from here on it is bad: above, or with `lowIsBad` below. */
  readonly warnAt?: number;
  readonly badAt?: number;
  readonly lowIsBad?: boolean;
  /** One number, as of now, in place of lines. */
  readonly stat?: boolean;
  /** Parts of a whole. */
  readonly stacked?: boolean;
  /** Its histogram has exemplars: points that lead to a trace. */
  readonly traces?: boolean;
  /** Of 24; 8 for lines and 4 for a number unless it says otherwise. */
  readonly width?: number;
}

export interface Row {
  readonly title: string;
  readonly panels: readonly Panel[];
}

export interface DashboardSpec {
  readonly uid: string;
  readonly title: string;
  readonly description: string;
  readonly rows: readonly Row[];
}

const SOURCE = { type: 'prometheus', uid: '$datasource' };
const GRID = 24;
const TAG = 'messaging-service';

/** A metric of the processes that the dashboard is about. */
export function of(metric: string, matchers = ''): string {
  return `${metric}{job=~"$job",instance=~"$instance"${matchers === '' ? '' : `,${matchers}`}}`;
}

export const rateOf = (metric: string, matchers = ''): string => `rate(${of(metric, matchers)}[$__rate_interval])`;

/** A counter that nobody has raised is not there; this shows 0 for it, under `name` where its label would be. */
export function orZero(expr: string, label: string, name: string): string {
  return `${expr} or on () label_replace(vector(0), "${label}", "${name}", "", "")`;
}

/** Several quantiles of one histogram, by further labels when there are any. */
export function quantiles(histogram: string, matchers = '', by: readonly string[] = []): readonly Query[] {
  const labels = ['le', ...by].join(', ');
  const names = by.map((label) => ` {{${label}}}`).join('');
  return [0.5, 0.99].map((quantile) => ({
    expr: `histogram_quantile(${quantile}, sum by (${labels}) (${rateOf(`${histogram}_bucket`, matchers)}))`,
    legend: `p${quantile * 100}${names}`,
  }));
}

function thresholdsOf({ warnAt, badAt, lowIsBad = false }: Panel): ThresholdsConfigBuilder {
  const step = (color: string, value: number | undefined) => (value === undefined ? [] : [{ value, color }]);
  const steps = lowIsBad
    ? [{ value: null, color: 'red' }, ...step('orange', badAt), ...step('green', warnAt)]
    : [{ value: null, color: 'green' }, ...step('orange', warnAt), ...step('red', badAt)];
  return new ThresholdsConfigBuilder().mode(ThresholdsMode.Absolute).steps(steps);
}

/** Where a caller's slow request is found by its span, when no exemplar happens to be near. */
const TRACES_URL = `/explore?schemaVersion=1&panes=${encodeURIComponent(
  JSON.stringify({
    jaeger: {
      datasource: 'jaeger',
      queries: [{ refId: 'A', datasource: { type: 'jaeger', uid: 'jaeger' }, queryType: 'search', service: TAG }],
      range: { from: 'now-1h', to: 'now' },
    },
  }),
)}`;

function tracesLink(): DashboardLinkBuilder {
  return new DashboardLinkBuilder('Traces in Jaeger').type(DashboardLinkType.Link).url(TRACES_URL).targetBlank(true);
}

function targetsOf({ queries, traces = false, stat = false }: Panel): DataqueryBuilder[] {
  return queries.map(({ expr, legend }, index) => {
    const query = new DataqueryBuilder()
      .datasource(SOURCE)
      .refId(String.fromCharCode(65 + index))
      .expr(expr)
      .legendFormat(legend);
    if (stat) return query.instant();
    return traces ? query.range().exemplar(true) : query.range();
  });
}

function statOf(panel: Panel, id: number): StatBuilder {
  return new StatBuilder()
    .id(id)
    .title(panel.title)
    .description(panel.question)
    .datasource(SOURCE)
    .unit(panel.unit)
    .targets(targetsOf(panel))
    .thresholds(thresholdsOf(panel))
    .colorMode(BigValueColorMode.Background)
    .graphMode(BigValueGraphMode.None)
    .reduceOptions(new ReduceDataOptionsBuilder().calcs(['lastNotNull']))
    .span(panel.width ?? 4)
    .height(4);
}

function linesOf(panel: Panel, id: number): TimeSeriesBuilder {
  const legend = new VizLegendOptionsBuilder()
    .showLegend(true)
    .displayMode(LegendDisplayMode.Table)
    .placement(LegendPlacement.Bottom)
    .calcs(['lastNotNull', 'max']);
  const hasThresholds = panel.badAt !== undefined || panel.warnAt !== undefined;
  const style = hasThresholds ? GraphThresholdsStyleMode.Dashed : GraphThresholdsStyleMode.Off;
  const lines = new TimeSeriesBuilder()
    .id(id)
    .title(panel.title)
    .description(panel.question)
    .datasource(SOURCE)
    .unit(panel.unit)
    .min(0)
    .targets(targetsOf(panel))
    .thresholds(thresholdsOf(panel))
    .thresholdsStyle(new GraphThresholdsStyleConfigBuilder().mode(style))
    .legend(legend)
    .tooltip(new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Multi).sort(SortOrder.Descending))
    .showPoints(VisibilityMode.Never)
    .fillOpacity(panel.stacked === true ? 30 : 8)
    .span(panel.width ?? 8)
    .height(8);
  if (panel.stacked === true) lines.stacking(new StackingConfigBuilder().mode(StackingMode.Normal).group('A'));
  if (panel.traces === true) lines.links([tracesLink()]);
  return lines;
}

/** Panels fill lines of 24 from left to right; those of one line are of one height. */
export function buildDashboard({ uid, title, description, rows }: DashboardSpec) {
  const builder = new DashboardBuilder(title)
    .uid(uid)
    .description(description)
    .tags([TAG])
    .timezone('browser')
    .time({ from: 'now-1h', to: 'now' })
    .refresh('10s')
    .tooltip(DashboardCursorSync.Crosshair)
    .readonly()
    .withVariable(new DatasourceVariableBuilder('datasource').label('Prometheus').type('prometheus'))
    .link(
      new DashboardLinkBuilder('Messaging service')
        .type(DashboardLinkType.Dashboards)
        .tags([TAG])
        .asDropdown(true)
        .includeVars(true)
        .keepTime(true),
    );
  for (const [name, label, query] of [
    ['job', 'Job', 'label_values(dependency_up, job)'],
    ['instance', 'Process', 'label_values(dependency_up{job=~"$job"}, instance)'],
  ] as const) {
    const variable = new QueryVariableBuilder(name).label(label).datasource(SOURCE).query({ query, refId: name });
    const all = { selected: true, text: ['All'], value: ['$__all'] };
    builder.withVariable(variable.refresh(VariableRefresh.OnTimeRangeChanged).multi(true).includeAll(true).allValue('.+').current(all));
  }
  let id = 0;
  let top = 0;
  for (const row of rows) {
    id += 1;
    builder.withRow(new RowBuilder(row.title).id(id).gridPos({ x: 0, y: top, w: GRID, h: 1 }));
    top += 1;
    let left = 0;
    let lineHeight = 0;
    for (const panel of row.panels) {
      id += 1;
      const built = panel.stat === true ? statOf(panel, id) : linesOf(panel, id);
      const [w, h] = panel.stat === true ? [panel.width ?? 4, 4] : [panel.width ?? 8, 8];
      if (left + w > GRID) {
        top += lineHeight;
        left = 0;
        lineHeight = 0;
      }
      builder.withPanel(built.gridPos({ x: left, y: top, w, h }));
      left += w;
      lineHeight = Math.max(lineHeight, h);
    }
    top += lineHeight;
  }
  return builder.build();
}
