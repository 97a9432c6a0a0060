/** The cache of one process: its connection, its trust in it, its part in relaying, and the wrapper around Reads and Store. */
import { randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import type { CacheAdmin, Outbox, Reads, Store } from '../domain/ports.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { createBreaker } from './breaker.ts';
import { createCacheAdmin } from './cache-admin.ts';
import { countCoherence } from './coherence-counts.ts';
import { cellKeys } from './keys.ts';
import { connectRedis, type RedisOptions } from './redis.ts';
import { startRelay } from './relay.ts';
import { createCacheStatistics } from './statistics.ts';
import { watchTrust } from './trust.ts';
import { type CacheOptions, withCache } from './with-cache.ts';

export interface OpenCacheOptions extends CacheOptions {
  readonly redis: RedisOptions;
  readonly keyPrefix: string;
}

export interface Cache extends AsyncDisposable {
  readonly reads: Reads;
  readonly store: Store;
  /** Absent: operators cannot look into it, nor steer it. */
  readonly admin?: CacheAdmin;
  /** Throws when Redis does not answer. */
  ping(): Promise<void>;
}

export interface CachedDatabase {
  readonly reads: Reads;
  readonly store: Store;
  readonly outbox: Outbox;
}

export interface CacheInstruments {
  readonly log: Log;
  readonly metrics: Metrics;
}

const BREAKER = { failuresToOpen: 5, pauseMs: 1_000 };

/** Connects in the background; until the cache is trusted PostgreSQL answers. */
export function openCache(options: OpenCacheOptions, database: CachedDatabase, instruments: CacheInstruments): Cache {
  const opened = new AsyncDisposableStack();
  const { log } = instruments;
  const { metrics, read: coherence } = countCoherence(instruments.metrics);
  const nowMs = (): number => performance.now();
  const wait = (ms: number, signal?: AbortSignal): Promise<void> =>
    delay(ms, undefined, signal === undefined ? {} : { signal }).catch(() => undefined);
  const { random } = Math;
  const keys = cellKeys(options.keyPrefix);
  const connection = opened.use(connectRedis(options.redis, log));
  const { commands } = connection;
  const breaker = createBreaker({
    ...BREAKER,
    nowMs,
    onChange(open) {
      metrics.cacheBreaker(open);
      log.warn(open ? 'redis does not answer; reading from PostgreSQL' : 'redis answers again');
    },
  });
  const trust = opened.use(watchTrust({ connection, watermarkKey: keys.watermark, nowMs, wait, metrics, log }));
  opened.use(startRelay({ outbox: database.outbox, connection, keys, wait, random, metrics, log }));
  const statistics = createCacheStatistics(metrics, nowMs);
  const shared = { commands, keys, trust, breaker, statistics, random, nowMs, wait, metrics, log };
  const cached = opened.use(
    withCache(database, options, { ...shared, newToken: randomUUID, unixNowMs: Date.now, afterTurn: setImmediate }),
  );
  const { outbox } = database;
  const admin = createCacheAdmin({ connection, keys, trust, statistics, coherence, cached, outbox, nowMs, wait });
  const { reads, store } = cached;
  return { reads, store, admin, ping: connection.ping, [Symbol.asyncDispose]: () => opened.disposeAsync() };
}
