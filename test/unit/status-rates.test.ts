import { describe, expect, it } from 'vitest';
import { createHistory } from '../../src/http/status-history.ts';
import { quantileMs, ratesBetween, type Sample } from '../../src/http/status-rates.ts';
import { createMetrics, type Metrics } from '../../src/telemetry/metrics.ts';

const GET = { service: 'messaging.v1.MessageService', method: 'GetMessage', type: 'unary' } as const;
const WATCH = { service: 'messaging.v1.MessageService', method: 'WatchMessages', type: 'server_stream' } as const;

async function sampleOf(metrics: Metrics, atMs: number): Promise<Sample> {
  return { atMs, readings: await metrics.readings() };
}

describe('the rates between two readings', () => {
  it('are those of the time in between alone', async () => {
    const metrics = createMetrics();
    const get = metrics.rpc(GET);
    for (let call = 0; call < 50; call += 1) get.handled('grpc', 'INTERNAL', 5);
    const before = await sampleOf(metrics, 10_000);
    for (let call = 0; call < 17; call += 1) get.handled('grpc', 'OK', 0.003);
    get.handled('grpc', 'UNAVAILABLE', 0.2);
    get.handled('connectrpc', 'NOT_FOUND', 0.003);
    // Of a trace that is recorded: counted by prom-client itself.
    get.handled('grpc', 'OK', 0.003, { traceId: '1'.repeat(32), spanId: '1'.repeat(16) });
    const rates = ratesBetween(before, await sampleOf(metrics, 20_000), 0);
    expect(rates).toMatchObject({ windowMs: 10_000, perSecond: 2, failedShare: 0.05, refusedShare: 0.05 });
    expect(rates.methods).toEqual([
      expect.objectContaining({ method: 'GetMessage', isStream: false, calls: 20, perSecond: 2, failedShare: 0.05, refusedShare: 0.05 }),
    ]);
    const [{ p50Ms = 0, p95Ms = 0, p99Ms = 0 } = {}] = rates.methods;
    expect(p50Ms).toBeGreaterThan(2.5);
    expect(p95Ms).toBeLessThanOrEqual(5);
    expect(p99Ms).toBeGreaterThan(100);
    expect(p99Ms).toBeLessThanOrEqual(250);
  });

  it('name every method that was called since the start, and no other', async () => {
    const metrics = createMetrics();
    metrics.rpc({ ...GET, method: 'ListMessages' });
    metrics.rpc(GET).handled('grpc', 'OK', 0.003);
    const before = await sampleOf(metrics, 0);
    const { methods } = ratesBetween(before, await sampleOf(metrics, 1_000), 0);
    expect(methods).toEqual([expect.objectContaining({ method: 'GetMessage', calls: 0, perSecond: 0, failedShare: 0, p50Ms: undefined })]);
  });

  it('have no durations of streams, which last as long as somebody watches', async () => {
    const metrics = createMetrics();
    metrics.rpc(WATCH).handled('grpc', 'OK', 3_000);
    const { methods } = ratesBetween(undefined, await sampleOf(metrics, 1_000), 0);
    expect(methods).toEqual([expect.objectContaining({ isStream: true, calls: 1, p50Ms: undefined, p99Ms: undefined })]);
  });

  it('say who answered reads, of both entities', async () => {
    const metrics = createMetrics();
    metrics.cacheOperations('get', 'hit', 'message').inc();
    const before = await sampleOf(metrics, 0);
    for (const result of ['hit', 'negative', 'hit_local', 'miss', 'bypass'] as const) {
      metrics.cacheOperations('get', result, 'message').inc();
      metrics.cacheOperations('get', result, 'conversation').inc();
    }
    metrics.cacheOperations('set', 'ok', 'message').inc();
    expect(ratesBetween(before, await sampleOf(metrics, 1_000), 0).reads).toEqual({ redis: 4, local: 2, miss: 2, bypass: 2 });
  });
});

describe('a quantile', () => {
  const bounds = [1, 2, 4, Number.POSITIVE_INFINITY];
  it.each([
    ['lies evenly within its bucket', 0.5, [0, 10, 10, 10], 1_500],
    ['begins at 0 in the first one', 0.5, [10, 10, 10, 10], 500],
    ['is a bound where calls fill a bucket', 0.5, [5, 5, 10, 10], 1_000],
    ['is the highest bound when it is above that', 0.99, [1, 1, 1, 100], 4_000],
  ] as const)('%s', (_, share, upTo, expected) => expect(quantileMs(share, bounds, upTo)).toBeCloseTo(expected));

  it('of no calls is unknown', () => expect(quantileMs(0.5, bounds, [0, 0, 0, 0])).toBeUndefined());
});

describe('the history', () => {
  it('knows the last minute, and no more of the chart than ten', async () => {
    let nowMs = 0;
    const metrics = createMetrics();
    const get = metrics.rpc(GET);
    const history = createHistory(() => nowMs);
    const step = async (calls: number): Promise<void> => {
      nowMs += 5_000;
      for (let call = 0; call < calls; call += 1) get.handled('grpc', 'OK', 0.003);
      history.add(await metrics.readings());
    };
    await step(600);
    expect(history.latest(await metrics.readings())).toMatchObject({ windowMs: 5_000, perSecond: 120 });
    for (let steps = 0; steps < 12; steps += 1) await step(10);
    // Of the first step nothing is left.
    expect(history.latest(await metrics.readings())).toMatchObject({ windowMs: 60_000, perSecond: 2 });
    for (let steps = 0; steps < 200; steps += 1) await step(5);
    nowMs += 1_000;
    const points = history.points();
    expect(points).toHaveLength(120);
    expect(points.at(-1)).toMatchObject({ agoMs: 1_000, perSecond: 1 });
    expect(points[0]).toMatchObject({ agoMs: 119 * 5_000 + 1_000 });
  });
});
