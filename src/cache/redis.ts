import { Redis, ReplyError } from 'ioredis';
import type { Log } from '../telemetry/log.ts';

export interface RedisOptions {
  readonly host: string;
  readonly port: number;
  readonly db: number;
  /** Empty: none. */
  readonly password: string;
  readonly tls: boolean;
  readonly commandTimeoutMs: number;
}

/** The commands of the cell protocol; each touches one key, so that Redis Cluster can serve them. */
export interface CellCommands {
  get(key: string): Promise<string | null>;
  /** Takes the lease when the key is absent. Returns what is in the way otherwise. */
  lease(key: string, cell: string, ttlMs: number): Promise<string | null>;
  /** Replaces the cell if it is still `own`. */
  fill(key: string, own: string, value: string, ttlMs: number): Promise<boolean>;
  /** Deletes the cell if it is still `own`. */
  release(key: string, own: string): Promise<boolean>;
  delete(key: string): Promise<boolean>;
}

export interface RedisConnection extends AsyncDisposable {
  readonly commands: CellCommands;
  ping(): Promise<void>;
}

const FILL = `if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1`;
const RELEASE = `if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])`;

/** ioredis types do not know commands that are defined at run time. */
interface WithScripts {
  fillCell(key: string, own: string, value: string, ttlMs: number): Promise<number>;
  releaseCell(key: string, own: string): Promise<number>;
}

const MAX_RECONNECT_PAUSE_MS = 1_000;

/** True when Redis itself said no: it is reachable, only this command is refused (out of memory, read-only, wrong type). */
export function isReply(error: unknown): boolean {
  return error instanceof ReplyError;
}

/** Connects in the background and for as long as it takes; a command on a lost connection fails at once. */
export function connectRedis(options: RedisOptions, log: Log): RedisConnection {
  const redis = new Redis({
    host: options.host,
    port: options.port,
    db: options.db,
    ...(options.password === '' ? {} : { password: options.password }),
    ...(options.tls ? { tls: {} } : {}),
    connectionName: 'messaging-service',
    connectTimeout: 1_000,
    commandTimeout: options.commandTimeoutMs,
    enableOfflineQueue: false,
    maxRetriesPerRequest: 0,
    // A command repeated after a reconnect could undo a newer one.
    autoResendUnfulfilledCommands: false,
    enableAutoPipelining: true,
    retryStrategy: (attempts) => Math.min(50 * attempts, MAX_RECONNECT_PAUSE_MS),
    scripts: { fillCell: { lua: FILL, numberOfKeys: 1 }, releaseCell: { lua: RELEASE, numberOfKeys: 1 } },
  }) as Redis & WithScripts;
  let reachable: boolean | undefined;
  redis.on('ready', () => {
    reachable = true;
    log.info({ host: options.host, port: options.port }, 'redis connected');
  });
  redis.on('error', (error: unknown) => {
    // Reconnecting repeats the error until Redis is back; once is enough to know.
    if (reachable !== false) log.warn({ err: error }, 'redis cannot be used; answering from PostgreSQL');
    reachable = false;
  });
  redis.on('close', () => {
    if (reachable === true) log.warn('redis connection lost; answering from PostgreSQL');
    reachable = false;
  });
  return {
    commands: {
      get: (key) => redis.get(key),
      lease: (key, cell, ttlMs) => redis.set(key, cell, 'PX', ttlMs, 'NX', 'GET'),
      fill: async (key, own, value, ttlMs) => (await redis.fillCell(key, own, value, ttlMs)) === 1,
      release: async (key, own) => (await redis.releaseCell(key, own)) === 1,
      delete: async (key) => (await redis.del(key)) === 1,
    },
    async ping() {
      await redis.ping();
    },
    async [Symbol.asyncDispose]() {
      redis.disconnect();
    },
  };
}
