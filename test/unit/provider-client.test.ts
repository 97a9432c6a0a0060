import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openProviders } from '../../src/providers/open-providers.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { startTelemetry } from '../../src/telemetry/otel.ts';
import { continueTrace } from '../../src/telemetry/trace.ts';
import { type OtlpReceiver, type ReceivedSpan, startOtlpReceiver } from '../support/otlp-receiver.ts';
import { answerJson, type HttpServer, startHttp } from '../support/provider-servers.ts';
import { deliver, providerWorld, sms } from '../support/provider-world.ts';
import { until } from '../support/until.ts';

const accepting = (): Promise<HttpServer> => startHttp((_seen, response) => answerJson(response, 201, { sid: 'SM1' }));

describe('providers', () => {
  it('are those there are credentials for', async () => {
    const instruments = { log: createLog({ level: 'silent' }), metrics: createMetrics() };
    using providers = await openProviders({ twilio: undefined, sendgrid: undefined }, instruments);
    expect(providers.clients.size).toBe(0);
  });

  it('load no SDK before one is needed, and nothing at all for those that are not there', async () => {
    const script = `
      const { openProviders } = await import('./src/providers/open-providers.ts');
      const { cache } = process.getBuiltinModule('node:module').createRequire(import.meta.url);
      const loaded = () => [...new Set(Object.keys(cache).map((file) => /node_modules\\/([^/]+)/.exec(file)?.[1]))].toSorted().join();
      const limits = { maxConcurrent: 1, maxPerSecond: 1, timeoutMs: 1_000 };
      await openProviders({}, {});
      const before = loaded();
      const twilio = { accountSid: 'AC', authToken: 't', apiUrl: 'https://twilio.invalid', publicUrl: '', limits };
      await openProviders({ twilio, sendgrid: { apiKey: 'k', apiUrl: 'https://sendgrid.invalid', limits } }, {});
      console.log(JSON.stringify([before, loaded()]));`;
    const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '--eval', script]);
    const [before, after] = JSON.parse(stdout);
    expect(before).toBe('');
    expect(after).not.toMatch(/twilio|@sendgrid|axios/);
  }, 20_000);
});

describe('requests at once', () => {
  it('are never more than are allowed, and as many as that', async () => {
    const running = { now: 0, most: 0 };
    const all = Promise.withResolvers<void>();
    await using server = await startHttp(async (_seen, response) => {
      running.now += 1;
      running.most = Math.max(running.most, running.now);
      if (running.now === 3) all.resolve();
      await all.promise;
      running.now -= 1;
      answerJson(response, 201, { sid: 'SM1' });
    });
    using world = await providerWorld('twilio', server.url, { maxConcurrent: 3 });
    const outcomes = await Promise.all(Array.from({ length: 12 }, () => deliver(world, sms())));
    expect(outcomes.every(({ kind }) => kind === 'accepted')).toBe(true);
    expect([running.most, server.seen.length]).toEqual([3, 12]);
  });

  it('that were not admitted are made when there is room, and otherwise not at all', async () => {
    const answers = Promise.withResolvers<void>();
    await using server = await startHttp(async (_seen, response) => {
      await answers.promise;
      answerJson(response, 201, { sid: 'SM1' });
    });
    using world = await providerWorld('twilio', server.url, { maxConcurrent: 1 });
    const first = world.client.submit(sms());
    await until('the first is under way', () => server.seen.length === 1);
    expect(await world.client.submit(sms())).toMatchObject({ kind: 'transient', failure: { providerCode: 'BUSY', retryable: true } });
    expect(await Promise.race([world.client.lookUp(sms()), first, 'neither'])).toBe('neither');
    answers.resolve();
    expect(await first).toMatchObject({ kind: 'accepted' });
  });

  it('are not made any more when they are closed', async () => {
    await using server = await accepting();
    const world = await providerWorld('twilio', server.url);
    await world.client.admit();
    world[Symbol.dispose]();
    expect(await world.client.submit(sms())).toMatchObject({ kind: 'transient' });
    expect(server.seen).toEqual([]);
  });

  it('that are under way when they are closed have an unknown outcome', async () => {
    await using server = await startHttp(() => undefined);
    const world = await providerWorld('twilio', server.url);
    const outcome = deliver(world, sms());
    await until('the request is there', () => server.seen.length === 1);
    world[Symbol.dispose]();
    expect(await outcome).toMatchObject({ kind: 'unknown' });
  });
});

describe('a provider that says "too many requests"', () => {
  it('is left alone for as long as it asks', async () => {
    await using server = await startHttp((_seen, response) => answerJson(response, 429, { code: 20429 }, { 'Retry-After': '30' }));
    using world = await providerWorld('twilio', server.url);
    await deliver(world, sms());
    expect(world.client.unavailableForMs()).toBeGreaterThan(25_000);
    expect(world.client.health().breaker).toBe('closed');
  });

  it('for one sender alone is not', async () => {
    await using server = await startHttp((_seen, response) => answerJson(response, 429, { status: 429, code: 21611, message: 'full' }));
    using world = await providerWorld('twilio', server.url);
    expect(await deliver(world, sms())).toMatchObject({ kind: 'transient', failure: { providerCode: '21611' } });
    expect(world.client.unavailableForMs()).toBe(0);
  });
});

describe('a provider that fails', () => {
  const breaker = { failuresToOpen: 2, firstPauseMs: 50 };

  it('is not asked during the pause, is tried after it, and is asked again when it answers', async () => {
    let status = 500;
    await using server = await startHttp((_seen, response) => answerJson(response, status, { sid: 'SM1' }));
    using world = await providerWorld('twilio', server.url, { breaker: { ...breaker, firstPauseMs: 60_000 } });
    await deliver(world, sms());
    await deliver(world, sms());
    expect(await deliver(world, sms())).toMatchObject({ kind: 'transient', failure: { providerCode: 'BREAKER_OPEN' } });
    expect(await world.client.lookUp(sms())).toEqual({ kind: 'unavailable' });
    expect([server.seen.length, world.client.health().breaker]).toEqual([2, 'open']);

    using other = await providerWorld('twilio', server.url, { breaker });
    await deliver(other, sms());
    await deliver(other, sms());
    await until('the pause is over', () => other.client.unavailableForMs() === 0);
    status = 201;
    expect(await deliver(other, sms())).toMatchObject({ kind: 'accepted' });
    expect(other.client.health().breaker).toBe('closed');
    expect(other.measured).toEqual(['twilio submit', 'twilio submit', 'twilio open', 'twilio submit', 'twilio closed']);
    expect(other.logLines().map(({ level, msg }) => `${level}: ${msg}`)).toEqual([
      'warn: twilio fails again and again; its messages wait',
      'info: twilio answers again',
    ]);
  });

  it('because of our credentials says what to do, once', async () => {
    await using server = await startHttp((_seen, response) => answerJson(response, 401, { code: 20003 }));
    using world = await providerWorld('twilio', server.url);
    await Promise.all([deliver(world, sms()), deliver(world, sms())]);
    expect(world.logLines()).toMatchObject([
      { level: 'error', provider: 'twilio', retry_in_ms: 60_000, msg: expect.stringMatching(/refuses our credentials.*TWILIO_AUTH_TOKEN/) },
    ]);
  });
});

describe('spans of requests', () => {
  let receiver: OtlpReceiver;
  const named = (name: string): ReceivedSpan | undefined => receiver.spans().find((span) => span.name === name);

  beforeAll(async () => {
    receiver = await startOtlpReceiver();
    process.env['OTEL_EXPORTER_OTLP_ENDPOINT'] = receiver.endpoint;
    process.env['OTEL_EXPORTER_OTLP_PROTOCOL'] = 'http/json';
    const telemetry = await startTelemetry({ exportTraces: true, sampleRatio: 1, serviceName: 'test', serviceVersion: '0' });
    await using server = await startHttp(({ method }, response) =>
      method === 'GET'
        ? answerJson(response, 200, { messages: [] })
        : answerJson(response, 400, { status: 400, code: 21211, message: 'canary' }),
    );
    using world = await providerWorld('twilio', server.url);
    await continueTrace({ name: 'dispatch', kind: 'consumer', attributes: {}, parent: '' }, async () => {
      await deliver(world, sms());
      await world.client.lookUp(sms());
    });
    expect(server.seen.every(({ headers }) => headers['traceparent'] === undefined)).toBe(true);
    await telemetry[Symbol.asyncDispose]();
  });
  afterAll(async () => {
    await receiver[Symbol.asyncDispose]();
  });

  it('tell what was asked, of whom and with what result', () => {
    expect(named('twilio submit')).toMatchObject({
      kind: 3,
      parentSpanId: named('dispatch')?.spanId,
      attributes: {
        'delivery.outcome': 'rejected',
        'http.response.status_code': 400,
        'error.type': 'rejected',
        'server.address': '127.0.0.1',
      },
      status: { code: 2 },
    });
    expect(named('twilio look_up')).toMatchObject({ attributes: { 'delivery.outcome': 'absent', 'http.response.status_code': 200 } });
    expect(named('twilio look_up')?.attributes).not.toHaveProperty('error.type');
  });

  it('have neither the message, nor addresses, nor credentials in them', () => {
    expect(receiver.bodies.join()).not.toMatch(/canary|1415555267/);
  });
});
