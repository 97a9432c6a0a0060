/** deploy/grafana/dashboards, without a Grafana: what it would show, and whether people can read it. */
import { describe, expect, test } from 'vitest';
import { type DeployedPanel, deployedDashboards, deployedRules, metricsIn } from '../support/deployed.ts';

const dashboards = deployedDashboards();
const panels = dashboards.flatMap(({ title, panels: own }) =>
  own.filter(({ type }) => type !== 'row').map((panel) => ({ dashboard: title, title: panel.title, panel })),
);
const recorded = new Set(deployedRules().flatMap(({ record }) => record ?? []));

const overlap = (one: DeployedPanel['gridPos'], other: DeployedPanel['gridPos']): boolean =>
  one.x < other.x + other.w && other.x < one.x + one.w && one.y < other.y + other.h && other.y < one.y + one.h;

describe('dashboards', () => {
  test('are of calls, cache, delivery and dependencies, each under a name of its own', () => {
    expect(dashboards.map(({ uid }) => uid).sort()).toEqual([
      'messaging-cache',
      'messaging-delivery',
      'messaging-dependencies',
      'messaging-rpc',
    ]);
  });

  test.for(dashboards)(
    '$title has variables for Prometheus, job and process, and puts no panel over another',
    ({ templating, panels: all }) => {
      expect(templating.list.map(({ name }) => name)).toEqual(['datasource', 'job', 'instance']);
      expect(new Set(all.map(({ id }) => id)).size).toBe(all.length);
      for (const [index, { gridPos }] of all.entries()) {
        expect(gridPos.x + gridPos.w).toBeLessThanOrEqual(24);
        for (const other of all.slice(index + 1)) expect([gridPos, other.gridPos, overlap(gridPos, other.gridPos)].at(-1)).toBe(false);
      }
    },
  );

  test.for(panels)('$dashboard: $title says what it answers, in which unit', ({ panel }) => {
    expect(panel.description?.length).toBeGreaterThan(20);
    expect(panel.fieldConfig?.defaults.unit).toMatch(/^(ops|s|percentunit|short|bytes|none)$/);
    expect(panel.fieldConfig?.defaults.thresholds?.steps.length).toBeGreaterThan(0);
    expect(panel.targets?.length).toBeGreaterThan(0);
    for (const { legendFormat, expr } of panel.targets ?? []) {
      expect(legendFormat).not.toBe('');
      expect(expr).toContain('$job');
      for (const name of metricsIn(expr)) if (name.includes(':')) expect(recorded).toContain(name);
    }
  });

  test.for(panels)('$dashboard: $title can be narrowed to one process, where it is not about all', ({ panel }) => {
    for (const { expr } of panel.targets ?? []) if (!/job:|ALERTS/.test(expr)) expect(expr).toContain('instance=~"$instance"');
  });

  test('lead from latencies of calls to their traces', () => {
    const latencies = panels.filter(({ panel }) =>
      panel.targets?.some(({ expr }) => /rpc_server_call_duration|handling_seconds/.test(expr)),
    );
    expect(latencies.length).toBeGreaterThan(2);
    for (const { panel } of latencies) {
      expect(panel.targets?.every(({ exemplar }) => exemplar)).toBe(true);
      expect(panel.links?.[0]?.url).toMatch(/^\/explore\?.*jaeger/);
    }
  });
});
