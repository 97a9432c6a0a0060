/** What a process holds, looked at again and again, and whether it becomes more. */
import { readdirSync } from 'node:fs';
import type pg from 'pg';
import { scrape } from '../support/scrape.ts';

export interface Watched {
  readonly name: string;
  readonly httpPort: number;
  readonly pid: number;
}

const MEASURES = ['rss', 'heap', 'external', 'handles', 'files'] as const;
export type Measure = (typeof MEASURES)[number];

export interface Sample extends Readonly<Record<Measure, number>> {
  readonly atMs: number;
}

const MB = 1_048_576;

/** RSS, heap and external memory in MB. Handles are what Node counts as active: sockets, timers, servers. */
export async function sample({ httpPort, pid }: Watched): Promise<Sample> {
  const metrics = await scrape({ httpPort });
  return {
    atMs: performance.now(),
    rss: metrics.sum('process_resident_memory_bytes') / MB,
    heap: metrics.sum('nodejs_heap_size_used_bytes') / MB,
    external: metrics.sum('nodejs_external_memory_bytes') / MB,
    handles: metrics.sum('nodejs_active_resources_total'),
    files: readdirSync(`/proc/${pid}/fd`).length,
  };
}

/** Sessions that PostgreSQL has for the service, and transactions that are left open in them. */
export async function databaseSessions(sql: pg.Pool): Promise<{ readonly sessions: number; readonly idleInTransaction: number }> {
  const { rows } = await sql.query<{ sessions: number; idle: number }>(`
    select count(*)::integer as sessions,
      count(*) filter (where state = 'idle in transaction' and state_change < clock_timestamp() - interval '10 seconds')::integer as idle
    from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'`);
  return { sessions: rows[0]?.sessions ?? 0, idleInTransaction: rows[0]?.idle ?? 0 };
}

export interface Trend {
  readonly measure: Measure;
  readonly median: number;
  readonly most: number;
  /** By the line of least squares, over the whole of the samples. */
  readonly growth: number;
}

const medianOf = (values: readonly number[]): number => values.toSorted((left, right) => left - right)[Math.floor(values.length / 2)] ?? 0;

/** Rise of the line of least squares from the first sample to the last. */
function growthOf(points: readonly (readonly [x: number, y: number])[]): number {
  const count = points.length;
  if (count < 2) return 0;
  const meanX = points.reduce((sum, [x]) => sum + x, 0) / count;
  const meanY = points.reduce((sum, [, y]) => sum + y, 0) / count;
  const above = points.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0);
  const below = points.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0);
  const [first, last] = [points[0]?.[0] ?? 0, points.at(-1)?.[0] ?? 0];
  return below === 0 ? 0 : (above / below) * (last - first);
}

export const trendsOf = (samples: readonly Sample[]): readonly Trend[] =>
  MEASURES.map((measure) => {
    const values = samples.map((one) => one[measure]);
    return {
      measure,
      median: medianOf(values),
      most: Math.max(...values),
      growth: growthOf(samples.map(({ atMs, [measure]: value }) => [atMs, value] as const)),
    };
  });
