import type { CachedEntity } from '../domain/ports.ts';
import type { Log } from '../telemetry/log.ts';
import type { CacheOperation, Metrics } from '../telemetry/metrics.ts';
import type { Breaker } from './breaker.ts';
import { isReply } from './redis.ts';

/** Runs a command; undefined on any trouble, which the breaker counts when Redis did not answer at all. */
export type Ask = <T>(operation: CacheOperation, entity: CachedEntity, command: () => Promise<T>) => Promise<T | undefined>;

export interface AskOptions {
  readonly breaker: Breaker;
  readonly nowMs: () => number;
  readonly metrics: Metrics;
  readonly log: Log;
}

export function createAsk({ breaker, nowMs, metrics, log }: AskOptions): Ask {
  const bound = (operation: CacheOperation, entity: CachedEntity) => ({
    duration: metrics.cacheDuration(operation, entity),
    errors: metrics.cacheOperations(operation, 'error', entity),
  });
  const metricsOf = (entity: CachedEntity) => ({ get: bound('get', entity), set: bound('set', entity), delete: bound('delete', entity) });
  const known = { message: metricsOf('message'), conversation: metricsOf('conversation') };
  return async (operation, entity, command) => {
    const startedMs = nowMs();
    try {
      const reply = await command();
      breaker.succeeded();
      known[entity][operation].duration.observe((nowMs() - startedMs) / 1_000);
      return reply;
    } catch (error) {
      if (isReply(error)) breaker.succeeded();
      else breaker.failed();
      known[entity][operation].errors.inc();
      log.debug({ err: error, operation, entity }, 'redis command failed');
      return undefined;
    }
  };
}
