import { describe, expect, it } from 'vitest';
import { watchTrust } from '../../src/cache/trust.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { createMemoryRedis } from '../support/memory-redis.ts';

/** Trust over a Redis in memory and a clock that the test sets; it looks when the test says so. */
function watched() {
  const redis = createMemoryRedis();
  const { connection } = redis;
  let timeMs = 0;
  let answerMs = 0;
  let silent = false;
  let look: (() => void) | undefined;
  const lines: string[] = [];
  const trust = watchTrust({
    connection: {
      ...connection,
      async runIds() {
        timeMs += answerMs;
        if (silent) throw new Error('Command timed out');
        return connection.runIds();
      },
    },
    watermarkKey: 'w',
    nowMs: () => timeMs,
    wait: (_ms, signal) =>
      new Promise((resolve) => {
        look = resolve;
        signal?.addEventListener('abort', () => resolve());
      }),
    metrics: createMetrics(),
    log: createLog({ level: 'info', destination: { write: (line: string) => lines.push(JSON.parse(line).msg) } }),
  });
  const turn = () => new Promise((resolve) => setImmediate(resolve));
  return {
    redis,
    trust,
    lines,
    publish: async (runIds: string) => connection.commands.publishWatermark('w', { runIds, databaseIdentity: 'pg.1' }, 0),
    async lookAgain() {
      await turn();
      look?.();
      await turn();
    },
    pass(ms: number) {
      timeMs += ms;
    },
    answersAfter(ms: number) {
      answerMs = ms;
    },
    fallSilent() {
      silent = true;
    },
  };
}

describe('the cache is trusted', () => {
  it('only once there is a watermark', async () => {
    const { trust, publish, lookAgain, lines } = watched();
    await lookAgain();
    expect(trust.ticket()).toBeUndefined();
    await publish('run-1');
    await lookAgain();
    expect(trust.ticket()).toBeDefined();
    expect(lines).toEqual(['cache is trusted']);
    await trust[Symbol.asyncDispose]();
  });

  it('or says after a while, once, that it is not', async () => {
    const { trust, lookAgain, lines, pass } = watched();
    await lookAgain();
    expect(lines).toEqual([]);
    pass(3_000);
    await lookAgain();
    await lookAgain();
    expect(lines).toEqual([expect.stringMatching(/^cache is not trusted/)]);
    await trust[Symbol.asyncDispose]();
  });

  it('not by the watermark of another Redis', async () => {
    const { trust, publish, lookAgain } = watched();
    await publish('run-of-another');
    await lookAgain();
    expect(trust.ticket()).toBeUndefined();
    await trust[Symbol.asyncDispose]();
  });

  it('for as long as the watermark had left when it was asked for, and no longer without another answer', async () => {
    const { trust, publish, lookAgain, pass, answersAfter, fallSilent } = watched();
    await publish('run-1');
    answersAfter(500);
    await lookAgain();
    fallSilent();
    await lookAgain();
    // 3,000 ms from the question: the answers took 500 of them each.
    pass(1_900);
    expect(trust.ticket()).toBeDefined();
    pass(101);
    expect(trust.ticket()).toBeUndefined();
    await trust[Symbol.asyncDispose]();
  });

  it('no more, at once, when the connection is lost; and tickets from before do not hold', async () => {
    const { redis, trust, publish, lookAgain } = watched();
    await publish('run-1');
    await lookAgain();
    const ticket = trust.ticket();
    if (ticket === undefined) throw new Error('it is trusted');
    expect(trust.holds(ticket)).toBe(true);
    redis.restart(new Map());
    expect(trust.ticket()).toBeUndefined();
    expect(trust.holds(ticket)).toBe(false);
    await lookAgain();
    // The watermark is still that of the Redis before.
    expect(trust.ticket()).toBeUndefined();
    await publish('run-2');
    await lookAgain();
    expect(trust.ticket()).toBeDefined();
    await trust[Symbol.asyncDispose]();
  });
});
