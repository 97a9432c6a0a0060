/** Redis alone, with sentinels and as a cluster, of a test's own: real servers on this machine that end with the test. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { expect, vi } from 'vitest';
import { freePort } from '../../src/dev/ports.ts';
import { type Supervised, superviseUntil } from '../../src/dev/supervised-process.ts';
import { patiently } from './cached-service.ts';

const HOST = '127.0.0.1';
const MASTER_NAME = 'messages';
const DOWN_AFTER_MS = 500;
const FAILOVER_TIMEOUT_MS = 2_000;
const NODE_TIMEOUT_MS = 1_000;
const SLOTS = 16_384;

export interface RedisNode extends AsyncDisposable {
  readonly port: number;
  /** `host:port`. */
  readonly address: string;
  /** Asks over a connection of the test's own. */
  ask<T>(work: (admin: Redis) => Promise<T>): Promise<T>;
  /** Of the fields of INFO, this one. */
  info(field: 'run_id' | 'role' | 'master_link_status' | 'master_port'): Promise<string>;
  /** Ends it without a word. Resolves when it is gone. */
  kill(): Promise<void>;
  /** Starts it again on the same port, with nothing in it. */
  start(): Promise<void>;
  /** Freezes it: connections stay open and new ones are taken, but nothing answers. */
  freeze(): void;
  thaw(): void;
}

interface NodeOptions {
  readonly port: number;
  readonly sentinel?: boolean;
}

async function startNode({ port, sentinel = false }: NodeOptions, ...settings: readonly string[]): Promise<RedisNode> {
  const folder = mkdtempSync('/tmp/messaging-redis-');
  // Sentinels keep what they know in this file, and rewrite those of the servers they reconfigure.
  const file = join(folder, 'redis.conf');
  const launch = (): Promise<Supervised> => {
    writeFileSync(
      file,
      [`port ${port}`, `bind ${HOST}`, `dir ${folder}`, 'save ""', 'repl-diskless-sync-delay 0', ...settings, ''].join('\n'),
    );
    return superviseUntil((output) => output.includes(sentinel ? '+monitor master' : 'Ready to accept connections'), {
      command: 'redis-server',
      args: sentinel ? [file, '--sentinel'] : [file],
      stopSignal: 'SIGTERM',
      temporaryFolder: folder,
      onOutput: () => {},
    });
  };
  let server = await launch();
  const ask: RedisNode['ask'] = async (work) => {
    const admin = new Redis({ host: HOST, port, lazyConnect: true, retryStrategy: () => null, commandTimeout: 5_000 });
    // The command that was sent fails too.
    admin.on('error', () => {});
    try {
      return await work(admin);
    } finally {
      admin.disconnect();
    }
  };
  return {
    port,
    address: `${HOST}:${port}`,
    ask,
    info: async (field) => new RegExp(`^${field}:(.*?)\\r?$`, 'm').exec(await ask((admin) => admin.info()))?.[1] ?? '',
    kill: async () => void (await server.kill()),
    async start() {
      server = await launch();
    },
    freeze: () => void process.kill(server.pid, 'SIGSTOP'),
    thaw: () => void process.kill(server.pid, 'SIGCONT'),
    async [Symbol.asyncDispose]() {
      await server.kill();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** From now on what the master writes does not reach its replica, which keeps what it has and may be promoted all the same. */
export async function cutReplication(master: RedisNode, replica: RedisNode): Promise<void> {
  await replica.ask((admin) => admin.config('SET', 'masteruser', 'nobody', 'masterauth', 'wrong'));
  await master.ask((admin) => admin.call('CLIENT', 'KILL', 'TYPE', 'replica'));
  await vi.waitFor(async () => expect(await replica.info('master_link_status')).toBe('down'), patiently);
}

/** It follows a master again, now or when it has been told to. */
export async function mendReplication(replica: RedisNode): Promise<void> {
  await replica.ask((admin) => admin.config('SET', 'masteruser', '', 'masterauth', ''));
}

export async function untilReplicaOf(master: RedisNode, replica: RedisNode): Promise<void> {
  await vi.waitFor(async () => {
    expect(await replica.info('master_port')).toBe(String(master.port));
    expect(await replica.info('master_link_status')).toBe('up');
  }, patiently);
}

export interface Standalone extends AsyncDisposable {
  readonly node: RedisNode;
  /** For the service. */
  readonly env: Readonly<Record<string, string>>;
}

export async function startStandalone(): Promise<Standalone> {
  const node = await startNode({ port: await freePort() });
  return { node, env: { REDIS_HOST: HOST, REDIS_PORT: String(node.port) }, [Symbol.asyncDispose]: () => node[Symbol.asyncDispose]() };
}

export interface Sentinels extends AsyncDisposable {
  readonly master: RedisNode;
  readonly replica: RedisNode;
  readonly sentinels: readonly RedisNode[];
  /** For the service. */
  readonly env: Readonly<Record<string, string>>;
  /** Resolves when all sentinels name it as the master. */
  untilMaster(node: RedisNode): Promise<void>;
}

/** One master, one replica, and three sentinels of which two decide. */
export async function startSentinels(): Promise<Sentinels> {
  await using opening = new AsyncDisposableStack();
  const master = opening.use(await startNode({ port: await freePort() }));
  const replica = opening.use(await startNode({ port: await freePort() }, `replicaof ${HOST} ${master.port}`));
  const watching = [
    `sentinel monitor ${MASTER_NAME} ${HOST} ${master.port} 2`,
    `sentinel down-after-milliseconds ${MASTER_NAME} ${DOWN_AFTER_MS}`,
    `sentinel failover-timeout ${MASTER_NAME} ${FAILOVER_TIMEOUT_MS}`,
  ];
  await untilReplicaOf(master, replica);
  const sentinels: RedisNode[] = [];
  for (let count = 0; count < 3; count += 1) {
    const sentinel = opening.use(await startNode({ port: await freePort(), sentinel: true }, ...watching));
    // They would see to a master that comes back after eight seconds.
    await sentinel.ask((admin) => admin.call('SENTINEL', 'DEBUG', 'info-period', 200, 'publish-period', 200));
    sentinels.push(sentinel);
  }
  const untilAllSay = (wanted: Readonly<Record<string, string>>) =>
    vi.waitFor(async () => {
      for (const sentinel of sentinels) {
        const fields = (await sentinel.ask((admin) => admin.call('SENTINEL', 'MASTER', MASTER_NAME))) as readonly string[];
        const said = Object.fromEntries(Object.keys(wanted).map((name) => [name, fields[fields.indexOf(name) + 1]]));
        expect(said).toEqual(wanted);
      }
    }, patiently);
  await untilAllSay({ 'num-other-sentinels': '2', 'num-slaves': '1' });
  const opened = opening.move();
  return {
    master,
    replica,
    sentinels,
    env: { REDIS_SENTINELS: sentinels.map(({ address }) => address).join(','), REDIS_SENTINEL_MASTER: MASTER_NAME },
    untilMaster: ({ port }) => untilAllSay({ port: String(port) }),
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}

export interface TestCluster extends AsyncDisposable {
  /** Each has a third of the slots. */
  readonly masters: readonly [RedisNode, RedisNode, RedisNode];
  /** Of the first master. */
  readonly replica: RedisNode;
  /** For the service. */
  readonly env: Readonly<Record<string, string>>;
  /** Which master had the slot of this key at first: 0, 1 or 2. */
  shardOf(key: string): Promise<number>;
  /** Resolves when these nodes have noticed that another is gone. */
  untilFailed(nodes: readonly RedisNode[]): Promise<void>;
}

/** Three masters, and one replica. */
export async function startCluster(): Promise<TestCluster> {
  await using opening = new AsyncDisposableStack();
  const start = async () => {
    const [port, busPort] = [await freePort(), await freePort()];
    const settings = [
      'cluster-enabled yes',
      `cluster-port ${busPort}`,
      `cluster-node-timeout ${NODE_TIMEOUT_MS}`,
      'cluster-require-full-coverage no',
    ];
    return { node: opening.use(await startNode({ port }, ...settings)), busPort };
  };
  const [first, second, third, fourth] = [await start(), await start(), await start(), await start()];
  const masters = [first.node, second.node, third.node] as const;
  const replica = fourth.node;
  for (const [index, node] of masters.entries()) {
    const [from, to] = [Math.ceil((index * SLOTS) / 3), Math.ceil(((index + 1) * SLOTS) / 3) - 1];
    await node.ask((admin) => admin.cluster('ADDSLOTSRANGE', from, to));
    await node.ask((admin) => admin.call('CLUSTER', 'SET-CONFIG-EPOCH', index + 1));
  }
  for (const { node, busPort } of [second, third, fourth]) {
    await first.node.ask((admin) => admin.call('CLUSTER', 'MEET', HOST, node.port, busPort));
  }
  const masterId = await first.node.ask((admin) => admin.call('CLUSTER', 'MYID'));
  // It has to know the master before it can follow it.
  await vi.waitFor(() => replica.ask((admin) => admin.call('CLUSTER', 'REPLICATE', String(masterId))), patiently);
  await untilReplicaOf(first.node, replica);
  const untilAllSay = (nodes: readonly RedisNode[], ...lines: readonly string[]) =>
    vi.waitFor(async () => {
      for (const node of nodes) {
        const info = await node.ask((admin) => admin.cluster('INFO'));
        for (const line of lines) expect(info).toContain(line);
      }
    }, patiently);
  await untilAllSay([...masters, replica], 'cluster_known_nodes:4', 'cluster_state:ok');
  const opened = opening.move();
  return {
    masters,
    replica,
    env: { REDIS_CLUSTER_NODES: masters.map(({ address }) => address).join(',') },
    shardOf: async (key) => Math.floor((Number(await first.node.ask((admin) => admin.cluster('KEYSLOT', key))) * 3) / SLOTS),
    untilFailed: (nodes) => untilAllSay(nodes, 'cluster_slots_fail:5461'),
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}
