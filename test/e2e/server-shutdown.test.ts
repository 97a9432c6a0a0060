/** SIGTERM: what runs finishes, what is new is sent elsewhere, and the process ends in time. */
import { randomUUID } from 'node:crypto';
import { connect as connectTcp } from 'node:net';
import { create, toBinary } from '@bufbuild/protobuf';
import { Code, createClient } from '@connectrpc/connect';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Health, HealthCheckResponse_ServingStatus as ServingStatus } from '../../gen/grpc/health/v1/health_pb.js';
import { ServerReflection, ServerReflectionRequestSchema } from '../../gen/grpc/reflection/v1/reflection_pb.js';
import { CloseConversationRequestSchema } from '../../gen/messaging/v1/conversation_service_pb.js';
import { createMessagingClient, MessagingError, status } from '../../src/client/messaging-client.ts';
import { startTestApp } from '../support/apps.ts';
import { createDatabase, type Database } from '../support/database.ts';
import { type ServiceProcess, startService } from '../support/processes.ts';
import { servicesOf } from '../support/protocols.ts';
import { connectRaw, failureIn, frame } from '../support/raw-calls.ts';
import { lockConversation } from '../support/row-locks.ts';

const patiently = { timeout: 20_000, interval: 20 };
/** Far longer than a test may take: who waits for it fails. */
const FOR_EVER_MS = '600000';

let database: Database;
beforeEach(async () => {
  database = await createDatabase();
});
afterEach(() => database[Symbol.asyncDispose]());

const start = (env: Readonly<Record<string, string>> = {}) =>
  startService({ DATABASE_URL: database.url, SHUTDOWN_TIMEOUT_MS: FOR_EVER_MS, DATABASE_STATEMENT_TIMEOUT_MS: FOR_EVER_MS, ...env });
const terminate = ({ pid }: ServiceProcess) => process.kill(pid, 'SIGTERM');
const logged = (service: ServiceProcess, message: string) => expect.poll(() => service.output(), patiently).toContain(`"msg":"${message}"`);

const message = { fromAddress: '+14155552671', toAddress: '+14155552672', body: 'hello' };

async function newConversation(service: ServiceProcess): Promise<string> {
  const { message: sent } = await servicesOf(service).messages.sendMessage({ message });
  return sent?.conversationId ?? '';
}

const close = (id: string) => ({
  path: '/messaging.v1.ConversationService/CloseConversation',
  headers: { 'content-type': 'application/grpc' },
  body: frame(toBinary(CloseConversationRequestSchema, create(CloseConversationRequestSchema, { id }))),
});

it('lets running calls finish, refuses new ones, tells watchers, and exits with 0', async () => {
  await using service = await start();
  const id = await newConversation(service);
  await using raw = await connectRaw(`http://127.0.0.1:${service.grpcPort}`);
  const health = createClient(Health, servicesOf(service).transport);
  const seen: ServingStatus[] = [];
  const watching = (async () => {
    for await (const { status } of health.watch({}, { timeoutMs: 0 })) seen.push(status);
  })();
  await expect.poll(() => seen.at(-1), patiently).toBe(ServingStatus.SERVING);
  await using lock = await lockConversation(database.url, id);
  const running = raw.open(close(id));
  await lock.awaited();

  terminate(service);
  await expect(watching).rejects.toMatchObject({ code: Code.Unavailable });
  expect(seen).toEqual([ServingStatus.SERVING, ServingStatus.NOT_SERVING]);
  // The connection that has a running call is told to take new ones elsewhere; nobody takes new connections.
  await expect.poll(() => raw.session.closed || raw.session.destroyed, patiently).toBe(true);
  await expect(connectRaw(`http://127.0.0.1:${service.grpcPort}`)).rejects.toThrow('ECONNREFUSED');
  const other = servicesOf(service).messages.listMessages({});
  await expect(other).rejects.toMatchObject({ code: Code.Unavailable });

  await lock.release();
  expect(await running.ended).toMatchObject({ trailers: { 'grpc-status': '0' }, rstCode: 0 });
  expect(await service.exited).toBe(0);
  expect(service.output()).toContain('"msg":"stopped"');
});

it('under load fails no call but those that came too late, and keeps what it answered', async () => {
  await using service = await start();
  using client = createMessagingClient(`127.0.0.1:${service.grpcPort}`, { deadlineMs: 60_000 });
  const outcomes = new Set<string>();
  const sent = new Set<string>();
  const callers = Array.from({ length: 20 }, async () => {
    for (;;) {
      try {
        const answer = await client.messages.sendMessage({ message, requestId: randomUUID() });
        sent.add(answer.message?.id ?? '');
      } catch (error) {
        outcomes.add(error instanceof MessagingError ? status[error.code] : String(error));
        return;
      }
    }
  });
  await expect.poll(() => sent.size, patiently).toBeGreaterThan(50);
  terminate(service);
  await Promise.all(callers);
  expect([...outcomes]).toEqual(['UNAVAILABLE']);
  expect(await service.exited).toBe(0);
  expect(service.output()).not.toContain('"level":"error"');

  await using after = await startTestApp({ DATABASE_URL: database.url });
  const { messages } = servicesOf(after);
  for (const ids of [[...sent].slice(0, 100), [...sent].slice(-100)]) {
    expect((await messages.batchGetMessages({ ids })).messages).toHaveLength(ids.length);
  }
});

it('is not held up by connections that are idle, streams that are open, or a second signal', async () => {
  await using service = await start();
  await using idle = await connectRaw(`http://127.0.0.1:${service.grpcPort}`);
  await idle.call({ ...close(randomUUID()) });
  await using silent = await connectRaw(`http://127.0.0.1:${service.grpcPort}`);
  const tcp = connectTcp(service.grpcPort, '127.0.0.1').on('error', () => undefined);
  const http = connectTcp(service.httpPort, '127.0.0.1', () => http.write('GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n')).on(
    'error',
    () => undefined,
  );
  await new Promise((resolve) => http.once('data', resolve));
  async function* questions() {
    yield create(ServerReflectionRequestSchema, { messageRequest: { case: 'listServices', value: '' } });
    await new Promise(() => undefined);
  }
  const stream = createClient(ServerReflection, servicesOf(service).transport).serverReflectionInfo(questions())[Symbol.asyncIterator]();
  await stream.next();

  terminate(service);
  terminate(service);
  await expect(stream.next()).rejects.toMatchObject({ code: Code.Unavailable });
  expect(await service.exited).toBe(0);
  expect(silent.session.destroyed || silent.session.closed).toBe(true);
  tcp.destroy();
  http.destroy();
});

it('cuts off what is still running when its time is up, with an error that says so', async () => {
  await using service = await start({ SHUTDOWN_TIMEOUT_MS: '300' });
  const id = await newConversation(service);
  await using raw = await connectRaw(`http://127.0.0.1:${service.grpcPort}`);
  await using lock = await lockConversation(database.url, id);
  const { path, body } = close(id);
  const stuck = [
    raw.open(close(id)),
    raw.open({ path, headers: { 'content-type': 'application/grpc-web+proto' }, body }),
    raw.open({ path, headers: { 'content-type': 'application/proto' }, body: body.subarray(5) }),
  ];
  await lock.awaited(stuck.length);
  terminate(service);
  for (const { ended } of stuck) {
    expect(failureIn(await ended)).toMatchObject({ code: 'Unavailable', reason: 'DRAINING', domain: 'messaging.v1', retryAfterMs: 100 });
  }
  // The lock is still held: nothing may wait for the handler.
  expect(await service.exited).toBe(0);
  expect(service.output()).toContain('"msg":"stopped"');
});

it('goes on serving for a while after it reports NOT_SERVING, when it is told to', async () => {
  await using service = await start({ SHUTDOWN_DELAY_MS: '1500' });
  const { transport, messages } = servicesOf(service);
  const health = createClient(Health, transport);
  const check = async () => (await health.check({})).status;
  await expect.poll(check, patiently).toBe(ServingStatus.SERVING);
  terminate(service);
  await expect.poll(check, patiently).toBe(ServingStatus.NOT_SERVING);
  expect((await messages.listMessages({})).messages).toEqual([]);
  expect((await fetch(`http://127.0.0.1:${service.httpPort}/readyz`)).status).toBe(503);
  expect(await service.exited).toBe(0);
});

it('ends with 0 on SIGINT too', async () => {
  await using service = await start();
  process.kill(service.pid, 'SIGINT');
  await logged(service, 'stopped');
  expect(await service.exited).toBe(0);
});
