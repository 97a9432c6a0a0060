import { describe, expect, test } from 'vitest';
import { cacheWarnings } from '../../src/cache/cache-warnings.ts';
import { countCoherence } from '../../src/cache/coherence-counts.ts';
import { createCacheStatistics } from '../../src/cache/statistics.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

function atTime() {
  let timeMs = 12_345;
  const metrics = createMetrics();
  const statistics = createCacheStatistics(metrics, () => timeMs);
  return {
    statistics,
    metrics,
    pass(ms: number) {
      timeMs += ms;
    },
    hits: (windowMs?: number) => statistics.read(windowMs).entities.get('message')?.hits,
  };
}

describe('statistics', () => {
  test('tell entities, tiers and kinds of reads apart', () => {
    const { statistics } = atTime();
    statistics.count('message', 'hit', 'terminal');
    statistics.count('message', 'hit_local', 'terminal');
    statistics.count('message', 'miss', 'in_flight');
    statistics.count('message', 'negative');
    statistics.count('message', 'set');
    statistics.count('message', 'refused');
    statistics.count('conversation', 'bypass', 'busy');
    statistics.count('conversation', 'invalidation');
    const none = { hits: 0, localHits: 0, negativeHits: 0, misses: 0, bypasses: 0, sets: 0, invalidations: 0 };
    for (const windowMs of [undefined, MINUTE_MS]) {
      const { entities, tiers } = statistics.read(windowMs);
      expect(entities.get('message')).toEqual({ ...none, hits: 1, localHits: 1, negativeHits: 1, misses: 1, sets: 1 });
      expect(entities.get('conversation')).toEqual({ ...none, bypasses: 1, invalidations: 1 });
      expect(tiers.get('terminal')).toEqual({ ...none, hits: 1, localHits: 1 });
      expect(tiers.get('in_flight')).toEqual({ ...none, misses: 1 });
      expect(tiers.get('busy')).toEqual({ ...none, bypasses: 1 });
      expect(tiers.get('quiet')).toEqual(none);
    }
  });

  test.each([MINUTE_MS, 5 * MINUTE_MS, HOUR_MS])('of a window of %i ms have all of it, and at most 10 s more', (windowMs) => {
    const { statistics, pass, hits } = atTime();
    statistics.count('message', 'hit');
    pass(windowMs);
    expect(hits(windowMs)).toBe(1);
    pass(10_000);
    expect(hits(windowMs)).toBe(0);
    expect(hits()).toBe(1);
  });

  test('forget an hour that is over when the next one is counted in its place', () => {
    const { statistics, pass, hits } = atTime();
    for (let tenSeconds = 0; tenSeconds < 1_000; tenSeconds += 1) {
      statistics.count('message', 'hit');
      pass(10_000);
    }
    expect(hits(HOUR_MS)).toBe(360);
    expect(hits(MINUTE_MS)).toBe(6);
    expect(hits()).toBe(1_000);
    pass(2 * HOUR_MS);
    expect(hits(HOUR_MS)).toBe(0);
  });

  test('are what Prometheus is told', async () => {
    const { statistics, metrics } = atTime();
    statistics.count('message', 'hit', 'terminal');
    statistics.count('message', 'invalidation');
    const { text } = await metrics.exposition();
    expect(text).toContain('cache_operations_total{operation="get",result="hit",entity="message"} 1');
    expect(text).toContain('cache_operations_total{operation="delete",result="ok",entity="message"} 1');
  });

  test('of coherence are what Prometheus is told', async () => {
    const told = createMetrics();
    const { metrics, read } = countCoherence(told);
    metrics.cacheSettled('stored');
    metrics.cacheSettled('failed');
    metrics.cacheMarksFailed(2);
    metrics.cacheVerified('mismatch');
    metrics.cacheFlushed();
    expect(read()).toEqual({
      settled: { stored: 1, dropped: 0, left: 0, failed: 1 },
      marksFailed: 2,
      verified: { match: 0, mismatch: 1, superseded: 0 },
      flushes: 1,
    });
    const { text } = await told.exposition();
    for (const line of [
      ...['cache_settles_total{outcome="stored"} 1', 'cache_settles_total{outcome="failed"} 1', 'cache_mark_failures_total 2'],
      ...['cache_verify_total{result="mismatch"} 1', 'cache_epoch_flushes_total 1'],
    ]) {
      expect(text).toContain(line);
    }
  });
});

describe('warnings', () => {
  const well = {
    trusted: true,
    backlog: { rows: 0, oldestMs: 0 },
    memory: { usedBytes: 1, maxBytes: 100, evictionPolicy: 'allkeys-lfu' },
  };
  const memory = (evictionPolicy: string) => ({ ...well, memory: { ...well.memory, evictionPolicy } });

  test('are none when all is well', () => {
    for (const policy of ['allkeys-lfu', 'allkeys-lru', 'allkeys-random', 'allkeys-lfu, allkeys-lru'])
      expect(cacheWarnings(memory(policy))).toEqual([]);
  });

  test.each([
    ['noeviction', /^maxmemory-policy noeviction: .*writes fail/],
    ['volatile-ttl', /^maxmemory-policy volatile-ttl: .*marks first/],
    ['volatile-lru', /^maxmemory-policy volatile-lru: .*marks/],
    ['volatile-lfu', /^maxmemory-policy volatile-lfu: .*marks/],
    ['allkeys-lfu, noeviction', /^maxmemory-policy noeviction: /],
  ])('name the policy %s and what it does', (policy, warning) => {
    expect(cacheWarnings(memory(policy))).toEqual([expect.stringMatching(warning)]);
  });

  test('name a missing limit, and everything that is out of reach', () => {
    expect(cacheWarnings({ ...well, memory: { ...well.memory, maxBytes: 0 } })).toEqual([expect.stringMatching(/^maxmemory 0/)]);
    expect(cacheWarnings({ trusted: false, memory: undefined, backlog: undefined })).toEqual([
      expect.stringMatching(/^Redis cannot be reached/),
      expect.stringMatching(/not trusted/),
      expect.stringMatching(/^PostgreSQL cannot be reached/),
    ]);
  });
});
