/** Rate limits over real Redis: shared by processes, kept in memory while it is away, and never an error for that. */
import { randomUUID } from 'node:crypto';
import { Code, ConnectError } from '@connectrpc/connect';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { startTestApp, type TestApp } from '../support/apps.ts';
import { callsTo } from '../support/calls.ts';
import { createDatabase, type Database } from '../support/database.ts';
import { describeFailure } from '../support/protocols.ts';
import { type OwnServer, startOwnRedis } from '../support/servers.ts';
import { until } from '../support/until.ts';

const LIMITS = 'ListMessages=40/3600,GetMessage=10/3600';

describe.skipIf(inject('redis') === null)('rate limits', () => {
  const opened = new AsyncDisposableStack();
  let database: Database;
  let redis: OwnServer;
  const start = async (): Promise<TestApp> =>
    opened.use(
      await startTestApp({
        DATABASE_URL: database.url,
        REDIS_HOST: redis.host,
        REDIS_PORT: String(redis.port),
        REDIS_COMMAND_TIMEOUT_MS: '2000',
        RATE_LIMITS: LIMITS,
      }),
    );

  beforeAll(async () => {
    database = opened.use(await createDatabase());
    redis = opened.use(await startOwnRedis());
  });
  afterAll(() => opened.disposeAsync());

  async function listed(app: TestApp, times: number): Promise<{ readonly answered: number; readonly failures: readonly ConnectError[] }> {
    const { messages } = callsTo(app);
    const outcomes = await Promise.allSettled(Array.from({ length: times }, () => messages.listMessages({})));
    const failures = outcomes.flatMap((outcome) => (outcome.status === 'rejected' ? [ConnectError.from(outcome.reason)] : []));
    return { answered: times - failures.length, failures };
  }

  test('are shared by the processes of one Redis, and refuse with the time to come again', async () => {
    const [one, two] = [await start(), await start()];
    const keys = new Redis({ port: redis.port, lazyConnect: true });
    // Each process counts by itself until it is connected.
    for (const app of [one, two])
      await until('the cache answers', async () =>
        (await (await fetch(`http://127.0.0.1:${app.httpPort}/readyz`)).text()).includes('"redis"'),
      );
    await until('redis is asked', async () => {
      await callsTo(one)
        .messages.getMessage({ id: randomUUID() })
        .catch(() => undefined);
      await callsTo(two)
        .messages.getMessage({ id: randomUUID() })
        .catch(() => undefined);
      return (await keys.keys('rate:*')).length > 0;
    });
    const outcomes = [...(await Promise.all([listed(one, 30), listed(two, 30)])), await listed(one, 5), await listed(two, 5)];
    const answered = outcomes.reduce((sum, outcome) => sum + outcome.answered, 0);
    expect(answered).toBeLessThanOrEqual(40);
    expect(answered).toBeGreaterThanOrEqual(40 - 2 * 2);
    const failures = outcomes.flatMap((outcome) => outcome.failures);
    expect(new Set(failures.map(({ code }) => code))).toEqual(new Set([Code.ResourceExhausted]));
    const [failure] = failures.map(describeFailure);
    expect(failure).toMatchObject({ reason: 'RATE_LIMITED', metadata: { limit: '40', window: '3600s' } });
    expect(failure?.retryAfterMs).toBeGreaterThan(3_000_000);
    expect((await keys.keys('rate:*')).sort()).toEqual(['rate:anonymous:GetMessage', 'rate:anonymous:ListMessages']);
    expect(await keys.pttl('rate:anonymous:ListMessages')).toBeGreaterThan(0);
    keys.disconnect();
  });

  test('go on in memory while Redis is away, each process by itself', async () => {
    await redis.stop();
    const app = await start();
    expect((await listed(app, 60)).answered).toBe(40);
    const refused = (await listed(app, 1)).failures[0];
    expect(refused?.code).toBe(Code.ResourceExhausted);
    await redis.start();
  });
});
