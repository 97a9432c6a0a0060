import { randomUUID } from 'node:crypto';
import { expect, inject, it, vi } from 'vitest';
import { openCache } from '../../src/cache/open-cache.ts';
import { readConfig } from '../../src/config.ts';
import { openDatabase } from '../../src/db/database.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { createDatabase } from '../support/database.ts';
import type { Open, StoreAndReads } from '../support/store-and-reads.ts';
import { useCases } from '../support/use-cases.ts';
import { describeStoreAndReads } from './store-reads-suite.ts';

const log = createLog({ level: 'silent' });
const redis = inject('redis');

/** A busy machine is slow, not broken. */
const TIMEOUT_MS = 60_000;

const openWithoutHurry = (url: string) => openDatabase({ url, poolMax: 10, statementTimeoutMs: TIMEOUT_MS, connectTimeoutMs: TIMEOUT_MS });

async function overDatabase(url: string): ReturnType<Open> {
  const database = await openWithoutHurry(url);
  const { store, reads, suppressions } = database;
  return { store, reads, suppressions, [Symbol.asyncDispose]: () => database[Symbol.asyncDispose]() };
}

async function overCache(url: string, server: NonNullable<typeof redis>): ReturnType<Open> {
  await using opened = new AsyncDisposableStack();
  const database = opened.use(await openWithoutHurry(url));
  const { cache: options } = readConfig({
    DATABASE_URL: url,
    AUTH_MODE: 'off',
    REDIS_HOST: server.host,
    REDIS_PORT: String(server.port),
    REDIS_COMMAND_TIMEOUT_MS: String(TIMEOUT_MS),
    CACHE_KEY_PREFIX: `${randomUUID()}:`,
  });
  if (options === undefined) throw new Error('unreachable: REDIS_HOST is set');
  const { store, reads } = opened.use(openCache(options, database, { log, metrics: createMetrics() }));
  const closing = opened.move();
  return { store, reads, suppressions: database.suppressions, [Symbol.asyncDispose]: () => closing.disposeAsync() };
}

/** Until then the cache is passed by. */
async function untilTrusted({ reads }: StoreAndReads): Promise<void> {
  const look = async () => expect((await reads.findMessage(randomUUID())).source).not.toBe('bypass');
  await vi.waitFor(look, { timeout: TIMEOUT_MS, interval: 10 });
}

/** An implementation over an empty database that goes with it. */
const overEmpty =
  (implement: (url: string) => ReturnType<Open>): Open =>
  async () => {
    await using opened = new AsyncDisposableStack();
    const { url } = opened.use(await createDatabase());
    const { store, reads, suppressions } = opened.use(await implement(url));
    const closing = opened.move();
    return { store, reads, suppressions, [Symbol.asyncDispose]: () => closing.disposeAsync() };
  };

/** Port 1 of this machine: nothing listens there. */
const NOWHERE = 'postgresql://nobody:nothing@127.0.0.1:1/nothing';

describeStoreAndReads('the database', overEmpty(overDatabase), () => overDatabase(NOWHERE));

if (redis === null) it.skip('the database behind the cache: this machine has no Redis');
else {
  const cached = async (url: string) => {
    const opened = await overCache(url, redis);
    await untilTrusted(opened);
    return opened;
  };
  describeStoreAndReads('the database behind the cache', overEmpty(cached), () => overCache(NOWHERE, redis));

  it('the cache answers a second read without PostgreSQL', async () => {
    await using opened = await overEmpty(cached)();
    const { message } = await useCases(opened).send({});
    const sourceOf = async () => (await opened.reads.findMessage(message.id)).source;
    expect(await sourceOf()).toBe('miss');
    await vi.waitFor(async () => expect(await sourceOf()).toBe('hit'), { timeout: TIMEOUT_MS });
  });
}
