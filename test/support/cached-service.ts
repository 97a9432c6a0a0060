/** The service with a cache in front of a database of its own, and a look into both. */
import { Redis } from 'ioredis';
import pg from 'pg';
import { expect, inject, vi } from 'vitest';
import { type Calls, callsTo } from './calls.ts';
import { createDatabase } from './database.ts';
import { type ServiceProcess, startService } from './processes.ts';
import { type SqlProxy, startSqlProxy } from './sql-proxy.ts';

export interface CachedService extends AsyncDisposable {
  readonly service: ServiceProcess;
  readonly calls: Calls;
  readonly proxy: SqlProxy;
  readonly redis: Redis;
  /** CACHE_KEY_PREFIX. */
  readonly prefix: string;
  /** The Redis key of a row. */
  readonly keyOf: (entity: 'message' | 'conversation', id: string) => string;
  /**
   * Resolves when the relay has told the cells of everything that was written. Until then it may take a lease from a reader, who then
   * fills nothing.
   */
  relayed(): Promise<void>;
  /** The value cell of a row, once the fill of a reader, which nobody waits for, has come. */
  cellOf(entity: 'message' | 'conversation', id: string): Promise<string>;
  /** Log messages that name this id, oldest first. They come by a pipe, maybe after the answer they tell of: poll. */
  linesAbout(id: string): readonly string[];
}

/** How long a fact may take to come true on a busy machine. */
export const patiently = { timeout: 20_000, interval: 20 };

interface LogLine {
  readonly msg?: string;
}

/** `prefix` keeps test files apart in the one Redis they share. Ask `inject('redis')` first. */
export async function startCachedService(prefix: string, env: Readonly<Record<string, string>> = {}): Promise<CachedService> {
  await using opening = new AsyncDisposableStack();
  const address = inject('redis');
  if (address === null) throw new Error('this machine has no Redis');
  const redis = opening.adopt(new Redis(address), (client) => client.disconnect());
  const database = opening.use(await createDatabase());
  const proxy = opening.use(await startSqlProxy(database.url));
  const sql = opening.adopt(new pg.Client({ connectionString: database.url }), (client) => client.end());
  await sql.connect();
  const service = opening.use(
    await startService({
      DATABASE_URL: proxy.url,
      REDIS_HOST: address.host,
      REDIS_PORT: String(address.port),
      CACHE_KEY_PREFIX: prefix,
      LOG_LEVEL: 'debug',
      // A slow machine is no fault of Redis.
      REDIS_COMMAND_TIMEOUT_MS: '10000',
      ...env,
    }),
  );
  // It serves before that, and answers from PostgreSQL until then.
  await vi.waitFor(() => expect(service.output()).toContain('cache is trusted'), patiently);
  const opened = opening.move();
  const keyOf: CachedService['keyOf'] = (entity, id) => `${prefix}${entity}:${id}`;
  return {
    service,
    calls: callsTo(service),
    proxy,
    redis,
    prefix,
    keyOf,
    async relayed() {
      await vi.waitFor(async () => expect((await sql.query('select from cache_outbox')).rowCount).toBe(0), patiently);
    },
    async cellOf(entity, id) {
      await expect.poll(() => redis.get(keyOf(entity, id)), patiently).toMatch(/^V:/);
      return (await redis.get(keyOf(entity, id))) ?? '';
    },
    linesAbout: (id) =>
      service
        .output()
        .split('\n')
        .filter((line) => line.startsWith('{') && line.endsWith('}'))
        .flatMap((line) => (JSON.parse(line) as LogLine).msg ?? [])
        .filter((message) => message.includes(id)),
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}
