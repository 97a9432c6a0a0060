/** What operators see of the cache and do to it. */
import { randomUUID } from 'node:crypto';
import { durationMs } from '@bufbuild/protobuf/wkt';
import { type Client, createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { CachedEntity, CacheService, CacheTier, InspectCacheEntryResponse_Kind as Kind } from '../../gen/messaging/v1/cache_service_pb.js';
import { type CachedService, patiently, startCachedService } from '../support/cached-service.ts';
import { failureOf } from '../support/calls.ts';
import { scrape } from '../support/scrape.ts';

const { MESSAGE, CONVERSATION } = CachedEntity;

const cacheOf = ({ grpcPort }: { readonly grpcPort: number }): Client<typeof CacheService> =>
  createClient(CacheService, createGrpcTransport({ baseUrl: `http://127.0.0.1:${grpcPort}` }));

describe.skipIf(inject('redis') === null)('CacheService', () => {
  let on: CachedService;
  let cache: Client<typeof CacheService>;
  beforeAll(async () => {
    on = await startCachedService('admin:');
    cache = cacheOf(on.service);
  });
  afterAll(() => on?.[Symbol.asyncDispose]());

  /** A message that Redis has. */
  async function cachedMessage() {
    const message = await on.calls.send();
    await on.relayed();
    await on.calls.readMessage(message.id);
    return { ...message, cell: await on.cellOf('message', message.id), key: on.keyOf('message', message.id) };
  }

  const inspect = (id: string) => cache.inspectCacheEntry({ entity: MESSAGE, id });

  describe('GetCacheStatistics', () => {
    async function countsOf(entity: CachedEntity, tier: CacheTier) {
      const statistics = await cache.getCacheStatistics({});
      const [total, recent] = [statistics.total, statistics.recent].map((counts) => counts.find((one) => one.entity === entity));
      return { statistics, total, recent, tier: statistics.tiers.find((one) => one.tier === tier) };
    }

    it('counts reads by what they came to, in total, by tier and recently', async () => {
      const before = await countsOf(MESSAGE, CacheTier.IN_FLIGHT);
      const { id } = await cachedMessage();
      await on.calls.readMessage(id);
      await on.calls.readMessage(id);
      await on.calls.messages.getMessage({ id, maxStaleness: { seconds: 60n, nanos: 0 } });
      const unknown = randomUUID();
      await failureOf(on.calls.readMessage(unknown));
      await expect.poll(async () => (await inspect(unknown)).kind, patiently).toBe(Kind.NEGATIVE);
      await failureOf(on.calls.readMessage(unknown));
      const after = await countsOf(MESSAGE, CacheTier.IN_FLIGHT);
      const more = { hits: 2n, localHits: 1n, misses: 2n, negativeHits: 1n, sets: 2n, bypasses: 0n };
      for (const [name, count] of Object.entries(more) as [keyof typeof more, bigint][]) {
        expect(after.total?.[name], name).toBe((before.total?.[name] ?? 0n) + count);
        expect(after.recent?.[name], name).toBe((before.recent?.[name] ?? 0n) + count);
      }
      expect(after.tier).toMatchObject({
        hits: (before.tier?.hits ?? 0n) + 2n,
        localHits: (before.tier?.localHits ?? 0n) + 1n,
        misses: (before.tier?.misses ?? 0n) + 1n,
      });
    });

    it('has windows of 1, 5 and 60 minutes, and ratios that fit their counts', async () => {
      await on.calls.readMessage((await cachedMessage()).id);
      const { total, recent, windows, hitRatio, tiers } = await cache.getCacheStatistics({});
      expect(windows.map(({ window }) => window && durationMs(window))).toEqual([60_000, 300_000, 3_600_000]);
      expect(windows[1]?.entities).toEqual(recent);
      expect(windows[2]?.entities).toEqual(total);
      expect(windows[2]?.tiers).toEqual(tiers);
      for (const { hits, localHits, negativeHits, misses, bypasses, hitRatio: ratio } of total) {
        const reads = Number(hits + localHits + negativeHits + misses + bypasses);
        expect(ratio).toBeCloseTo(reads === 0 ? 0 : Number(hits + localHits + negativeHits) / reads);
      }
      expect(hitRatio).toBeGreaterThan(0);
      expect(hitRatio).toBeLessThan(1);
      expect(tiers.map(({ tier }) => tier)).toEqual([CacheTier.IN_FLIGHT, CacheTier.TERMINAL, CacheTier.BUSY, CacheTier.QUIET]);
    });

    it('counts settles as Prometheus is told, and tells of trust, relay and Redis', async () => {
      await on.calls.send();
      await on.relayed();
      const { settles, trusted, outboxRows, relayLag, markFailures, verified, confirmedMismatches, ...redis } =
        await cache.getCacheStatistics({});
      const metrics = await scrape(on.service);
      for (const outcome of ['stored', 'dropped', 'left', 'failed'] as const)
        expect(Number(settles?.[outcome])).toBe(metrics.sum('cache_settles_total', { outcome }));
      expect(Number(settles?.dropped)).toBeGreaterThan(0);
      expect({ trusted, outboxRows, markFailures, confirmedMismatches }).toEqual({
        ...{ trusted: true, outboxRows: 0n, markFailures: 0n, confirmedMismatches: 0n },
      });
      expect(relayLag && durationMs(relayLag)).toBe(0);
      expect(verified?.mismatches).toBe(0n);
      expect(redis.epochFlushes).toBe(1n);
      expect(redis.redisUsedBytes).toBeGreaterThan(0n);
    });
  });

  describe('InspectCacheEntry', () => {
    it('shows a value beside its row', async () => {
      const { id, key, cell } = await cachedMessage();
      const { ttl, ...entry } = await inspect(id.toUpperCase());
      expect(entry).toMatchObject({ kind: Kind.VALUE, key, cachedVersion: 1n, rowVersion: 1n, equal: true, bytes: BigInt(cell.length) });
      expect(entry.age).toBeUndefined();
      expect(ttl && durationMs(ttl)).toBeGreaterThan(0);
      // Nothing was changed by looking.
      expect(await on.redis.get(key)).toBe(cell);
    });

    it.each([
      ['a body', (cell: string) => cell.replace('hello', 'jello')],
      ['a version', (cell: string) => cell.replace('V:1:', 'V:2:')],
    ])('does not call a forged cell equal: %s', async (_, forge) => {
      const { id, key, cell } = await cachedMessage();
      expect(forge(cell)).not.toBe(cell);
      await on.redis.set(key, forge(cell), 'PX', 60_000);
      expect(await inspect(id)).toMatchObject({ kind: Kind.VALUE, rowVersion: 1n, equal: false });
    });

    it('tells a wrong "no such row" from a right one', async () => {
      const { id, key } = await cachedMessage();
      const unknown = randomUUID();
      for (const each of [key, on.keyOf('message', unknown)]) await on.redis.set(each, 'N:0', 'PX', 60_000);
      expect(await inspect(id)).toMatchObject({ kind: Kind.NEGATIVE, rowVersion: 1n, equal: false });
      expect(await inspect(unknown)).toMatchObject({ kind: Kind.NEGATIVE, rowVersion: 0n, equal: true, bytes: 3n });
    });

    it('shows that there is no entry', async () => {
      const { id } = await on.calls.send();
      await expect.poll(() => inspect(id), patiently).toMatchObject({ kind: Kind.ABSENT, rowVersion: 1n, equal: false, bytes: 0n });
      const entry = await inspect(id);
      expect([entry.ttl, entry.age]).toEqual([undefined, undefined]);
    });

    it.each([
      ['L:token', Kind.READ_LEASE, 2_000],
      ['W:2.token', Kind.WRITE_MARK, 10_000],
      ['W:2.token!', Kind.WRITE_MARK, 10_000],
    ])('shows how old %s is', async (cell, kind, lifeMs) => {
      const { id, key } = await cachedMessage();
      await on.redis.set(key, cell, 'PX', lifeMs - 500);
      const { age, ttl, ...entry } = await inspect(id);
      expect(entry).toMatchObject({ kind, cachedVersion: 0n, rowVersion: 1n, equal: false });
      expect(age && ttl && durationMs(age) + durationMs(ttl)).toBe(lifeMs);
      expect(age && durationMs(age)).toBeGreaterThanOrEqual(500);
    });

    it.each([
      ['text of somebody else', (key: string) => on.redis.set(key, 'something', 'PX', 60_000)],
      ['the cell of another schema', (key: string) => on.redis.set(key, 'V:1:j1.00000000.0:{}', 'PX', 60_000)],
      ['a key of another type', (key: string) => on.redis.hset(key, { field: 'value' })],
    ])('calls foreign what is not ours: %s', async (_, write) => {
      const { id, key } = await cachedMessage();
      await on.redis.del(key);
      await write(key);
      expect(await inspect(id)).toMatchObject({ kind: Kind.FOREIGN, cachedVersion: 0n, rowVersion: 1n, equal: false });
    });
  });

  describe('InvalidateCache', () => {
    it('drops the entries that are named, and no others', async () => {
      const [one, two] = [await cachedMessage(), await cachedMessage()];
      expect(await cache.invalidateCache({ entity: MESSAGE, ids: [one.id, randomUUID()] })).toMatchObject({ dropped: 1n });
      expect((await inspect(one.id)).kind).toBe(Kind.ABSENT);
      expect((await inspect(two.id)).kind).toBe(Kind.VALUE);
      expect((await on.calls.readMessage(one.id)).source).toBe('miss');
    });

    it('leaves a write mark where it is, and lets it become no value', async () => {
      const { id, key } = await cachedMessage();
      await on.redis.set(key, 'W:2.token', 'PX', 10_000);
      await cache.invalidateCache({ entity: MESSAGE, ids: [id] });
      expect(await on.redis.get(key)).toBe('W:2.token!');
    });

    it('drops every entry of one entity, and nothing of the other or of anybody else', async () => {
      const { id, conversationId, key } = await cachedMessage();
      await on.calls.readConversation(conversationId);
      await on.cellOf('conversation', conversationId);
      const pipeline = on.redis.pipeline();
      for (let entry = 0; entry < 2_500; entry += 1) pipeline.set(on.keyOf('message', randomUUID()), 'N:0', 'PX', 60_000);
      await pipeline.exec();
      await on.redis.set(`other-${key}`, 'N:0', 'PX', 60_000);
      const { dropped } = await cache.invalidateCache({ entity: MESSAGE, all: true });
      expect(dropped).toBeGreaterThanOrEqual(2_501n);
      expect((await inspect(id)).kind).toBe(Kind.ABSENT);
      expect(await on.redis.exists(`other-${key}`)).toBe(1);
      expect((await cache.inspectCacheEntry({ entity: CONVERSATION, id: conversationId })).kind).toBe(Kind.VALUE);
    });
  });
});
