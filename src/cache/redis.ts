/** The connection to Redis, whichever way it is deployed. */
import { type RedisOptions as ClientOptions, Cluster, Redis, ReplyError, SentinelConnector } from 'ioredis';
import type { Log } from '../telemetry/log.ts';
import { type CellClient, type CellCommands, cellCommands, cellScripts } from './cell-commands.ts';
import { type WatermarkClient, type WatermarkCommands, watermarkCommands, watermarkScripts } from './watermark.ts';

export interface RedisAddress {
  readonly host: string;
  readonly port: number;
}

export type RedisTopology =
  | ({ readonly kind: 'standalone' } & RedisAddress)
  /** The sentinels tell which server is the master. */
  | {
      readonly kind: 'sentinel';
      readonly sentinels: readonly RedisAddress[];
      readonly masterName: string;
      readonly sentinelPassword: string;
    }
  /** Any of its nodes; the others are learned from them. */
  | { readonly kind: 'cluster'; readonly nodes: readonly RedisAddress[] };

export interface RedisOptions {
  readonly topology: RedisTopology;
  /** Database number; a cluster has only 0. */
  readonly db: number;
  /** Empty: none. */
  readonly password: string;
  readonly tls: boolean;
  readonly commandTimeoutMs: number;
}

export interface RedisMemory {
  /** Of all masters. */
  readonly usedBytes: number;
  /** 0: unlimited. */
  readonly maxBytes: number;
  /** `maxmemory-policy`; several, comma separated, when the masters differ. */
  readonly evictionPolicy: string;
}

export interface RedisConnection extends AsyncDisposable {
  readonly commands: CellCommands & WatermarkCommands;
  /** Rises whenever commands may go to another server than before. What was learned under an earlier one may not hold any more. */
  generation(): number;
  /** Run ids and replication ids of all masters. Another set may lack writes that this one had acknowledged. Throws when one is missing. */
  runIds(): Promise<string>;
  /** Keys that match, of about 1,000 at a time, from every master. Those there from start to end are all found; throws when it cannot. */
  scan(pattern: string): AsyncIterable<readonly string[]>;
  /** Time to live of a key in ms; negative when there is none. */
  ttlMs(key: string): Promise<number>;
  memory(): Promise<RedisMemory>;
  ping(): Promise<void>;
}

const RECONNECT_PAUSE_MS = 50;
const MAX_RECONNECT_PAUSE_MS = 1_000;
/** A server that does not even close its connection is left after this. */
const DISCONNECT_PATIENCE_MS = 200;
const SENTINEL_PATIENCE_MS = 500;
/** Something is asked all the time, for the watermark's sake. A connection without answers may lead nowhere, or to no master any more. */
const SILENCE_MS = 2_000;
const SCAN_COUNT = 1_000;
const SLOTS = 16_384;

/** True when Redis itself said no: it is reachable, only this command is refused (out of memory, read-only, wrong type). */
export function isReply(error: unknown): boolean {
  return error instanceof ReplyError;
}

/** A sentinel that cannot be reached is none of our troubles; ioredis would write of it to standard error, with its address. */
class QuietSentinels extends SentinelConnector {
  constructor(options: unknown) {
    super(options as ConstructorParameters<typeof SentinelConnector>[0]);
    const inner = this as unknown as { connectToSentinel: (...args: unknown[]) => Redis };
    const { connectToSentinel } = inner;
    inner.connectToSentinel = (...args) => connectToSentinel.apply(this, args).on('error', () => undefined);
  }
}

/** A Redis Cluster whose commands go only to the masters that masters() names. */
class FixedCluster extends Cluster {
  /** Without any, ioredis makes commands wait for the first connection. */
  override slots: string[][] = Array.from({ length: SLOTS }, () => []);

  /** MOVED may lead to a server that the watermark says nothing about: the command fails, and the slots are looked up anew. */
  override handleError(error: Error, ttl: object, handlers: { readonly defaults: () => void }): void {
    if (error.message.startsWith('MOVED ')) {
      this.refreshSlotsCache();
      handlers.defaults();
    } else {
      super.handleError(error, ttl, handlers);
    }
  }

  masterKeys(): readonly (string | undefined)[] {
    return [...new Set(this.slots.map(([master]) => master))].toSorted();
  }

  /** Throws unless every slot has a master to connect to: what a missing one has is unknown, and would stay unknown. */
  masters(): readonly Redis[] {
    if (this.status !== 'ready') throw new Error('the cluster is not connected');
    const nodes = new Map(this.nodes('master').map((node) => [`${node.options.host}:${node.options.port}`, node]));
    return this.masterKeys().map((key) => {
      const node = key === undefined ? undefined : nodes.get(key);
      if (node === undefined) throw new Error('a part of the cluster has no master');
      return node;
    });
  }
}

function clientOptions(options: RedisOptions) {
  return {
    ...(options.password === '' ? {} : { password: options.password }),
    ...(options.tls ? { tls: {} } : {}),
    connectionName: 'messaging-service',
    connectTimeout: 1_000,
    disconnectTimeout: DISCONNECT_PATIENCE_MS,
    commandTimeout: options.commandTimeoutMs,
    socketTimeout: SILENCE_MS,
    maxRetriesPerRequest: 0,
    // A command repeated after a reconnect could undo a newer one.
    autoResendUnfulfilledCommands: false,
    scripts: { ...cellScripts, ...watermarkScripts },
  } satisfies ClientOptions;
}

function openClient(options: RedisOptions): Redis | FixedCluster {
  const { topology, db } = options;
  const common = clientOptions(options);
  // MGET is made of many questions already, and need not wait for more.
  const queueing = { enableOfflineQueue: false, enableAutoPipelining: true, autoPipeliningIgnoredCommands: ['mget'] };
  const retryStrategy = (attempts: number): number => Math.min(RECONNECT_PAUSE_MS * attempts, MAX_RECONNECT_PAUSE_MS);
  switch (topology.kind) {
    case 'standalone':
      return new Redis({ ...common, ...queueing, retryStrategy, db, host: topology.host, port: topology.port });
    case 'sentinel':
      return new Redis({
        ...common,
        ...queueing,
        retryStrategy,
        db,
        sentinels: topology.sentinels.map(({ host, port }) => ({ host, port })),
        name: topology.masterName,
        sentinelRetryStrategy: retryStrategy,
        // One that is silent would be waited for without end.
        sentinelCommandTimeout: SENTINEL_PATIENCE_MS,
        sentinelReconnectStrategy: () => MAX_RECONNECT_PAUSE_MS,
        ...(topology.sentinelPassword === '' ? {} : { sentinelPassword: topology.sentinelPassword }),
        ...(options.tls ? { sentinelTLS: {}, enableTLSForSentinelMode: true } : {}),
        // Leaves a master that was replaced while the connection to it stayed open.
        failoverDetector: true,
        Connector: QuietSentinels,
      });
    case 'cluster':
      return new FixedCluster(
        topology.nodes.map(({ host, port }) => ({ host, port })),
        {
          ...queueing,
          redisOptions: common,
          scripts: common.scripts,
          clusterRetryStrategy: retryStrategy,
          slotsRefreshInterval: 1_000,
          // Each connection looks its name up: one that is unknown keeps nobody from the others, and certificates are for names.
          dnsLookup: (host, found) => found(null, host),
          // PostgreSQL answers sooner than a failover ends.
          retryDelayOnFailover: 0,
          retryDelayOnClusterDown: 0,
          maxRedirections: 2,
        },
      );
    default:
      return topology satisfies never;
  }
}

/** Calls back whenever commands may go to another server than before. */
function onServersChanged(client: Redis | FixedCluster, changed: () => void): void {
  client.on('close', changed);
  if (!(client instanceof FixedCluster)) return;
  client.on('+node', (node: Redis) => node.on('close', changed));
  // A replica may be promoted, and a master demoted, with all connections open.
  let known = '';
  client.on('refresh', () => {
    const keys = client.masterKeys().join();
    if (keys !== known) changed();
    known = keys;
  });
}

/** ioredis gives up for good when a failover is announced in the moment in which it connects. */
function connectAgainAfterEnd(client: Redis | FixedCluster, isClosed: () => boolean): void {
  client.on('end', () => {
    const connect = (): void => {
      if (!isClosed()) client.connect().catch(() => undefined);
    };
    setTimeout(connect, RECONNECT_PAUSE_MS).unref();
  });
}

function tellOfChanges(client: Redis | FixedCluster, log: Log): void {
  let reachable: boolean | undefined;
  client.on('ready', () => {
    reachable = true;
    log.info('redis connected');
  });
  client.on('error', (error: unknown) => {
    // Reconnecting repeats the error until Redis is back; once is enough to know.
    if (reachable !== false) log.warn({ err: error }, 'redis cannot be used; answering from PostgreSQL');
    reachable = false;
  });
  client.on('close', () => {
    if (reachable === true) log.warn('redis connection lost; answering from PostgreSQL');
    reachable = false;
  });
}

function fieldOf(info: string, name: string): string {
  return new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? '';
}

/** Names a master and the history of its data: one that followed another for a while comes back with another history. */
async function dataIdOf(master: Redis): Promise<string> {
  const info = await master.info('server', 'replication');
  if (fieldOf(info, 'role') !== 'master') throw new Error('this Redis is no master');
  return `${fieldOf(info, 'run_id')}.${fieldOf(info, 'master_replid')}`;
}

/** A connection without scripts and trust of its own, for what may be forgotten. Failures are told by the cache's. */
export function connectPlainRedis(options: RedisOptions): { readonly client: Redis | Cluster; close(): void } {
  const client = openClient(options).on('error', () => undefined);
  let closed = false;
  connectAgainAfterEnd(client, () => closed);
  return {
    client,
    close() {
      closed = true;
      client.disconnect();
    },
  };
}

/** Connects in the background and for as long as it takes; a command on a lost connection fails at once. */
export function connectRedis(options: RedisOptions, log: Log): RedisConnection {
  const client = openClient(options);
  const masters = (): readonly Redis[] => (client instanceof FixedCluster ? client.masters() : [client]);
  const fromMasters = async <T>(ask: (master: Redis) => Promise<T>): Promise<readonly T[]> => Promise.all(masters().map(ask));
  let generation = 0;
  onServersChanged(client, () => {
    generation += 1;
  });
  let closed = false;
  connectAgainAfterEnd(client, () => closed);
  tellOfChanges(client, log);
  const withScripts = client as unknown as CellClient & WatermarkClient;
  return {
    commands: { ...cellCommands(withScripts, options.topology.kind !== 'cluster'), ...watermarkCommands(withScripts) },
    generation: () => generation,
    async runIds() {
      return (await fromMasters(dataIdOf)).toSorted().join();
    },
    async *scan(pattern) {
      const begunIn = generation;
      for (const master of masters()) {
        let cursor = '0';
        do {
          const [next, keys] = await master.scan(cursor, 'MATCH', pattern, 'COUNT', SCAN_COUNT);
          // A cursor means nothing to another server.
          if (generation !== begunIn) throw new Error('the connection to Redis was lost during the scan');
          yield keys;
          cursor = next;
        } while (cursor !== '0');
      }
    },
    ttlMs: (key) => client.pttl(key),
    async memory() {
      const infos = await fromMasters((master) => master.info('memory'));
      const sum = (name: string): number => infos.reduce((total, info) => total + Number(fieldOf(info, name)), 0);
      const policies = new Set(infos.map((info) => fieldOf(info, 'maxmemory_policy')));
      return { usedBytes: sum('used_memory'), maxBytes: sum('maxmemory'), evictionPolicy: [...policies].join(', ') };
    },
    async ping() {
      await fromMasters((master) => master.ping());
    },
    async [Symbol.asyncDispose]() {
      closed = true;
      client.disconnect();
    },
  };
}
