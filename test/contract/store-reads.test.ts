import { randomUUID } from 'node:crypto';
import { expect, inject, it, vi } from 'vitest';
import { createBreaker } from '../../src/cache/breaker.ts';
import { connectRedis } from '../../src/cache/redis.ts';
import { withCache } from '../../src/cache/with-cache.ts';
import { openDatabase } from '../../src/db/database.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { createDatabase } from '../support/database.ts';
import type { Open } from '../support/store-and-reads.ts';
import { useCases } from '../support/use-cases.ts';
import { describeStoreAndReads } from './store-reads-suite.ts';

const log = createLog({ level: 'silent' });
const redis = inject('redis');

/** A busy machine is slow, not broken. */
const TIMEOUT_MS = 60_000;

async function overDatabase(url: string): ReturnType<Open> {
  const database = await openDatabase({ url, poolMax: 10, statementTimeoutMs: TIMEOUT_MS, connectTimeoutMs: TIMEOUT_MS });
  const { store, reads } = database;
  return { store, reads, [Symbol.asyncDispose]: () => database[Symbol.asyncDispose]() };
}

async function overCache(url: string, server: NonNullable<typeof redis>): ReturnType<Open> {
  await using opened = new AsyncDisposableStack();
  const database = opened.use(await overDatabase(url));
  const connection = opened.use(connectRedis({ ...server, db: 0, password: '', tls: false, commandTimeoutMs: TIMEOUT_MS }, log));
  await vi.waitFor(() => connection.ping(), { timeout: TIMEOUT_MS });
  const { commands } = connection;
  const breaker = createBreaker({ failuresToOpen: 5, pauseMs: 1_000, nowMs: () => performance.now(), onChange: () => undefined });
  const keyPrefix = `${randomUUID()}:`;
  const parts = { commands, breaker, ttlMs: 300_000, keyPrefix, newToken: randomUUID, random: Math.random, metrics: createMetrics(), log };
  const { store, reads } = opened.use(withCache(database, parts));
  const closing = opened.move();
  return { store, reads, [Symbol.asyncDispose]: () => closing.disposeAsync() };
}

/** An implementation over an empty database that goes with it. */
const overEmpty =
  (implement: (url: string) => ReturnType<Open>): Open =>
  async () => {
    await using opened = new AsyncDisposableStack();
    const { url } = opened.use(await createDatabase());
    const { store, reads } = opened.use(await implement(url));
    const closing = opened.move();
    return { store, reads, [Symbol.asyncDispose]: () => closing.disposeAsync() };
  };

/** Port 1 of this machine: nothing listens there. */
const NOWHERE = 'postgresql://nobody:nothing@127.0.0.1:1/nothing';

describeStoreAndReads('the database', overEmpty(overDatabase), () => overDatabase(NOWHERE));

if (redis === null) it.skip('the database behind the cache: this machine has no Redis');
else {
  const cached = (url: string) => overCache(url, redis);
  describeStoreAndReads('the database behind the cache', overEmpty(cached), () => cached(NOWHERE));

  it('the cache answers a second read without PostgreSQL', async () => {
    await using opened = await overEmpty(cached)();
    const { message } = await useCases(opened).send({});
    const sourceOf = async () => (await opened.reads.findMessage(message.id)).source;
    expect(await sourceOf()).toBe('miss');
    await vi.waitFor(async () => expect(await sourceOf()).toBe('hit'), { timeout: TIMEOUT_MS });
  });
}
