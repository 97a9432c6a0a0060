/** `work` and its turn; rejects with the reason of `signal` as soon as it is aborted. */
export type Slots = <T>(work: () => Promise<T>, signal: AbortSignal) => Promise<T>;

/**
 * Lets so many run at once; the others wait, first come first served. Who gives up while waiting never runs. While the last that ended
 * met an outage nobody waits: what cannot run at once is refused with its error, or silence of the database would add up in the queue.
 */
export function createSlots(count: number, isOutage: (error: unknown) => boolean): Slots {
  const waiting = new Set<PromiseWithResolvers<void>>();
  let free = count;
  let outage: { readonly error: unknown } | undefined;

  function release(): void {
    const [next] = waiting;
    if (next === undefined) free += 1;
    else {
      waiting.delete(next);
      next.resolve();
    }
  }

  function ended(error?: unknown): void {
    outage = isOutage(error) ? { error } : undefined;
    if (outage === undefined) return;
    for (const turn of waiting) turn.reject(error);
    waiting.clear();
  }

  async function run<T>(work: () => Promise<T>, turn: PromiseWithResolvers<void>, signal: AbortSignal): Promise<T> {
    if (free > 0) free -= 1;
    else {
      if (outage !== undefined) throw outage.error;
      waiting.add(turn);
      await turn.promise;
    }
    if (signal.aborted) {
      // Its turn came in the moment in which it gave up.
      release();
      throw signal.reason;
    }
    try {
      const result = await work();
      ended();
      return result;
    } catch (error) {
      ended(error);
      throw error;
    } finally {
      release();
    }
  }

  return async (work, signal) => {
    signal.throwIfAborted();
    const turn = Promise.withResolvers<void>();
    const givenUp = Promise.withResolvers<never>();
    const giveUp = () => {
      if (waiting.delete(turn)) turn.reject(signal.reason);
      givenUp.reject(signal.reason);
    };
    signal.addEventListener('abort', giveUp);
    try {
      return await Promise.race([run(work, turn, signal), givenUp.promise]);
    } finally {
      signal.removeEventListener('abort', giveUp);
    }
  };
}
