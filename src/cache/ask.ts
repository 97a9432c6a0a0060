import type { CachedEntity } from '../domain/ports.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { Breaker } from './breaker.ts';
import { isReply } from './redis.ts';

/** Runs a command; undefined on any trouble, which the breaker counts when Redis did not answer at all. */
export type Ask = <T>(operation: 'get' | 'set' | 'delete', entity: CachedEntity, command: () => Promise<T>) => Promise<T | undefined>;

export interface AskOptions {
  readonly breaker: Breaker;
  readonly nowMs: () => number;
  readonly metrics: Metrics;
  readonly log: Log;
}

export function createAsk({ breaker, nowMs, metrics, log }: AskOptions): Ask {
  return async (operation, entity, command) => {
    const startedMs = nowMs();
    try {
      const reply = await command();
      breaker.succeeded();
      metrics.cacheAnswered(operation, entity, (nowMs() - startedMs) / 1_000);
      return reply;
    } catch (error) {
      if (isReply(error)) breaker.succeeded();
      else breaker.failed();
      metrics.trackCacheOperation(operation, 'error', entity);
      log.debug({ err: error, operation, entity }, 'redis command failed');
      return undefined;
    }
  };
}
