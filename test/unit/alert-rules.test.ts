/** deploy/rules: each alert fires when it should and is silent when it should not, says what it means, and leads to the runbook. */
import { spawnSync } from 'node:child_process';
import { describe, expect, test } from 'vitest';
import { deployedRules, metricsIn, ruleTestFiles, ruleTests } from '../support/deployed.ts';
import { missingPrometheus } from '../support/prometheus.ts';

const PROMTOOL_TIMEOUT_MS = 300_000;

const alerts = deployedRules().flatMap(({ alert, ...rule }) => (alert === undefined ? [] : [{ alert, ...rule }]));
const recorded = new Set(deployedRules().flatMap(({ record }) => record ?? []));

/** Its output on failure tells which alert, when, and what came instead. */
function promtool(...args: readonly string[]): void {
  const { status, stdout, stderr, error } = spawnSync('promtool', args, { encoding: 'utf8', timeout: PROMTOOL_TIMEOUT_MS });
  if (error !== undefined) throw new Error(`promtool cannot be run: ${error.message}; see \`make peers\``);
  if (status !== 0) throw new Error(`promtool ${args.join(' ')} ended with ${status}:\n${stdout}\n${stderr}`);
}

describe('promtool', () => {
  test('takes the configuration, rules included', (context) => {
    const missing = missingPrometheus();
    if (missing !== undefined) return context.skip(`missing on this machine: ${missing}`);
    promtool('check', 'config', 'deploy/prometheus.yml');
  });

  test.for(ruleTestFiles)('finds that alerts fire and are silent as %s says', { timeout: PROMTOOL_TIMEOUT_MS }, (path, context) => {
    const missing = missingPrometheus();
    if (missing !== undefined) return context.skip(`missing on this machine: ${missing}`);
    promtool('test', 'rules', path);
  });
});

describe('every alert', () => {
  test.for(alerts)('$alert ($labels.severity) has a severity, words for people and a section of the runbook', (rule) => {
    expect(['page', 'ticket']).toContain(rule.labels?.['severity']);
    expect(Object.keys(rule.annotations ?? {}).sort()).toEqual(['description', 'runbook_url', 'summary']);
    expect(rule.annotations?.['runbook_url']).toBe(`{{ $externalLabels.runbook }}#${rule.alert.toLowerCase()}`);
    expect(rule.annotations?.['summary']).not.toMatch(/\.$/);
    expect(rule.annotations?.['description']).toMatch(/\.$/);
  });

  test.for(alerts)('$alert ($labels.severity) is tested firing and silent', ({ alert, labels }) => {
    const tests = ruleTests().filter(({ alertname }) => alertname === alert);
    const severities = tests.map(({ exp_alerts }) => exp_alerts.map(({ exp_labels }) => exp_labels['severity']));
    expect(severities.some((fired) => fired.includes(labels?.['severity']))).toBe(true);
    expect(severities.some((fired) => fired.length === 0)).toBe(true);
  });

  test('stands on recorded series that are recorded', () => {
    for (const { expr } of alerts) {
      for (const name of metricsIn(expr)) if (name.includes(':')) expect(recorded).toContain(name);
    }
  });
});
