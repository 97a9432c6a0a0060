/** What orchestrators and tools ask of a running server: health, readiness, reflection. */
import { create, fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';
import { Code, createClient } from '@connectrpc/connect';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from '../../gen/grpc/health/v1/health_pb.js';
import {
  ServerReflection,
  ServerReflectionRequestSchema,
  type ServerReflectionResponse,
} from '../../gen/grpc/reflection/v1/reflection_pb.js';
import { ServerReflection as ServerReflectionV1Alpha } from '../../gen/grpc/reflection/v1alpha/reflection_pb.js';
import { startTestApp, type TestApp } from '../support/apps.ts';
import { createDatabase } from '../support/database.ts';
import { failure, protocols, servicesOf } from '../support/protocols.ts';
import { scrape } from '../support/scrape.ts';
import { startOwnPostgres } from '../support/servers.ts';

const patiently = { timeout: 30_000, interval: 50 };
const served = [
  '',
  'messaging.v1.CacheService',
  'messaging.v1.ConversationService',
  'messaging.v1.MessageService',
  'messaging.v1.ProviderEventService',
  'messaging.v1.SuppressionService',
];

async function readyz({ httpPort }: TestApp) {
  const answer = await fetch(`http://127.0.0.1:${httpPort}/readyz`);
  return { status: answer.status, body: await answer.json() };
}

describe('health', () => {
  it('follows PostgreSQL: away, back, without a restart', async () => {
    await using postgres = await startOwnPostgres();
    await using app = await startTestApp({ DATABASE_URL: postgres.url, DATABASE_CONNECT_TIMEOUT_MS: '500' });
    const { transport, messages } = servicesOf(app);
    const health = createClient(Health, transport);
    const check = async () => (await health.check({})).status;
    await expect.poll(check, patiently).toBe(ServingStatus.SERVING);
    expect(await readyz(app)).toMatchObject({ status: 200, body: { status: 'ready' } });

    const leaving = new AbortController();
    const seen: ServingStatus[] = [];
    const watching = (async () => {
      for await (const { status } of health.watch({ service: 'messaging.v1.MessageService' }, { signal: leaving.signal, timeoutMs: 0 }))
        seen.push(status);
    })().catch((error: unknown) => error);
    await expect.poll(() => seen, patiently).toEqual([ServingStatus.SERVING]);

    await postgres.stop();
    await expect.poll(check, patiently).toBe(ServingStatus.NOT_SERVING);
    await expect.poll(() => seen, patiently).toEqual([ServingStatus.SERVING, ServingStatus.NOT_SERVING]);
    const { statuses } = await health.list({});
    expect(Object.keys(statuses).sort()).toEqual(served);
    expect(Object.values(statuses).map(({ status }) => status)).toEqual(served.map(() => ServingStatus.NOT_SERVING));
    const postgresql = { name: 'postgresql', ok: false, required: true };
    expect(await readyz(app)).toMatchObject({ status: 503, body: { status: 'not ready', dependencies: [postgresql, { name: 'redis' }] } });
    expect((await scrape(app)).text).toContain('dependency_up{dependency="postgresql"} 0');
    expect((await fetch(`http://127.0.0.1:${app.httpPort}/healthz`)).status).toBe(200);
    expect(await failure(messages.listMessages({}))).toMatchObject({
      code: 'Unavailable',
      reason: 'STORAGE_UNAVAILABLE',
      retryAfterMs: 1_000,
    });

    await postgres.start();
    await expect.poll(check, patiently).toBe(ServingStatus.SERVING);
    await expect.poll(() => seen.at(-1), patiently).toBe(ServingStatus.SERVING);
    expect(await readyz(app)).toMatchObject({ status: 200 });
    expect((await scrape(app)).text).toContain('dependency_up{dependency="postgresql"} 1');
    expect((await messages.listMessages({})).messages).toEqual([]);
    leaving.abort();
    await watching;
  });

  it('names PostgreSQL as what is away while it is silent', async () => {
    await using postgres = await startOwnPostgres();
    await using app = await startTestApp({ DATABASE_URL: postgres.url });
    await expect.poll(() => readyz(app), patiently).toMatchObject({ status: 200 });
    postgres.pause();
    const postgresql = { name: 'postgresql', ok: false, required: true, detail: 'does not answer' };
    expect(await readyz(app)).toMatchObject({ status: 503, body: { status: 'not ready', dependencies: [postgresql, { name: 'redis' }] } });
    postgres.resume();
    await expect.poll(() => readyz(app), patiently).toMatchObject({ status: 200 });
  });
});

describe('a running server', () => {
  const opened = new AsyncDisposableStack();
  let app: TestApp;

  beforeAll(async () => {
    const database = opened.use(await createDatabase());
    app = opened.use(await startTestApp({ DATABASE_URL: database.url }));
  });
  afterAll(() => opened.disposeAsync());

  it.each(protocols)('tells its health through %s', async (protocol) => {
    const health = createClient(Health, servicesOf(app, protocol).transport);
    for (const service of served)
      await expect.poll(async () => (await health.check({ service })).status, patiently).toBe(ServingStatus.SERVING);
    // Health is no part of this API: what it says has no reason of this API.
    expect(await failure(health.check({ service: 'nothing' }))).toMatchObject({ code: 'NotFound', reason: undefined });
    const watch = health.watch({ service: 'nothing' })[Symbol.asyncIterator]();
    expect((await watch.next()).value).toMatchObject({ status: ServingStatus.SERVICE_UNKNOWN });
    await watch.return?.();
  });

  it.each([
    ['v1', ServerReflection],
    ['v1alpha', ServerReflectionV1Alpha],
  ] as const)('describes itself by reflection %s', async (_, service) => {
    const client = createClient(service as typeof ServerReflection, servicesOf(app).transport);
    async function* questions() {
      yield create(ServerReflectionRequestSchema, { messageRequest: { case: 'listServices', value: '' } });
      yield create(ServerReflectionRequestSchema, {
        messageRequest: { case: 'fileContainingSymbol', value: 'messaging.v1.MessageService.GetMessage' },
      });
      yield create(ServerReflectionRequestSchema, { messageRequest: { case: 'fileContainingSymbol', value: 'messaging.v1.Nothing' } });
    }
    const answers: ServerReflectionResponse['messageResponse'][] = [];
    for await (const { messageResponse } of client.serverReflectionInfo(questions())) answers.push(messageResponse);
    const [list, file, nothing] = answers;
    expect(
      list?.case === 'listServicesResponse' &&
        list.value.service
          .map(({ name }) => name)
          .filter((name) => name.startsWith('messaging.v1.'))
          .sort(),
    ).toEqual(served.slice(1));
    const files = file?.case === 'fileDescriptorResponse' ? file.value.fileDescriptorProto : [];
    expect(files.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes).name)).toContain('messaging/v1/message_service.proto');
    expect(nothing).toMatchObject({ case: 'errorResponse', value: { errorCode: Code.NotFound } });
  });
});
