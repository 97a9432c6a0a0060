/** Reads of single rows, queued: at most a few statements at a time, each for all ids that wait. */

export interface LoadQueue<View> {
  /**
   * The row as of a statement that begins after this call. Callers that wait for the same id share it; nobody joins a statement that
   * has begun, for it may have missed what was committed since. Rejects with what `load` rejects with.
   */
  load(id: string): Promise<View | undefined>;
  /** Mean time of a load in ms, the latest counting most. */
  meanMs(): number;
}

export interface LoadQueueOptions<View> {
  /** Absent ids are missing from the map. */
  readonly load: (ids: readonly string[]) => Promise<ReadonlyMap<string, View>>;
  /** Statements at once; the rest wait, so that losing Redis does not take all connections to PostgreSQL. */
  readonly concurrency: number;
  readonly nowMs: () => number;
}

const MAX_IDS = 100;
const MEAN_WEIGHT = 0.1;

interface Waiting<View> {
  readonly promise: Promise<View | undefined>;
  resolve(view: View | undefined): void;
  reject(reason: unknown): void;
}

function firstOf<Key, Value>(entries: Iterable<readonly [Key, Value]>, count: number): readonly (readonly [Key, Value])[] {
  const taken: (readonly [Key, Value])[] = [];
  for (const entry of entries) {
    if (taken.length === count) break;
    taken.push(entry);
  }
  return taken;
}

export function createLoadQueue<View>({ load, concurrency, nowMs }: LoadQueueOptions<View>): LoadQueue<View> {
  const waiting = new Map<string, Waiting<View>>();
  let running = 0;
  let scheduled = false;
  let meanMs = 1;

  async function run(batch: readonly (readonly [string, Waiting<View>])[]): Promise<void> {
    const beganMs = nowMs();
    try {
      const found = await load(batch.map(([id]) => id));
      meanMs += (nowMs() - beganMs - meanMs) * MEAN_WEIGHT;
      for (const [id, { resolve }] of batch) resolve(found.get(id));
    } catch (error) {
      for (const [, { reject }] of batch) reject(error);
    } finally {
      running -= 1;
      start();
    }
  }

  function start(): void {
    scheduled = false;
    while (running < concurrency && waiting.size > 0) {
      const batch = firstOf(waiting, MAX_IDS);
      for (const [id] of batch) waiting.delete(id);
      running += 1;
      void run(batch);
    }
  }

  return {
    load(id) {
      const known = waiting.get(id);
      if (known !== undefined) return known.promise;
      const entry = Promise.withResolvers<View | undefined>();
      waiting.set(id, entry);
      // Ids that are asked for together go into one statement.
      if (!scheduled) {
        scheduled = true;
        queueMicrotask(start);
      }
      return entry.promise;
    },
    meanMs: () => meanMs,
  };
}
