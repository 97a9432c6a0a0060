/** What deploy/ tells Prometheus and Grafana, parsed. */
import { readdirSync, readFileSync } from 'node:fs';
import { parse } from 'yaml';

export interface DeployedRule {
  readonly record?: string;
  readonly alert?: string;
  readonly expr: string;
  readonly for?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

export interface DeployedPanel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly fieldConfig?: { readonly defaults: { readonly unit?: string; readonly thresholds?: { readonly steps: readonly unknown[] } } };
  readonly targets?: readonly {
    readonly refId: string;
    readonly expr: string;
    readonly legendFormat: string;
    readonly exemplar?: boolean;
  }[];
  readonly links?: readonly { readonly url: string }[];
}

export interface DeployedDashboard {
  readonly uid: string;
  readonly title: string;
  readonly templating: { readonly list: readonly { readonly name: string; readonly query: unknown }[] };
  readonly panels: readonly DeployedPanel[];
}

const rulesFolder = 'deploy/rules';
const dashboardsFolder = 'deploy/grafana/dashboards';

const yamlIn = (folder: string): readonly string[] => readdirSync(folder).filter((name) => name.endsWith('.yml'));

export function deployedRules(): readonly DeployedRule[] {
  return yamlIn(rulesFolder).flatMap((name) => {
    const { groups } = parse(readFileSync(`${rulesFolder}/${name}`, 'utf8')) as { groups: readonly { rules: readonly DeployedRule[] }[] };
    return groups.flatMap(({ rules }) => rules);
  });
}

export interface RuleTest {
  readonly alertname: string;
  readonly exp_alerts: readonly { readonly exp_labels: Readonly<Record<string, string>> }[];
}

export const ruleTestFiles: readonly string[] = yamlIn(`${rulesFolder}/tests`).map((name) => `${rulesFolder}/tests/${name}`);

export function ruleTests(): readonly RuleTest[] {
  return ruleTestFiles.flatMap((path) => {
    const { tests } = parse(readFileSync(path, 'utf8')) as { tests: readonly { alert_rule_test: readonly RuleTest[] }[] };
    return tests.flatMap(({ alert_rule_test }) => alert_rule_test);
  });
}

export function deployedDashboards(): readonly DeployedDashboard[] {
  return readdirSync(dashboardsFolder).map((name) => JSON.parse(readFileSync(`${dashboardsFolder}/${name}`, 'utf8')));
}

/** Names of metrics that a PromQL expression selects. */
export function metricsIn(expr: string): ReadonlySet<string> {
  const bare = expr
    .replaceAll(/#.*$/gm, '')
    .replaceAll(/"(?:[^"\\]|\\.)*"/g, '')
    .replaceAll(/\{[^}]*\}/g, '{}')
    .replaceAll(/\b(by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)/g, ' ')
    .replaceAll(/\[[^\]]*\]/g, ' ');
  const words = [...bare.matchAll(/(?<![\d.])\b[a-zA-Z_][\w:]*(?!\w*\s*\()/g)].map(([word]) => word);
  return new Set(words.filter((word) => !['and', 'or', 'unless', 'bool', 'offset'].includes(word)));
}
