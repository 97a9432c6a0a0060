/** Whether this process may answer from Redis: only while the relay's watermark stands, and for the Redis that it is connected to. */
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { RedisConnection } from './redis.ts';

/** Valid until the next loss of a connection. */
export type TrustTicket = number;

export interface Trust extends AsyncDisposable {
  /** undefined: not trusted now; read from PostgreSQL and fill nothing. */
  ticket(): TrustTicket | undefined;
  /** False when a connection was lost since: what was read, or a lease that was taken, may be of another Redis. */
  holds(ticket: TrustTicket): boolean;
}

export interface TrustOptions {
  readonly connection: Pick<RedisConnection, 'commands' | 'generation' | 'runIds'>;
  readonly watermarkKey: string;
  /** Monotonic, in ms. */
  readonly nowMs: () => number;
  /** Resolves after `ms`, or at once when the signal is aborted. */
  readonly wait: (ms: number, signal?: AbortSignal) => Promise<void>;
  readonly metrics: Metrics;
  readonly log: Log;
}

/** Short beside the watermark's life, so that a watermark of another Redis is noticed soon. */
const POLL_MS = 200;
const CLOSE_PATIENCE_MS = 500;
/** Longer than it takes to connect, to lead, to empty a small cache and to look. */
const START_PATIENCE_MS = 3_000;
/** While there is none the first one is awaited. */
const SEARCH_MS = 20;

export function watchTrust(options: TrustOptions): Trust {
  const { connection, watermarkKey, nowMs, wait, metrics, log } = options;
  const stopping = new AbortController();
  let trustedUntilMs = Number.NEGATIVE_INFINITY;
  let trustedGeneration = -1;
  const isTrusted = (): boolean => nowMs() < trustedUntilMs && connection.generation() === trustedGeneration;

  async function look(): Promise<void> {
    const generation = connection.generation();
    // The time it has left is counted from before the question: the answer may have taken long.
    const askedMs = nowMs();
    const [ownRunIds, watermark] = await Promise.all([connection.runIds(), connection.commands.findWatermark(watermarkKey)]);
    if (watermark === undefined || watermark.runIds !== ownRunIds) {
      trustedUntilMs = Number.NEGATIVE_INFINITY;
      return;
    }
    trustedUntilMs = askedMs + watermark.ttlMs;
    trustedGeneration = generation;
  }

  async function watch(signal: AbortSignal): Promise<void> {
    let told = false;
    let patientUntilMs = nowMs() + START_PATIENCE_MS;
    while (!signal.aborted) {
      // Without an answer the last watermark counts until it runs out.
      await look().catch(() => undefined);
      const trusted = isTrusted();
      if (trusted && !told) log.info('cache is trusted');
      // At the start it takes a moment; after that it is worth a word at once.
      if (!trusted && (told || nowMs() >= patientUntilMs)) {
        log.warn('cache is not trusted: no current watermark of the relay; answering from PostgreSQL');
        patientUntilMs = Number.POSITIVE_INFINITY;
      }
      told = trusted;
      await wait(trusted ? POLL_MS : SEARCH_MS, signal);
    }
  }

  metrics.watchTrust(isTrusted);
  const watching = watch(stopping.signal);
  return {
    ticket: () => (isTrusted() ? trustedGeneration : undefined),
    holds: (ticket) => connection.generation() === ticket,
    async [Symbol.asyncDispose]() {
      stopping.abort();
      // A question that nobody answers must not keep the process.
      await Promise.race([watching, wait(CLOSE_PATIENCE_MS)]);
    },
  };
}
