/** A watcher that lives through all restarts, and what it must have been told. */
import { setTimeout as wait } from 'node:timers/promises';
import { type MessagingClientOptions, MessagingError } from '../../src/client/messaging-client.ts';
import { clientOfItsOwn } from './restart-load.ts';

export interface Watched {
  /** Events that came. */
  readonly events: number;
  /** Of those, the ones that had come before. */
  readonly again: number;
  /** Times the stream went on in another call. */
  readonly resumed: number;
  /** Sequence numbers that never came. */
  readonly missing: number;
  /** First tellings that came before an earlier one of their conversation. */
  readonly outOfOrder: number;
  /** Acknowledged messages that it was never told of. */
  readonly untold: number;
}

export interface Watcher {
  /** Resolves when every message with these ids was told of, or after a while; then leaves. Throws when the stream failed. */
  finish(ids: readonly string[]): Promise<Watched>;
}

const PATIENCE_MS = 30_000;
const POLL_MS = 50;
/** Of its connection, beside those of the callers. */
const OWN_CONNECTION = 1_000;

export async function startWatcher(address: string, access: MessagingClientOptions, index: number): Promise<Watcher> {
  let [resumed, events, again, outOfOrder] = [0, 0, 0, 0];
  const client = clientOfItsOwn(address, OWN_CONNECTION + index, {
    ...access,
    onRetry: ({ attempts }) => {
      if (attempts === 1) resumed += 1;
    },
  });
  const sequences = new Map<string, Set<number>>();
  const told = new Set<string>();
  const leaving = new AbortController();
  const begun = Promise.withResolvers<void>();

  async function follow(): Promise<void> {
    for await (const { payload } of client.messages.watchMessages({}, { signal: leaving.signal })) {
      begun.resolve();
      if (payload.case !== 'change' || payload.value.event === undefined) continue;
      const { message, event } = payload.value;
      const [conversation, sequence] = [message?.conversationId ?? '', Number(event.sequence)];
      events += 1;
      told.add(message?.id ?? '');
      const seen = sequences.get(conversation) ?? new Set<number>();
      sequences.set(conversation, seen);
      if (seen.has(sequence)) again += 1;
      else if (sequence < Math.max(...seen)) outOfOrder += 1;
      seen.add(sequence);
    }
  }
  const following = follow().catch((error: unknown) => {
    begun.reject(error);
    if (!leaving.signal.aborted || !(error instanceof MessagingError)) throw error;
  });
  await begun.promise;
  return {
    async finish(ids) {
      const untilMs = performance.now() + PATIENCE_MS;
      const untold = () => ids.filter((id) => !told.has(id)).length;
      while (untold() > 0 && performance.now() < untilMs) await Promise.race([following, wait(POLL_MS)]);
      leaving.abort();
      await following;
      client.close();
      const missing = [...sequences.values()].reduce((sum, seen) => sum + Math.max(...seen) - Math.min(...seen) + 1 - seen.size, 0);
      return { events, again, resumed, missing, outOfOrder, untold: untold() };
    },
  };
}
