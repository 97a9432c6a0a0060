import { Code, ConnectError, createClient, createRouterTransport } from '@connectrpc/connect';
import { describe, expect, test } from 'vitest';
import { Health as HealthService, HealthCheckResponse_ServingStatus as Status } from '../../gen/grpc/health/v1/health_pb.js';
import { createHealth, healthRoutes } from '../../src/rpc/health.ts';

const MESSAGES = 'messaging.v1.MessageService';

function setup(maxWatches?: number) {
  const health = createHealth([MESSAGES]);
  return { health, client: createClient(HealthService, createRouterTransport(healthRoutes(health, maxWatches))) };
}

/** A watch read one status at a time. */
function open(client: ReturnType<typeof setup>['client'], service: string, signal = new AbortController().signal) {
  const responses = client.watch({ service }, { signal })[Symbol.asyncIterator]();
  return {
    next: async () => (await responses.next()).value?.status,
    failure: () =>
      responses.next().then(
        () => undefined,
        (error: unknown) => ConnectError.from(error).code,
      ),
  };
}

describe('health', () => {
  test('reports NOT_SERVING until it is told otherwise', async () => {
    const { health, client } = setup();
    await expect(client.check({})).resolves.toMatchObject({ status: Status.NOT_SERVING });
    health.set(true);
    await expect(client.check({})).resolves.toMatchObject({ status: Status.SERVING });
    await expect(client.check({ service: MESSAGES })).resolves.toMatchObject({ status: Status.SERVING });
  });

  test('answers a check of an unknown service with NOT_FOUND', async () => {
    await expect(setup().client.check({ service: 'messaging.v1.Nothing' })).rejects.toMatchObject({ code: Code.NotFound });
  });

  test('lists every service and the server itself', async () => {
    const { health, client } = setup();
    health.set(true);
    const { statuses } = await client.list({});
    expect(Object.entries(statuses).map(([name, { status }]) => [name, status])).toEqual([
      ['', Status.SERVING],
      [MESSAGES, Status.SERVING],
    ]);
  });

  test('a watch yields the status at once and then every change', async () => {
    const { health, client } = setup();
    const watch = open(client, MESSAGES);
    expect(await watch.next()).toBe(Status.NOT_SERVING);
    health.set(true);
    expect(await watch.next()).toBe(Status.SERVING);
    health.set(true);
    health.set(false);
    expect(await watch.next()).toBe(Status.NOT_SERVING);
  });

  test('a watch that waits is woken by a change', async () => {
    const { health, client } = setup();
    const watch = open(client, '');
    await watch.next();
    const next = watch.next();
    health.set(true);
    expect(await next).toBe(Status.SERVING);
  });

  test('a watch of an unknown service says so and stays open', async () => {
    const { health, client } = setup();
    const watch = open(client, 'messaging.v1.Nothing');
    expect(await watch.next()).toBe(Status.SERVICE_UNKNOWN);
    const failure = watch.failure();
    health.set(true);
    health.close();
    expect(await failure).toBe(Code.Unavailable);
  });

  test('closing tells every watch NOT_SERVING and ends it, and nothing changes the status afterwards', async () => {
    const { health, client } = setup();
    health.set(true);
    const watches = [open(client, ''), open(client, MESSAGES)];
    for (const watch of watches) expect(await watch.next()).toBe(Status.SERVING);
    health.close();
    health.set(true);
    for (const watch of watches) {
      expect(await watch.next()).toBe(Status.NOT_SERVING);
      expect(await watch.failure()).toBe(Code.Unavailable);
    }
    await expect(client.check({})).resolves.toMatchObject({ status: Status.NOT_SERVING });
  });

  test('a watch that its caller abandons frees its place', async () => {
    const { client } = setup(1);
    const caller = new AbortController();
    const first = open(client, '', caller.signal);
    await first.next();
    expect(await open(client, '').failure()).toBe(Code.ResourceExhausted);
    const failure = first.failure();
    caller.abort();
    expect(await failure).toBe(Code.Canceled);
    expect(await open(client, '').next()).toBe(Status.NOT_SERVING);
  });

  test('a subscription ends once, and only itself', () => {
    const health = createHealth([]);
    const calls: string[] = [];
    const first = health.subscribe(() => calls.push('first'));
    health.subscribe(() => calls.push('second'));
    first();
    first();
    health.set(true);
    expect(calls).toEqual(['second']);
  });
});
