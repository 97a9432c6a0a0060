import type { Upkeep } from '../domain/delivery-ports.ts';
import type { Clock } from '../domain/ports.ts';

/** Something whose old rows go: deletes up to `limit` of them and returns how many. */
export interface Retention {
  readonly name: string;
  readonly days: number;
  prune(before: Date, limit: number): Promise<number>;
}

export interface Swept {
  readonly requeued: number;
  readonly pruned: Readonly<Record<string, number>>;
}

const BATCH_ROWS = 1_000;
/** What is left then is the next minute's. 200,000 rows a minute keep up with a log that grows by 3,000 a second. */
const MAX_BATCHES = 200;
const DAY_MS = 86_400_000;

async function inBatches(work: (limit: number) => Promise<number>): Promise<number> {
  let total = 0;
  for (let batch = 0; batch < MAX_BATCHES; batch += 1) {
    const done = await work(BATCH_ROWS);
    total += done;
    if (done < BATCH_ROWS) break;
  }
  return total;
}

/**
 * Once a minute, in one process: messages that have lost their job get it back, and what is old goes. A step that fails does not keep
 * the others from their turn; then throws what the first one threw.
 */
export function createHousekeeping(options: { readonly upkeep: Upkeep; readonly retention: readonly Retention[]; readonly clock: Clock }) {
  const { upkeep, retention, clock } = options;
  return async (): Promise<Swept> => {
    const failures: unknown[] = [];
    const step = async (work: (limit: number) => Promise<number>): Promise<number> => {
      try {
        return await inBatches(work);
      } catch (error) {
        failures.push(error);
        return 0;
      }
    };
    const requeued = await step((limit) => upkeep.requeueLost(limit));
    const pruned: Record<string, number> = { spent_jobs: await step((limit) => upkeep.removeSpentJobs(limit)) };
    for (const { name, days, prune } of retention) {
      const before = new Date(clock.now().getTime() - days * DAY_MS);
      pruned[name] = await step((limit) => prune(before, limit));
    }
    if (failures.length > 0) throw failures[0];
    return { requeued, pruned };
  };
}
