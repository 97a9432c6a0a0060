/** Frees the jobs of processes that are gone: the queue itself would keep them locked for hours. */
import { setTimeout as delay } from 'node:timers/promises';
import type { Pool } from 'pg';
import type { Log } from '../telemetry/log.ts';

export interface WatchWorkersOptions {
  readonly pgPool: Pool;
  /** Ids under which this process locks jobs. */
  readonly pools: ReadonlySet<string>;
  readonly signal: AbortSignal;
  readonly log: Log;
  readonly workerLostMs: number;
}

/** Signs of life in the time after which a process counts as gone. */
const BEATS = 5;

const SEEN = `
  insert into queue_workers (pool_id, seen_at) select unnest($1::text[]), clock_timestamp()
  on conflict (pool_id) do update set seen_at = excluded.seen_at`;
/**
 * A job that was locked a moment ago may be of a process that has not been seen yet. Each gets a new id: a process that was only slow
 * deletes its job by the id it knows, and what was scheduled meanwhile, for which the queue uses the same row, would be gone with it.
 */
const FREE_LOST = `
  update graphile_worker._private_jobs set id = default, locked_at = null, locked_by = null
  where locked_at < clock_timestamp() - make_interval(secs => $1) and not exists (
    select from queue_workers where pool_id = locked_by and seen_at > clock_timestamp() - make_interval(secs => $1)
  )`;
const FORGET = `delete from queue_workers where seen_at < clock_timestamp() - interval '1 hour'`;

/** Runs until the signal is aborted. A process that was only slow finds its jobs taken over; attempts at delivery guard themselves. */
export async function watchWorkers({ pgPool, pools, signal, log, workerLostMs }: WatchWorkersOptions): Promise<void> {
  while (!signal.aborted) {
    try {
      await pgPool.query(SEEN, [[...pools]]);
      const { rowCount } = await pgPool.query(FREE_LOST, [workerLostMs / 1_000]);
      if (rowCount !== null && rowCount > 0) log.info({ jobs: rowCount }, 'freed the jobs of workers that are gone');
      await pgPool.query(FORGET);
    } catch (error) {
      if (!signal.aborted) log.debug({ err: error }, 'workers could not be looked after; trying again');
    }
    await delay(workerLostMs / BEATS, undefined, { signal }).catch(() => undefined);
  }
}
