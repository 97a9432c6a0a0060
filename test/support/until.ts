import { setTimeout as delay } from 'node:timers/promises';

const INTERVAL_MS = 20;

/** Waits for a fact. Throws with its name when it has not come true in time; an error of `fact` counts as not yet. */
export async function until(what: string, fact: () => Promise<boolean> | boolean, timeoutMs = 60_000): Promise<void> {
  const givesUpAtMs = performance.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      if (await fact()) return;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (performance.now() > givesUpAtMs) throw new Error(`${what}: not within ${timeoutMs} ms`, { cause: last });
    await delay(INTERVAL_MS);
  }
}
