/** Redis alone, with sentinels and as a cluster: the same promises over each, also when servers go and take writes with them. */
import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { connectRedis, type RedisConnection } from '../../src/cache/redis.ts';
import { dropCells } from '../../src/cache/relay.ts';
import { readConfig } from '../../src/config.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { patiently } from '../support/cached-service.ts';
import {
  cutReplication,
  mendReplication,
  type RedisNode,
  type Sentinels,
  startCluster,
  startSentinels,
  startStandalone,
  type TestCluster,
  untilReplicaOf,
} from '../support/redis-topologies.ts';
import { newPhone, type Replicas, startReplicas, type WatchedReads, watchReads } from '../support/watched-reads.ts';

type Env = Readonly<Record<string, string>>;

const WATERMARK = 'cache:watermark';
const FLUSHES = 'cache_epoch_flushes_total';

const keysIn = (nodes: readonly RedisNode[], pattern: string): Promise<readonly (readonly string[])[]> =>
  Promise.all(nodes.map((node) => node.ask((admin) => admin.keys(pattern))));

const untilTrusted = ({ sum }: Replicas) => vi.waitFor(async () => expect(await sum('cache_trusted')).toBe(2), patiently);

async function connectTo(env: Env): Promise<RedisConnection> {
  const { cache } = readConfig({ ...env, AUTH_MODE: 'off' });
  if (cache === undefined) throw new Error('unreachable: there is a cache');
  const connection = connectRedis(cache.redis, createLog({ level: 'silent' }));
  await vi.waitFor(() => connection.ping(), patiently);
  return connection;
}

/** Each node takes those that are its own. */
async function plant(nodes: readonly RedisNode[], keys: readonly string[]): Promise<void> {
  for (const node of nodes) await node.ask((admin) => Promise.allSettled(keys.map((key) => admin.set(key, 'V:1:planted'))));
}

/** `nodes`: all masters. What was in them before is gone by the time the cache is trusted, and only that. */
async function serveOver(env: Env, nodes: readonly RedisNode[]): Promise<Replicas> {
  const planted = Array.from({ length: 3_000 }, () => `message:${randomUUID()}`);
  await plant(nodes, [...planted, 'of another']);
  expect((await keysIn(nodes, 'message:*')).flat()).toHaveLength(planted.length);
  const replicas = await startReplicas(env);
  await untilTrusted(replicas);
  expect((await keysIn(nodes, '*')).flat().toSorted()).toEqual([WATERMARK, 'of another']);
  expect(await replicas.sum(FLUSHES)).toBe(1);
  return replicas;
}

/** Miss, hit, write, many rows at once, and all of them dropped. */
async function expectPromises({ calls: [one, two], env }: Replicas, nodes: readonly RedisNode[]): Promise<void> {
  const sent = await Promise.all(Array.from({ length: 60 }, () => one.send({ toAddress: newPhone() })));
  const ids = sent.map(({ id }) => id);
  const id = ids[0] ?? '';
  expect((await one.readMessage(id)).source).toBe('miss');
  await expect.poll(async () => (await two.readMessage(id)).source, patiently).toBe('hit');
  const sourceOfBatch = async (): Promise<string> => {
    let source = '';
    const { messages } = await two.messages.batchGetMessages({ ids }, { onHeader: (headers) => (source = headers.get('x-cache') ?? '') });
    expect(messages.map((message) => message.id)).toEqual(ids);
    return source;
  };
  await expect.poll(sourceOfBatch, patiently).toBe('hit');
  const cells = await keysIn(nodes, 'message:*');
  for (const own of cells) expect(own).not.toEqual([]);
  expect(cells.flat()).toHaveLength(ids.length);

  for (const { conversationId } of sent.slice(0, 20)) {
    await two.readConversation(conversationId);
    await one.conversations.updateConversation({ conversation: { id: conversationId, title: 'new' } });
    expect((await two.readConversation(conversationId)).conversation.title).toBe('new');
  }

  await using connection = await connectTo(env);
  expect(await dropCells(connection, 'message:*')).toBe(ids.length);
  expect((await keysIn(nodes, 'message:*')).flat()).toEqual([]);
  expect((await one.readMessage(id)).source).toBe('miss');
}

/** The cells of these conversations in a node, be it a replica. */
const cellsIn = (node: RedisNode, ids: readonly string[]): Promise<readonly string[]> =>
  node.ask(async (admin) => {
    // Only a cluster asks for it.
    await admin.readonly().catch(() => {});
    const keys = (await admin.keys('conversation:*')).filter((key) => ids.includes(key.slice('conversation:'.length)));
    return Promise.all(keys.toSorted().map(async (key) => `${key} ${await admin.get(key)}`));
  });

/** The replica keeps old cells, which would be answers if it were trusted; it would be, for it is about to be promoted. */
async function makeOutdated(replica: RedisNode, master: RedisNode, ids: readonly string[], watched: WatchedReads): Promise<void> {
  await watched.write();
  await watched.untilAll('hit');
  await vi.waitFor(async () => expect(await cellsIn(replica, ids)).toEqual(await cellsIn(master, ids)), patiently);
  await cutReplication(master, replica);
  const old = await cellsIn(replica, ids);
  expect(old.every((cell) => cell.includes(' V:'))).toBe(true);
  await watched.write();
  await watched.untilAll('hit');
  const current = await cellsIn(master, ids);
  expect(old.filter((cell) => current.includes(cell))).toEqual([]);
  expect(await cellsIn(replica, ids)).toEqual(old);
}

interface Disaster {
  readonly replicas: Replicas;
  readonly ids: readonly string[];
  readonly prepare?: (watched: WatchedReads) => Promise<void>;
  readonly strike: () => Promise<void>;
  /** All masters afterwards. */
  readonly survivors: readonly RedisNode[];
}

/** Reads and writes go on all the time, and nobody notices but by the time that answers take. */
async function survive({ replicas, ids, prepare, strike, survivors }: Disaster): Promise<void> {
  await using watched = watchReads(replicas, ids);
  await prepare?.(watched);
  const flushes = await replicas.sum(FLUSHES);
  let over = false;
  const struck = strike().finally(() => {
    over = true;
  });
  // Told below.
  struck.catch(() => {});
  while (!over) await watched.write();
  await struck;
  // The relay has emptied the servers that are left, and tells of them.
  await expect
    .poll(async () => {
      const found = await Promise.allSettled(survivors.map((node) => node.ask((admin) => admin.get(WATERMARK))));
      const [watermark] = found.flatMap((one) => (one.status === 'fulfilled' && one.value !== null ? [one.value] : []));
      return (await Promise.all(survivors.map((node) => node.info('run_id')))).every((id) => watermark?.includes(id));
    }, patiently)
    .toBe(true);
  expect(await replicas.sum(FLUSHES)).toBeGreaterThan(flushes);
  await untilTrusted(replicas);
  await watched.write();
  await watched.untilAll('hit');
  expect(watched.stale()).toEqual([]);
}

async function newConversations({ calls: [one] }: Replicas, count: number): Promise<readonly string[]> {
  const sent = await Promise.all(Array.from({ length: count }, () => one.send({ toAddress: newPhone() })));
  return sent.map(({ conversationId }) => conversationId);
}

describe.skipIf(inject('redis') === null)('Redis', () => {
  it('alone keeps all promises', async () => {
    await using redis = await startStandalone();
    await using replicas = await serveOver(redis.env, [redis.node]);
    await expectPromises(replicas, [redis.node]);
  });

  describe('with sentinels', () => {
    const opened = new AsyncDisposableStack();
    let redis: Sentinels;
    let replicas: Replicas;
    let ids: readonly string[];
    beforeAll(async () => {
      redis = opened.use(await startSentinels());
      replicas = opened.use(await serveOver(redis.env, [redis.master]));
      ids = await newConversations(replicas, 4);
    });
    afterAll(() => opened.disposeAsync());

    it('keeps all promises', () => expectPromises(replicas, [redis.master]));

    it('may have a master that freezes, is replaced without the last writes, and wakes up', () => {
      const { master, replica } = redis;
      return survive({
        replicas,
        ids,
        prepare: (watched) => makeOutdated(replica, master, ids, watched),
        async strike() {
          master.freeze();
          await redis.untilMaster(replica);
          master.thaw();
          await mendReplication(replica);
          await untilReplicaOf(replica, master);
        },
        survivors: [replica],
      });
    });

    it('may lose the master, and with it the last writes', () => {
      const { master: replica, replica: master } = redis;
      return survive({
        replicas,
        ids,
        prepare: (watched) => makeOutdated(replica, master, ids, watched),
        async strike() {
          await master.kill();
          await redis.untilMaster(replica);
        },
        survivors: [replica],
      });
    });

    it('may have a lost master back, which thinks that it still is one and has old cells', async () => {
      const { master, replica: lost } = redis;
      await using watched = watchReads(replicas, ids);
      await lost.start();
      const keys = ids.map((id) => `conversation:${id}`);
      await plant([lost], keys);
      await watched.write();
      await untilReplicaOf(master, lost);
      await watched.write();
      await watched.untilAll('hit');
      expect(watched.stale()).toEqual([]);
    });

    it('is found as long as one sentinel answers', async () => {
      const [silent, gone] = redis.sentinels;
      silent?.freeze();
      await gone?.kill();
      await using connection = await connectTo(replicas.env);
      expect(await connection.runIds()).toContain(await redis.master.info('run_id'));
    });
  });

  describe('as a cluster', () => {
    const opened = new AsyncDisposableStack();
    let redis: TestCluster;
    let replicas: Replicas;
    let ids: readonly string[];
    beforeAll(async () => {
      redis = opened.use(await startCluster());
      replicas = opened.use(await serveOver(redis.env, redis.masters));
      const candidates = await newConversations(replicas, 60);
      const shards = await Promise.all(candidates.map((id) => redis.shardOf(`conversation:${id}`)));
      ids = [0, 1, 2].flatMap((shard) => candidates.filter((_, index) => shards[index] === shard).slice(0, 2));
    });
    afterAll(() => opened.disposeAsync());

    it('keeps all promises', () => expectPromises(replicas, redis.masters));

    it('may promote a replica that lacks the last writes, with all connections open', () => {
      const [master, ...others] = redis.masters;
      return survive({
        replicas,
        ids,
        prepare: (watched) => makeOutdated(redis.replica, master, ids, watched),
        async strike() {
          await using connection = await connectTo(replicas.env);
          const before = connection.generation();
          await redis.replica.ask((admin) => admin.call('CLUSTER', 'FAILOVER', 'TAKEOVER'));
          await vi.waitFor(async () => expect(await master.info('role')).toBe('slave'), patiently);
          const answered = () => connection.commands.get(`conversation:${ids[0]}`).then(connection.generation);
          // Be it the first: it is of another server.
          expect(await vi.waitFor(answered, patiently)).toBeGreaterThan(before);
          await untilReplicaOf(redis.replica, master);
          await mendReplication(redis.replica);
        },
        survivors: [redis.replica, ...others],
      });
    });

    it('may lose a master, and with it the last writes', () => {
      const { replica: master } = redis;
      const [replica, ...others] = redis.masters;
      return survive({
        replicas,
        ids,
        prepare: (watched) => makeOutdated(replica, master, ids, watched),
        async strike() {
          await master.kill();
          await vi.waitFor(async () => expect(await replica.info('role')).toBe('master'), patiently);
        },
        survivors: [replica, ...others],
      });
    });

    it('may lose a master that nobody replaces, until it is back', async () => {
      const [, , lost] = redis.masters;
      const flushes = await replicas.sum(FLUSHES);
      await using watched = watchReads(replicas, ids);
      await lost.kill();
      await redis.untilFailed(redis.masters.slice(0, 2));
      await watched.untilAll('bypass');
      const hits = watched.hits();
      // The slots are looked up in between.
      for (let round = 0; round < 6; round += 1) await watched.write();
      expect(watched.hits()).toBe(hits);
      expect(await replicas.sum(FLUSHES)).toBe(flushes);
      await lost.start();
      await untilTrusted(replicas);
      await watched.write();
      await watched.untilAll('hit');
      expect(await replicas.sum(FLUSHES)).toBe(flushes + 1);
      expect(watched.stale()).toEqual([]);
    });
  });
});
