/** PostgreSQL, Redis and several processes of the service, with a hand on every connection between them. */
import { mkdtempSync, rmSync } from 'node:fs';
import { Redis } from 'ioredis';
import pg from 'pg';
import { readMigrationConfig } from '../../src/config.ts';
import { type Database, openDatabase } from '../../src/db/database.ts';
import { type Postgres, startPostgres } from '../../src/dev/postgres.ts';
import { type Redis as RedisServer, startRedis } from '../../src/dev/redis.ts';
import { migrate } from '../../src/migrate.ts';
import { startTcpProxy } from '../support/tcp-proxy.ts';
import { type Replica, startReplica } from './replica.ts';

export type Protocol = 'coherent' | 'naive';

/** Whether the processes reach Redis through a hand that can do something to the connection, and how patient they are with it. */
export type Wiring = 'direct' | 'through-proxies';

export interface Servers extends AsyncDisposable {
  readonly postgres: Postgres;
  readonly database: Database;
  /** For SQL typed by hand. */
  readonly sql: pg.Pool;
  readonly redisPort: number;
  readonly redis: Redis;
  /** SIGKILL; then it starts with what it had last saved. */
  restartRedis(): Promise<void>;
}

export interface Stack extends AsyncDisposable {
  readonly wiring: Wiring;
  readonly replicas: readonly Replica[];
}

const REPLICAS = 3;

async function requireRedis(dataDir: string, port?: number): Promise<RedisServer> {
  const server = await startRedis({ dataDir, args: ['--save', ''], ...(port !== undefined && { port }) });
  if (server === undefined) throw new Error('There is no redis-server; run `make peers`.');
  return server;
}

export async function startServers(): Promise<Servers> {
  await using opening = new AsyncDisposableStack();
  const dataDir = mkdtempSync('/tmp/messaging-chaos-redis-');
  opening.defer(() => rmSync(dataDir, { recursive: true, force: true }));
  let server = await requireRedis(dataDir);
  opening.defer(() => server[Symbol.asyncDispose]());
  const postgres = opening.use(await startPostgres({ fast: true }));
  const options = readMigrationConfig({ DATABASE_URL: postgres.url });
  await migrate(options);
  const database = opening.use(await openDatabase(options));
  const sql = opening.adopt(new pg.Pool({ connectionString: postgres.url, max: 4 }), (pool) => pool.end());
  const redis = opening.adopt(new Redis({ port: server.port, retryStrategy: () => 50, maxRetriesPerRequest: null }), (client) => {
    client.disconnect();
  });
  redis.on('error', () => undefined);
  const opened = opening.move();
  return {
    postgres,
    database,
    sql,
    redis,
    redisPort: server.port,
    async restartRedis() {
      process.kill(server.pid, 'SIGKILL');
      await server.exited;
      server = await requireRedis(dataDir, server.port);
    },
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}

export interface StackOptions {
  readonly wiring: Wiring;
  readonly protocol: Protocol;
  readonly seed: number;
}

/** On a busy machine slowness is no fault of Redis; what is done to Redis should find the service as it is by default. */
const REDIS_TIMEOUT_MS = { direct: '1000', 'through-proxies': '50' } as const satisfies Record<Wiring, string>;
/** Of a pause, at each place where one is possible. */
const PAUSE_PROBABILITY = '0.2';

export async function startStack({ postgres, redisPort }: Servers, { wiring, protocol, seed }: StackOptions): Promise<Stack> {
  await using opening = new AsyncDisposableStack();
  const host = '127.0.0.1';
  const start = async (index: number): Promise<Replica> => {
    const sqlProxy = opening.use(await startTcpProxy({ host, port: postgres.port }));
    const redisProxy = wiring === 'direct' ? undefined : opening.use(await startTcpProxy({ host, port: redisPort }));
    const url = new URL(postgres.url);
    url.port = String(sqlProxy.port);
    const env = {
      DATABASE_URL: url.href,
      DATABASE_CONNECT_TIMEOUT_MS: '30000',
      REDIS_HOST: host,
      REDIS_PORT: String(redisProxy?.port ?? redisPort),
      REDIS_COMMAND_TIMEOUT_MS: REDIS_TIMEOUT_MS[wiring],
      CACHE_VERIFY_RATIO: '0.001',
      // After some writes rows are loaded by their readers, after others they are there already.
      CACHE_WRITE_THROUGH: String(index === 0),
      CACHE_PROTOCOL: protocol,
      CHAOS_PAUSE_PROBABILITY: PAUSE_PROBABILITY,
      CHAOS_SEED: String(seed + index),
    };
    return opening.use(await startReplica({ index, env, postgres: sqlProxy, redis: redisProxy }));
  };
  const replicas = await Promise.all(Array.from({ length: REPLICAS }, (_, index) => start(index)));
  const opened = opening.move();
  return { wiring, replicas, [Symbol.asyncDispose]: () => opened.disposeAsync() };
}
