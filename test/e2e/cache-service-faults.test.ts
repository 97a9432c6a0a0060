/** CacheService while Redis is set up badly, stopped, silent or not there at all: it says so, and pretends nothing. */
import { randomUUID } from 'node:crypto';
import { type Client, createClient } from '@connectrpc/connect';
import { createGrpcTransport } from '@connectrpc/connect-node';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { CachedEntity, CacheService } from '../../gen/messaging/v1/cache_service_pb.js';
import { startTestApp, type TestApp } from '../support/apps.ts';
import { patiently } from '../support/cached-service.ts';
import { failureOf } from '../support/calls.ts';
import { createDatabase } from '../support/database.ts';
import { type OwnServer, startOwnRedis } from '../support/servers.ts';

const entity = CachedEntity.MESSAGE;

const cacheOf = ({ grpcPort }: TestApp): Client<typeof CacheService> =>
  createClient(CacheService, createGrpcTransport({ baseUrl: `http://127.0.0.1:${grpcPort}` }));

const steps: readonly { readonly name: string; readonly call: (cache: Client<typeof CacheService>) => Promise<unknown> }[] = [
  { name: 'InspectCacheEntry', call: (cache) => cache.inspectCacheEntry({ entity, id: randomUUID() }) },
  { name: 'InvalidateCache of ids', call: (cache) => cache.invalidateCache({ entity, ids: [randomUUID()] }) },
  { name: 'InvalidateCache of all', call: (cache) => cache.invalidateCache({ entity, all: true }) },
  { name: 'WarmCache', call: (cache) => Array.fromAsync(cache.warmCache({ entity, count: 10 })) },
];

describe('without Redis', () => {
  const opened = new AsyncDisposableStack();
  let cache: Client<typeof CacheService>;
  beforeAll(async () => {
    const database = opened.use(await createDatabase());
    cache = cacheOf(opened.use(await startTestApp({ DATABASE_URL: database.url })));
  });
  afterAll(() => opened.disposeAsync());

  const everyStep = [...steps, { name: 'GetCacheStatistics', call: (one: typeof cache) => one.getCacheStatistics({}) }];
  it.each(everyStep)('$name is refused: there is no cache', async ({ call }) => {
    const failure = await failureOf(call(cache));
    expect(failure).toMatchObject({ code: 'FailedPrecondition', reason: 'CACHE_OFF', retryAfterSeconds: undefined });
    expect(failure.message).toMatch(/no Redis is configured/);
  });
});

describe.skipIf(inject('redis') === null)('with a Redis', () => {
  const opened = new AsyncDisposableStack();
  let server: OwnServer;
  let admin: Redis;
  let cache: Client<typeof CacheService>;
  const untilTrusted = (trusted: boolean) =>
    vi.waitFor(async () => expect((await cache.getCacheStatistics({})).trusted).toBe(trusted), patiently);

  beforeAll(async () => {
    const database = opened.use(await createDatabase());
    server = opened.use(await startOwnRedis(['--maxmemory', '50mb', '--maxmemory-policy', 'allkeys-lfu']));
    admin = opened.adopt(new Redis({ host: server.host, port: server.port }), (client) => client.disconnect());
    admin.on('error', () => undefined);
    const address = { REDIS_HOST: server.host, REDIS_PORT: String(server.port), REDIS_COMMAND_TIMEOUT_MS: '500' };
    cache = cacheOf(opened.use(await startTestApp({ DATABASE_URL: database.url, ...address })));
    await untilTrusted(true);
  });
  afterAll(() => opened.disposeAsync());

  describe('that is set up', () => {
    afterEach(() => admin.config('SET', 'maxmemory-policy', 'allkeys-lfu', 'maxmemory', '50mb'));

    it('well, there are no warnings', async () => {
      expect(await cache.getCacheStatistics({})).toMatchObject({
        ...{ warnings: [], redisMaxBytes: 52_428_800n, redisEvictionPolicy: 'allkeys-lfu', trusted: true },
      });
    });

    it.each(['noeviction', 'volatile-ttl', 'volatile-lru', 'volatile-lfu', 'volatile-random'])(
      'with %s, there is a warning',
      async (policy) => {
        await admin.config('SET', 'maxmemory-policy', policy);
        const { warnings, redisEvictionPolicy } = await cache.getCacheStatistics({});
        expect(redisEvictionPolicy).toBe(policy);
        expect(warnings).toEqual([expect.stringMatching(new RegExp(`^maxmemory-policy ${policy}: .*use allkeys-lfu$`))]);
      },
    );

    it('without a limit, there is a warning', async () => {
      await admin.config('SET', 'maxmemory', '0');
      const { warnings, redisMaxBytes } = await cache.getCacheStatistics({});
      expect(redisMaxBytes).toBe(0n);
      expect(warnings).toEqual([expect.stringMatching(/^maxmemory 0: /)]);
    });
  });

  describe.each([
    { state: 'stopped', down: () => server.stop(), up: () => server.start() },
    { state: 'silent', down: async () => server.pause(), up: async () => server.resume() },
  ])('that is $state', ({ down, up }) => {
    beforeAll(async () => {
      await down();
      await untilTrusted(false);
    });
    afterAll(async () => {
      await up();
      await untilTrusted(true);
    });

    it('statistics are told all the same, with a warning', async () => {
      const statistics = await cache.getCacheStatistics({});
      expect(statistics).toMatchObject({ redisUsedBytes: 0n, redisMaxBytes: 0n, redisEvictionPolicy: '', outboxRows: 0n });
      expect(statistics.warnings).toEqual([expect.stringMatching(/^Redis cannot be reached/), expect.stringMatching(/not trusted/)]);
      expect(statistics.total).toHaveLength(2);
    });

    it.each(steps)('$name is UNAVAILABLE for now', async ({ call }) => {
      expect(await failureOf(call(cache))).toMatchObject({ code: 'Unavailable', reason: 'CACHE_UNAVAILABLE', retryAfterSeconds: 1 });
    });
  });
});
