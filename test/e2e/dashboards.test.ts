/** A Prometheus over the running service: every panel of every dashboard shows something, and every rule can be evaluated. */
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, inject, it, vi } from 'vitest';
import { createTestAuthority } from '../support/certificate-files.ts';
import { type DeliveringService, startDelivering } from '../support/delivering-service.ts';
import { deployedDashboards, deployedRules, metricsIn } from '../support/deployed.ts';
import { startOtlpReceiver } from '../support/otlp-receiver.ts';
import { missingPrometheus, type Prometheus, startPrometheus } from '../support/prometheus.ts';
import { newPair } from '../support/use-cases.ts';

const patiently = { timeout: 40_000, interval: 500 };

/** As Grafana would, over what a second's look gives in a few seconds. */
const VARIABLES = { $__rate_interval: '10s', $__range: '30s', $job: '.+', $instance: '.+' };
const substituted = (expr: string): string => Object.entries(VARIABLES).reduce((text, [name, value]) => text.replaceAll(name, value), expr);

const queries = deployedDashboards().flatMap(({ title: dashboard, panels }) =>
  panels.flatMap(({ title, targets = [] }) => targets.map(({ refId, expr }) => ({ panel: `${dashboard}: ${title}: ${refId}`, expr }))),
);

const mail = {
  fromAddress: 'desk@example.com',
  toAddress: 'guest@example.org',
  body: 'It is ready.',
  email: { subject: 'Your table', htmlBody: '<p>It is ready.</p>' },
};

/** Of everything a little: SMS and mail out and in, reads that hit and miss, a list, an update, a watch, an opt-out, a wrong id. */
async function traffic({ calls, simulator }: DeliveringService): Promise<void> {
  const { theirs } = newPair();
  const ours = '+14155552671';
  const { id, conversationId } = await calls.send({ fromAddress: ours, toAddress: theirs });
  await calls.messages.sendMessage({ message: mail });
  for (let reads = 0; reads < 4; reads += 1) {
    await calls.readMessage(id);
    await calls.readConversation(conversationId);
  }
  await calls.conversations.updateConversation({
    conversation: { id: conversationId, title: 'A table' },
    updateMask: { paths: ['title'] },
  });
  await calls.readConversation(conversationId);
  await calls.messages.listMessages({ pageSize: 2 });
  await calls.readMessage('01900000-0000-7000-8000-00000000dead').catch(() => undefined);
  await simulator.receive({ type: 'sms', from: theirs, to: ours, body: 'STOP' });
  await calls.send({ fromAddress: ours, toAddress: theirs }).catch(() => undefined);
}

describe.skipIf(inject('redis') === null || missingPrometheus() !== undefined)('Prometheus over the running service', () => {
  const opened = new AsyncDisposableStack();
  let prometheus: Prometheus;

  beforeAll(async () => {
    const redis = inject('redis');
    const otlp = opened.use(await startOtlpReceiver());
    const env = {
      ...(redis !== null && { REDIS_HOST: redis.host, REDIS_PORT: String(redis.port), CACHE_KEY_PREFIX: 'dashboards:' }),
      CACHE_VERIFY_RATIO: '1',
      OTEL_EXPORTER_OTLP_ENDPOINT: otlp.endpoint,
      OTEL_EXPORTER_OTLP_PROTOCOL: 'http/json',
    };
    const on = opened.use(await startDelivering({ env: { ...env, PROCESS_ROLE: 'server' } }));
    const worker = await on.startAnother({ PROCESS_ROLE: 'worker' });
    const authority = opened.use(await createTestAuthority());
    const secure = await on.startAnother({ PROCESS_ROLE: 'server', HTTP_PORT: '0', AUTH_MODE: 'on', ...authority.env });
    prometheus = opened.use(await startPrometheus([on.service, worker, secure].map(({ httpPort }) => `127.0.0.1:${httpPort}`)));
    const leaving = new AbortController();
    const watching = (async () => {
      for await (const _ of on.calls.messages.watchMessages({}, { signal: leaving.signal }));
    })().catch(() => undefined);
    const sending = (async () => {
      while (!leaving.signal.aborted) {
        await traffic(on);
        await delay(50);
      }
    })();
    // A failure of it shows in whatever waits for its traces.
    sending.catch(() => undefined);
    opened.defer(async () => {
      leaving.abort();
      await Promise.allSettled([watching, sending]);
    });
  });
  afterAll(() => opened.disposeAsync());

  it('answers every query of every panel', async () => {
    let empty = queries;
    await vi.waitFor(async () => {
      const still: typeof empty = [];
      for (const query of empty) {
        const samples = await prometheus.query(substituted(query.expr));
        if (!samples.some(({ value }) => Number.isFinite(value))) still.push(query);
      }
      empty = still;
      expect(empty).toEqual([]);
    }, patiently);
    expect(queries.length).toBeGreaterThan(60);
  });

  it('has every metric that panels and rules name', async () => {
    const rules = deployedRules();
    const known = new Set([...(await prometheus.metrics()), ...rules.flatMap(({ record }) => record ?? []), 'ALERTS']);
    const named = new Set([...queries, ...rules].flatMap(({ expr }) => [...metricsIn(expr)]));
    expect([...named].filter((name) => !known.has(name))).toEqual([]);
    expect(named.size).toBeGreaterThan(50);
  });

  it('evaluates every rule, and finds nothing wrong with a service that works', async () => {
    const rules = await vi.waitFor(async () => {
      const all = await prometheus.rules();
      expect(all.filter(({ health }) => health === 'unknown')).toEqual([]);
      return all;
    }, patiently);
    expect(rules).toHaveLength(deployedRules().length);
    expect(rules.filter(({ health, lastError }) => health !== 'ok' || lastError !== undefined)).toEqual([]);
    // How fast a machine is that runs tests is no fault of the service.
    const firing = rules.filter(({ state, name }) => state === 'firing' && !name.includes('Latency'));
    expect(firing.map(({ name }) => name)).toEqual([]);
  });

  it('leads from the latency of calls to their traces', async () => {
    for (const histogram of ['rpc_server_call_duration_seconds_bucket', 'grpc_server_handling_seconds_bucket']) {
      const [exemplar] = await vi.waitFor(async () => {
        const found = await prometheus.exemplars(histogram);
        expect(found.length).toBeGreaterThan(0);
        return found;
      }, patiently);
      expect(exemplar?.labels['trace_id']).toMatch(/^[0-9a-f]{32}$/);
    }
  });
});
