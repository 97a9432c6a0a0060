/** Runs the jobs of the queue. Knows jobs, not messages. */
import { EventEmitter } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import { type Runner, run, type WorkerEvents } from 'graphile-worker';
import type { Pool } from 'pg';
import type { Log } from '../telemetry/log.ts';
import { queueLogger } from './queue-logger.ts';
import { openQueuePool } from './queue-pool.ts';
import { watchWorkers } from './watch-workers.ts';

export type Task = (payload: unknown) => Promise<void>;

/** Jobs that share a number of places; those of other lanes do not wait for them. */
export interface Lane {
  /** Jobs at once in this process. */
  readonly concurrency: number;
  /** By the name under which jobs are added. */
  readonly tasks: Readonly<Record<string, Task>>;
  /** When to add jobs by the clock, in the syntax of crontab; one process of all does. */
  readonly crontab?: string;
}

export interface QueueOptions {
  readonly connectionString: string;
  readonly lanes: readonly Lane[];
  readonly log: Log;
  /** After a process has not been seen for this long its jobs are others' again, in ms. */
  readonly workerLostMs: number;
  /** Jobs that are still running this long after a stop are left to others, in ms. */
  readonly closePatienceMs: number;
}

const POLL_INTERVAL_MS = 1_000;
const RESTART_MS = 500;
/** Connections of a lane, one of which listens; jobs work on the service's own. */
const LANE_CONNECTIONS = 3;
/** Otherwise nobody would hear of it when the end of a job cannot be written down, and the process would end. */
const AT_ONCE = { completeJobBatchDelay: 0, failJobBatchDelay: 0 };

/** For the ends of jobs that are still to be written down when a lane has stopped. */
const FLUSH_MS = 5_000;

/** Resolves when it does nothing any more. When ends of jobs could not be written down it may stop short of settling its own promise. */
async function ended(runner: Runner, events: WorkerEvents): Promise<void> {
  const { promise: stopped, resolve } = Promise.withResolvers<void>();
  for (const event of ['pool:gracefulShutdown:complete', 'pool:gracefulShutdown:error'] as const) {
    events.on(event, () => setTimeout(resolve, FLUSH_MS).unref());
  }
  await Promise.race([runner.promise, stopped]);
}

/** A lane that ends, as when PostgreSQL went away, begins again. */
async function runLane(lane: Lane, pgPool: Pool, pools: Set<string>, log: Log, signal: AbortSignal): Promise<void> {
  let failing = false;
  while (!signal.aborted) {
    const events: WorkerEvents = new EventEmitter();
    let poolId: string | undefined;
    events.on('pool:create', ({ workerPool }) => {
      poolId = workerPool.id;
      pools.add(workerPool.id);
    });
    try {
      const runner: Runner = await run({
        pgPool,
        concurrency: lane.concurrency,
        pollInterval: POLL_INTERVAL_MS,
        noHandleSignals: true,
        taskList: { ...lane.tasks },
        crontab: lane.crontab ?? '',
        preset: { worker: AT_ONCE },
        events,
        logger: queueLogger(log),
      });
      failing = false;
      const stop = (): void => void runner.stop().catch(() => undefined);
      signal.addEventListener('abort', stop, { once: true });
      // PostgreSQL may have given it a job although the answer was lost. Under another name of the lane it counts as that of one that is gone.
      events.once('worker:getJob:error', stop);
      if (signal.aborted) stop();
      await ended(runner, events);
      signal.removeEventListener('abort', stop);
    } catch (error) {
      if (!failing && !signal.aborted) log.warn({ err: error }, 'the queue cannot be worked on; trying again until it can');
      failing = true;
    }
    if (poolId !== undefined) pools.delete(poolId);
    if (!signal.aborted) await delay(RESTART_MS, undefined, { signal }).catch(() => undefined);
  }
}

/** Starts at once, whether PostgreSQL answers or not. Disposing takes no more jobs and lets running ones end. */
export function startQueue(options: QueueOptions): AsyncDisposable {
  const [stopping, stopped] = [new AbortController(), new AbortController()];
  const pools = new Set<string>();
  const { connectionString, log, workerLostMs, closePatienceMs } = options;
  const pgPool = openQueuePool({ connectionString, max: options.lanes.length * LANE_CONNECTIONS + 1 });
  const lanes = options.lanes.map((lane) => runLane(lane, pgPool, pools, log, stopping.signal));
  void watchWorkers({ pgPool, pools, signal: stopped.signal, log, workerLostMs });
  return {
    async [Symbol.asyncDispose]() {
      stopping.abort();
      await Promise.race([Promise.all(lanes), delay(closePatienceMs, undefined, { ref: false })]);
      // Not before: others would take its jobs for those of a process that is gone.
      stopped.abort();
      // Not waited for: a server that is gone never says goodbye.
      void pgPool.end().catch(() => undefined);
    },
  };
}
