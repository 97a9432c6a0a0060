import { randomUUID } from 'node:crypto';
import { create, toBinary } from '@bufbuild/protobuf';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { HealthCheckRequestSchema } from '../../gen/grpc/health/v1/health_pb.js';
import { ServerReflectionRequestSchema } from '../../gen/grpc/reflection/v1/reflection_pb.js';
import { ConversationService, UpdateConversationRequestSchema } from '../../gen/messaging/v1/conversation_service_pb.js';
import { createMessagingClient, MessagingError, status } from '../../src/client/messaging-client.ts';
import { startTestApp, type TestApp } from '../support/apps.ts';
import { createDatabase } from '../support/database.ts';
import { type Services, servicesOf } from '../support/protocols.ts';
import { connectRaw, failureIn, frame, type RawClient, type RawRequest } from '../support/raw-calls.ts';
import { lockConversation } from '../support/row-locks.ts';
import { scrape } from '../support/scrape.ts';

const DEFAULT_DEADLINE_MS = 400;
const HTTP2_CANCEL = 8;
const late = { code: 'DeadlineExceeded', reason: 'DEADLINE_EXCEEDED', domain: 'messaging.v1' };
const patiently = { timeout: 20_000, interval: 20 };

const opened = new AsyncDisposableStack();
const complaints: unknown[] = [];
let app: TestApp;
let raw: RawClient;
let services: Services;
let databaseUrl: string;

beforeAll(async () => {
  vi.spyOn(console, 'error').mockImplementation((...words) => complaints.push(words));
  process.on('unhandledRejection', (reason) => complaints.push(reason));
  const database = opened.use(await createDatabase());
  app = opened.use(
    await startTestApp({
      DATABASE_URL: database.url,
      DEFAULT_DEADLINE_MS: String(DEFAULT_DEADLINE_MS),
      DATABASE_STATEMENT_TIMEOUT_MS: '60000',
    }),
  );
  raw = opened.use(await connectRaw(`http://127.0.0.1:${app.grpcPort}`));
  services = servicesOf(app);
  databaseUrl = database.url;
});
afterAll(async () => {
  const errors = app.logLines().filter(({ level }) => level === 'error');
  await opened.disposeAsync();
  expect({ complaints, errors }).toEqual({ complaints: [], errors: [] });
});

let id: string;
beforeEach(async () => {
  const { message } = await services.messages.sendMessage(
    { message: { fromAddress: '+14155552671', toAddress: '+14155552672', body: 'hello' } },
    { timeoutMs: 30_000 },
  );
  id = message?.conversationId ?? '';
});

const lock = () => lockConversation(databaseUrl, id);
const titleOf = async () => (await services.conversations.getConversation({ id }, { timeoutMs: 30_000 })).conversation?.title;

const update = (title: string) =>
  toBinary(UpdateConversationRequestSchema, create(UpdateConversationRequestSchema, { conversation: { id, title } }));
const path = `/${ConversationService.typeName}/UpdateConversation`;

const wires = [
  { name: 'gRPC', contentType: 'application/grpc', timeout: { 'grpc-timeout': '300m' }, wrap: frame },
  { name: 'gRPC-Web', contentType: 'application/grpc-web', timeout: { 'grpc-timeout': '300000u' }, wrap: frame },
  { name: 'Connect', contentType: 'application/proto', timeout: { 'connect-timeout-ms': '300' }, wrap: (bytes: Uint8Array) => bytes },
];

describe.each(wires)('$name', ({ contentType, timeout, wrap }) => {
  const request = (title: string, more: Partial<RawRequest> = {}): RawRequest => {
    return { path, headers: { 'content-type': contentType, ...timeout }, body: wrap(update(title)), ...more };
  };

  it('answers in time though the handler still waits, and forgets what comes later', async () => {
    await using held = await lock();
    // Whoever answered only when the handler is done would not answer before the lock is gone.
    expect(failureIn(await raw.call(request('late')))).toMatchObject({ ...late, message: 'no answer within 300 ms' });
    await held.awaited();
    await held.release();
    await expect.poll(titleOf, patiently).toBe('late');
  });

  it('answers in time though the body never comes', async () => {
    const answer = await raw.call(request('', { body: new Uint8Array(), endless: true }));
    expect(failureIn(answer)).toMatchObject({ ...late, message: 'no answer within 300 ms' });
  });

  it('answers in time though the body stops halfway', async () => {
    const answer = await raw.call(request('', { body: wrap(update('half')).subarray(0, 12), endless: true }));
    expect(failureIn(answer)).toMatchObject(late);
  });

  it('has a deadline of its own when the caller brings none', async () => {
    const headers = { 'content-type': contentType };
    expect(failureIn(await raw.call({ path, headers, endless: true }))).toMatchObject({
      ...late,
      message: `no answer within ${DEFAULT_DEADLINE_MS} ms`,
    });
    await using held = await lock();
    expect(failureIn(await raw.call(request('later', { headers })))).toMatchObject(late);
    await held.release();
    await expect.poll(titleOf, patiently).toBe('later');
  });

  it('says the same of it when the process was held up meanwhile', async () => {
    const started = async () => (await scrape(app)).sum('grpc_server_started_total');
    const before = await started();
    const call = raw.open({ path, headers: { 'content-type': contentType }, endless: true });
    await expect.poll(started, patiently).toBe(before + 1);
    const untilMs = performance.now() + DEFAULT_DEADLINE_MS;
    while (performance.now() < untilMs);
    expect(failureIn(await call.ended)).toMatchObject({ ...late, message: `no answer within ${DEFAULT_DEADLINE_MS} ms` });
  });

  it('lets a handler go on when its caller leaves', async () => {
    const cancelled = async () =>
      (await scrape(app)).sum('grpc_server_handled_total', { grpc_method: 'UpdateConversation', grpc_code: 'CANCELLED' });
    const before = await cancelled();
    await using held = await lock();
    const call = raw.open(request('left'));
    await held.awaited();
    call.cancel();
    expect(await call.ended).toMatchObject({ rstCode: HTTP2_CANCEL });
    await expect.poll(cancelled, patiently).toBe(before + 1);
    await held.release();
    await expect.poll(titleOf, patiently).toBe('left');
  });
});

describe('a stream', () => {
  const streamPath = (name: string) => `/${name}`;
  const grpc = { 'content-type': 'application/grpc', 'grpc-timeout': '300m' };

  it('that its caller keeps open ends at its deadline, after the answers it has given', async () => {
    const request = create(ServerReflectionRequestSchema, { messageRequest: { case: 'listServices', value: '' } });
    const answer = await raw.call({
      path: streamPath('grpc.reflection.v1.ServerReflection/ServerReflectionInfo'),
      headers: grpc,
      body: frame(toBinary(ServerReflectionRequestSchema, request)),
      endless: true,
    });
    expect(answer.body.toString()).toContain('messaging.v1.MessageService');
    expect(failureIn(answer)).toMatchObject(late);
  });

  it.each(wires)('of $name that the service keeps open ends at its deadline', async ({ contentType, timeout }) => {
    const type = contentType === 'application/proto' ? 'application/connect+proto' : contentType;
    const answer = await raw.call({
      path: streamPath('grpc.health.v1.Health/Watch'),
      headers: { 'content-type': type, ...timeout },
      body: frame(toBinary(HealthCheckRequestSchema, create(HealthCheckRequestSchema))),
    });
    expect(answer.body.length).toBeGreaterThan(5);
    expect(failureIn(answer)).toMatchObject({ code: 'DeadlineExceeded' });
  });

  it('may last longer than calls, but its request may not', async () => {
    const { 'grpc-timeout': _, ...headers } = grpc;
    const health = streamPath('grpc.health.v1.Health/Watch');
    const patient = raw.open({ path: health, headers, body: frame(new Uint8Array()) });
    await patient.answering;
    const silent = await raw.call({ path: health, headers, endless: true });
    expect(failureIn(silent)).toMatchObject({ ...late, message: `no request within ${DEFAULT_DEADLINE_MS} ms` });
    expect(await Promise.race([patient.ended, 'still open'])).toBe('still open');
    patient.cancel();
  });
});

describe('a caller that does not read', () => {
  it('is cut off at its deadline', async () => {
    const body = 'x'.repeat(1_600);
    const requests = Array.from({ length: 50 }, () => ({ message: { fromAddress: '+14155552671', toAddress: '+14155552672', body } }));
    await services.messages.batchSendMessages({ requests }, { timeoutMs: 30_000 });
    await using slow = await connectRaw(`http://127.0.0.1:${app.grpcPort}`, { settings: { initialWindowSize: 1_000 } });
    const headers = { 'content-type': 'application/grpc', 'grpc-timeout': '2S' };
    const answer = await slow.call({
      path: '/messaging.v1.MessageService/ListMessages',
      headers,
      body: frame(new Uint8Array()),
      unread: true,
    });
    expect(answer).toMatchObject({ status: 200, rstCode: HTTP2_CANCEL });
  });
});

describe('the client package', () => {
  it('is told by whichever clock is first, and finds the service as it was', async () => {
    using client = createMessagingClient(`127.0.0.1:${app.grpcPort}`);
    await using held = await lock();
    const call = client.conversations.updateConversation({ conversation: { id, title: 'from the client' } }, { deadlineMs: 300 });
    const error = await call.catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(MessagingError);
    expect(error).toMatchObject({ code: status.DEADLINE_EXCEEDED });
    await held.release();
    await expect.poll(titleOf, patiently).toBe('from the client');
  });

  it('reads what went wrong as it was written', async () => {
    using client = createMessagingClient(`127.0.0.1:${app.grpcPort}`);
    const key = 'a: b %ü';
    const message = { fromAddress: '+14155552671', toAddress: '+14155552672', body: 'x', metaData: { [key]: '\0' } };
    const error = await client.messages.sendMessage({ message, requestId: randomUUID() }).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ message: `INVALID_ARGUMENT: message.meta_data.${key}: contains a NUL character` });
    const headers = { 'content-type': 'application/grpc+json' };
    const body = frame(Buffer.from(JSON.stringify({ message })));
    const answer = await raw.call({ path: '/messaging.v1.MessageService/SendMessage', headers, body });
    expect(answer.trailers['grpc-message']).toBe('message.meta_data.a: b %25%C3%BC: contains a NUL character');
  });
});
