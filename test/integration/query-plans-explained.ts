import pg from 'pg';
import { vi } from 'vitest';
import { PREPARED } from '../../src/db/prepared-statements.ts';

interface PlanNode {
  readonly 'Node Type': string;
  readonly 'Relation Name'?: string;
  readonly 'Index Name'?: string;
  readonly 'Actual Rows': number;
  readonly 'Actual Loops': number;
  readonly 'Rows Removed by Filter'?: number;
  readonly Plans?: readonly PlanNode[];
}

const READS_TABLES =
  /^\s*(select|with|update|delete)\b.*\b(messages|conversations|message_events|suppressions|webhook_requests|delivery_attempts|conversation_log)\b/is;

/** How PostgreSQL runs what `work` asks of it, word for word and value for value. */
export async function explained(client: pg.Client, work: () => Promise<unknown>): Promise<readonly PlanNode[]> {
  const spy = vi.spyOn(pg.Client.prototype, 'query');
  try {
    await work();
    const asked = (spy.mock.calls as readonly unknown[][]).flatMap(([first, second]) => {
      const { text, values } = typeof first === 'string' ? { text: first, values: second } : (first as pg.QueryConfig);
      return READS_TABLES.test(text) ? [{ text, values: values as unknown[] }] : [];
    });
    spy.mockRestore();
    const plans: PlanNode[] = [];
    for (const { text, values } of asked) {
      await client.query('begin');
      // What is prepared is planned for any values, sooner or later.
      if (text.endsWith(PREPARED)) await client.query('set local plan_cache_mode = force_generic_plan');
      const { rows } = await client.query<{ 'QUERY PLAN': readonly { readonly Plan: PlanNode }[] }>(
        `explain (analyze, timing off, format json) ${text}`,
        values,
      );
      await client.query('rollback');
      plans.push(...(rows[0]?.['QUERY PLAN'] ?? []).map(({ Plan }) => Plan));
    }
    return plans;
  } finally {
    spy.mockRestore();
  }
}

export const nodesOf = (node: PlanNode): readonly PlanNode[] => [node, ...(node.Plans ?? []).flatMap(nodesOf)];
const isScanOfRows = (node: PlanNode): boolean => node['Relation Name'] !== undefined && node['Node Type'].endsWith('Scan');

export function rowsRead(plan: PlanNode): number {
  const scans = nodesOf(plan).filter(isScanOfRows);
  return scans.reduce((sum, node) => sum + (node['Actual Rows'] + (node['Rows Removed by Filter'] ?? 0)) * node['Actual Loops'], 0);
}

/** Whole tables that are read, whether or not they are sorted afterwards. */
export function tablesRead(plan: PlanNode): readonly string[] {
  return nodesOf(plan).flatMap((node) => (node['Node Type'].endsWith('Seq Scan') ? (node['Relation Name'] ?? []) : []));
}
