/** The Lua scripts against the table: any sequence of commands leaves the same cell and gives the same answers in both. */
import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { ANY_VERSION, type CellCommands, markToken } from '../../src/cache/cell-commands.ts';
import { connectRedis, type RedisConnection } from '../../src/cache/redis.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createMemoryRedis } from '../support/memory-redis.ts';

const address = inject('redis');

describe.skipIf(address === null)('the commands of a cell', () => {
  let redis: RedisConnection;
  beforeAll(async () => {
    const topology = { kind: 'standalone', host: address?.host ?? '', port: address?.port ?? 0 } as const;
    redis = connectRedis({ topology, db: 0, password: '', tls: false, commandTimeoutMs: 60_000 }, createLog({ level: 'silent' }));
    await vi.waitFor(() => redis.ping(), { timeout: 60_000 });
  });
  afterAll(() => redis?.[Symbol.asyncDispose]());

  const TTL_MS = 60_000;
  const version = fc.integer({ min: 0, max: 4 });
  const token = fc.constantFrom('a', 'b');
  /** Binary, with an exclamation mark at the end: a payload must never look like a taint. */
  const valueAt = (at: number): Buffer => Buffer.concat([Buffer.from(`V:${at}:z1.01234567.abc:`), Buffer.from([0, 255, 200, 10, 33])]);
  const command = fc.oneof(
    fc.record({ name: fc.constant('lease' as const), token }),
    fc.record({ name: fc.constant('fill' as const), token, version }),
    fc.record({ name: fc.constant('fillNegative' as const), token }),
    fc.record({ name: fc.constant('release' as const), token }),
    fc.record({ name: fc.constant('mark' as const), token, version }),
    fc.record({ name: fc.constant('settle' as const), token, version, withValue: fc.boolean() }),
    fc.record({ name: fc.constant('bump' as const), version: fc.oneof(version, fc.constant(ANY_VERSION)) }),
    fc.record({ name: fc.constant('refresh' as const), version }),
  );
  type Command = typeof command extends fc.Arbitrary<infer One> ? One : never;

  async function run(commands: CellCommands, key: string, one: Command): Promise<unknown> {
    switch (one.name) {
      case 'lease':
        return (await commands.lease(key, one.token))?.toString('latin1');
      case 'fill':
        return commands.fill(key, one.token, valueAt(one.version), TTL_MS);
      case 'fillNegative':
        return commands.fill(key, one.token, Buffer.from('N:0'), TTL_MS);
      case 'release':
        return commands.release(key, one.token);
      case 'mark':
        return commands.mark(key, markToken(one.version, one.token));
      case 'settle': {
        const value = one.withValue ? { cell: valueAt(one.version), ttlMs: TTL_MS } : undefined;
        return commands.settle(key, markToken(one.version, one.token), one.version, value);
      }
      case 'bump':
        return commands.bump(key, one.version);
      case 'refresh':
        return commands.refresh(key, one.version, valueAt(one.version), TTL_MS);
      default:
        return one satisfies never;
    }
  }

  it('do what the table says', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(command, { maxLength: 12 }), async (commands) => {
        const key = `message:${randomUUID()}`;
        const memory = createMemoryRedis().connection.commands;
        for (const one of commands) {
          expect(await run(redis.commands, key, one)).toEqual(await run(memory, key, one));
          expect(await redis.commands.get(key)).toEqual(await memory.get(key));
        }
        await redis.commands.bump(key, ANY_VERSION);
      }),
      { numRuns: 500 },
    );
  });

  it('give every cell an end', async () => {
    const key = `message:${randomUUID()}`;
    const { commands } = redis;
    const within = async (from: number, to: number) => {
      const ttlMs = await redis.ttlMs(key);
      expect(ttlMs).toBeGreaterThan(from);
      expect(ttlMs).toBeLessThanOrEqual(to);
    };
    await commands.lease(key, 'a');
    await within(0, 2_000);
    await commands.fill(key, 'a', valueAt(1), 50_000);
    await within(2_000, 50_000);
    await commands.refresh(key, 1, valueAt(1), 90_000);
    await within(50_000, 90_000);
    await commands.mark(key, markToken(2, 'w'));
    await within(2_000, 10_000);
    // A taint does not prolong a mark.
    await commands.bump(key, 3);
    await within(0, 10_000);
    await commands.settle(key, markToken(2, 'w'), 2, { cell: valueAt(2), ttlMs: 70_000 });
    expect(await commands.get(key)).toBeNull();
    await commands.mark(key, markToken(4, 'w'));
    await commands.settle(key, markToken(4, 'w'), 4, { cell: valueAt(4), ttlMs: 70_000 });
    await within(10_000, 70_000);
    await commands.bump(key, ANY_VERSION);
  });
});
