import { setTimeout as delay } from 'node:timers/promises';
import type { Outbox } from '../domain/ports.ts';
import type { Log } from '../telemetry/log.ts';

const INTERVAL_MS = 60_000;
const BATCH_ROWS = 10_000;
const CLOSE_PATIENCE_MS = 500;

/**
 * For a process without a cache: removes what nobody relays, or the outbox would grow for ever. A cache that is switched on later is
 * emptied before it is used, because it has not got these changes.
 */
export function discardChanges(outbox: Outbox, log: Log, intervalMs = INTERVAL_MS): AsyncDisposable {
  const stopping = new AbortController();
  const { signal } = stopping;

  async function discard(): Promise<void> {
    await using lease = await outbox.tryLease();
    if (lease === undefined) return;
    let changes = await lease.read(BATCH_ROWS);
    if (changes.length > 0) await lease.setAppliedTo('');
    while (changes.length > 0 && !signal.aborted) {
      await lease.remove(changes);
      changes = await lease.read(BATCH_ROWS);
    }
  }

  async function run(): Promise<void> {
    while (!signal.aborted) {
      await discard().catch((error: unknown) => log.debug({ err: error }, 'the outbox could not be emptied; trying again later'));
      await delay(intervalMs, undefined, { signal }).catch(() => undefined);
    }
  }

  const running = run();
  return {
    async [Symbol.asyncDispose]() {
      stopping.abort();
      // A question that nobody answers must not keep the process.
      await Promise.race([running, delay(CLOSE_PATIENCE_MS)]);
    },
  };
}
