import { describe, expect, it } from 'vitest';
import { cellKeys } from '../../src/cache/keys.ts';
import { relayPass, startRelay } from '../../src/cache/relay.ts';
import type { Outbox, OutboxChange } from '../../src/domain/ports.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { createMemoryDatabase } from '../support/memory-database.ts';
import { createMemoryRedis } from '../support/memory-redis.ts';
import { conversationFields } from '../support/message-fields.ts';

const keys = cellKeys('app:');
const id = '01900000-0000-7000-8000-00000000000a';
const key = keys.of('conversation', id);
const other = cellKeys('').of('message', id);

function newRelay() {
  const redis = createMemoryRedis();
  const database = createMemoryDatabase();
  const lines: string[] = [];
  const options = {
    outbox: database.outbox,
    connection: redis.connection,
    keys,
    wait: () => new Promise<void>((resolve) => setImmediate(resolve)),
    random: () => 0,
    metrics: createMetrics(),
    log: createLog({ level: 'info', destination: { write: (line: string) => lines.push(JSON.parse(line).msg) } }),
  };
  const insert = () => database.store.transaction(async (tx) => void tx.addConversation(conversationFields({ id })));
  return { redis, database, options, lines, insert };
}

const until = async (fact: () => boolean): Promise<void> => {
  while (!fact()) await new Promise((resolve) => setImmediate(resolve));
};

describe('a pass of the relay', () => {
  it('tells the cells of every change, forgets the changes and shows the watermark', async () => {
    const { redis, database, options, insert } = newRelay();
    await using lease = await database.outbox.tryLease();
    if (lease === undefined) throw new Error('it is free');
    const runIds = await relayPass(lease, options, undefined);
    redis.cells.set(key, 'N:0');
    await insert();
    await relayPass(lease, options, runIds);
    expect(redis.cells.has(key)).toBe(false);
    expect(await lease.read(10)).toEqual([]);
    expect(redis.isTrusted()).toBe(true);
  });

  it('empties a cache that these changes were not applied to so far, and only its own keys', async () => {
    const { redis, database, options } = newRelay();
    await using lease = await database.outbox.tryLease();
    if (lease === undefined) throw new Error('it is free');
    redis.cells
      .set(key, 'V:3:old')
      .set(keys.of('message', id), 'V:1:old')
      .set(other, 'of another deployment')
      .set('app:other', 'kept')
      .set('app:conversation:1', 'not ours');
    const runIds = await relayPass(lease, options, undefined);
    expect([...redis.cells.keys()]).toEqual([other, 'app:other', 'app:conversation:1']);
    redis.cells.set(key, 'V:3:new');
    await relayPass(lease, options, runIds);
    await relayPass(lease, options, undefined);
    expect(redis.cells.get(key)).toBe('V:3:new');
    // Redis begins again from an old snapshot.
    redis.restart(new Map([[key, 'V:2:older']]));
    expect(redis.isTrusted()).toBe(false);
    await relayPass(lease, options, runIds);
    expect(redis.cells.has(key)).toBe(false);
    expect(redis.isTrusted()).toBe(true);
  });

  it('drops every entry of a table that was truncated', async () => {
    const { redis, database, options } = newRelay();
    await using lease = await database.outbox.tryLease();
    if (lease === undefined) throw new Error('it is free');
    const runIds = await relayPass(lease, options, undefined);
    redis.cells.set(key, 'V:3:x').set(keys.of('message', id), 'V:1:x');
    const truncated: OutboxChange = { transactionId: '1', entity: 'conversation', id: undefined, version: 0, ageMs: 1 };
    const batches = [[truncated]];
    await relayPass({ ...lease, read: async () => batches.shift() ?? [], remove: async () => undefined }, options, runIds);
    expect([...redis.cells.keys()]).toEqual([keys.of('message', id)]);
  });

  it('shows no watermark and removes no change when Redis is lost on the way', async () => {
    const { redis, database, options, insert } = newRelay();
    await using lease = await database.outbox.tryLease();
    if (lease === undefined) throw new Error('it is free');
    const runIds = await relayPass(lease, options, undefined);
    await insert();
    const { commands } = redis.connection;
    const lost = {
      ...commands,
      async bump(): Promise<boolean> {
        redis.restart(new Map());
        throw new Error('Connection is closed.');
      },
    };
    await expect(relayPass(lease, { ...options, connection: { ...redis.connection, commands: lost } }, runIds)).rejects.toThrow('closed');
    expect(await lease.read(10)).toHaveLength(1);
    expect(redis.isTrusted()).toBe(false);
  });
});

describe('the relay', () => {
  it('gives its right to lead up when it fails, says so once, and leads again when it works', async () => {
    const { redis, options, lines } = newRelay();
    let failures = 0;
    const { commands } = redis.connection;
    const connection = {
      ...redis.connection,
      commands: {
        ...commands,
        async redisTimeMs(watermark: string) {
          failures += 1;
          if (failures <= 3) throw new Error('Command timed out');
          return commands.redisTimeMs(watermark);
        },
      },
    };
    const relay = startRelay({ ...options, connection });
    await until(() => redis.isTrusted());
    await until(() => lines.includes('this process relays invalidations'));
    await relay[Symbol.asyncDispose]();
    expect(lines.filter((line) => line.startsWith('relaying invalidations failed'))).toHaveLength(1);
    // The lease is free again.
    expect(await options.outbox.tryLease()).toBeDefined();
  });

  it('shows no lag that it found when it led', async () => {
    const { redis, options, insert } = newRelay();
    const passed: number[] = [];
    const metrics = { ...options.metrics, relayPassed: ({ rows }: { rows: number }) => void passed.push(rows) };
    const relay = startRelay({ ...options, metrics });
    await until(() => redis.isTrusted());
    await insert();
    await until(() => passed.includes(1));
    const before = passed.length;
    await relay[Symbol.asyncDispose]();
    await until(() => passed.length > before && passed.at(-1) === 0);
    // Also when it never led to the end of a pass.
    const broken = { ...redis.connection, runIds: async () => Promise.reject(new Error('Command timed out')) };
    const other = startRelay({ ...options, metrics, connection: broken });
    passed.length = 0;
    await until(() => passed.length > 0);
    expect(new Set(passed)).toEqual(new Set([0]));
    await other[Symbol.asyncDispose]();
  });

  it('leads in one process at a time', async () => {
    const { options, lines, redis } = newRelay();
    const leases: string[] = [];
    const watchedBy = (name: string): Outbox => ({
      ...options.outbox,
      async tryLease() {
        const lease = await options.outbox.tryLease();
        if (lease !== undefined) leases.push(name);
        return lease;
      },
    });
    const [one, other] = [startRelay({ ...options, outbox: watchedBy('one') }), startRelay({ ...options, outbox: watchedBy('other') })];
    await until(() => redis.isTrusted() && lines.includes('this process relays invalidations'));
    expect(leases).toEqual(['one']);
    await one[Symbol.asyncDispose]();
    await until(() => leases.length > 1);
    expect(leases).toEqual(['one', 'other']);
    await other[Symbol.asyncDispose]();
  });
});
