import { create, toBinary } from '@bufbuild/protobuf';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { CloseConversationRequestSchema } from '../../gen/messaging/v1/conversation_service_pb.js';
import { startTestApp, type TestApp } from '../support/apps.ts';
import { createDatabase } from '../support/database.ts';
import { failure, protocols, type Services, servicesOf } from '../support/protocols.ts';
import { connectRaw, failureIn, frame, type RawClient } from '../support/raw-calls.ts';
import { lockConversation } from '../support/row-locks.ts';

const MAX_CONCURRENT_STREAMS = 3;
const HTTP2_ENHANCE_YOUR_CALM = 11;

const opened = new AsyncDisposableStack();
let app: TestApp;
let raw: RawClient;
let services: Services;
let databaseUrl: string;

beforeAll(async () => {
  const database = opened.use(await createDatabase());
  databaseUrl = database.url;
  const limits = { MAX_CONCURRENT_STREAMS: String(MAX_CONCURRENT_STREAMS), MAX_RESPONSE_BYTES: '20000' };
  app = opened.use(await startTestApp({ DATABASE_URL: database.url, ...limits }));
  raw = opened.use(await connectRaw(`http://127.0.0.1:${app.grpcPort}`));
  services = servicesOf(app);
});
afterAll(() => opened.disposeAsync());

const grpc = { 'content-type': 'application/grpc' };
const listMessages = { path: '/messaging.v1.MessageService/ListMessages', headers: grpc, body: frame(new Uint8Array()) };

it('a connection may have so many calls at once; the next one waits for one of them', async () => {
  await using connection = await connectRaw(`http://127.0.0.1:${app.grpcPort}`);
  await expect.poll(() => connection.session.remoteSettings.maxConcurrentStreams).toBe(MAX_CONCURRENT_STREAMS);
  const { message } = await services.messages.sendMessage({
    message: { fromAddress: '+14155552671', toAddress: '+14155552672', body: 'x' },
  });
  await using lock = await lockConversation(databaseUrl, message?.conversationId ?? '');
  const close = toBinary(CloseConversationRequestSchema, create(CloseConversationRequestSchema, { id: message?.conversationId ?? '' }));
  const ended: number[] = [];
  const calls = [0, 1, 2, 3].map(async (index) => {
    const answer = await connection.call({
      path: '/messaging.v1.ConversationService/CloseConversation',
      headers: grpc,
      body: frame(close),
    });
    ended.push(index);
    return answer;
  });
  await lock.awaited(MAX_CONCURRENT_STREAMS);
  expect(ended).toEqual([]);
  await lock.release();
  for (const call of calls) expect(await call).toMatchObject({ status: 200, trailers: { 'grpc-status': '0' } });
  expect(ended[0]).toBeLessThan(MAX_CONCURRENT_STREAMS);
});

it.each([
  ['too long', { 'x-long': 'x'.repeat(20_000) }],
  ['too many', Object.fromEntries(Array.from({ length: 120 }, (_, index) => [`x-${index}`, 'x']))],
])('headers that are %s end the call and no other', async (_, headers) => {
  expect(await raw.call({ ...listMessages, headers: { ...grpc, ...headers } })).toMatchObject({
    status: undefined,
    rstCode: HTTP2_ENHANCE_YOUR_CALM,
  });
  expect(await raw.call(listMessages)).toMatchObject({ trailers: { 'grpc-status': '0' } });
});

it('a request that goes on and on is cut off at the limit, and the connection lives', async () => {
  const call = raw.open({ ...listMessages, body: frame(Buffer.alloc(0)).fill(0xff, 1, 5), endless: true });
  expect(failureIn(await call.ended)).toMatchObject({ reason: 'MESSAGE_TOO_LARGE' });
  const unary = raw.open({ path: listMessages.path, headers: { 'content-type': 'application/proto' }, endless: true });
  for (let sent = 0; sent < 10; sent += 1) unary.write(Buffer.alloc(1_000_000));
  expect(failureIn(await unary.ended)).toMatchObject({ reason: 'MESSAGE_TOO_LARGE', message: 'the request is larger than 8388608 bytes' });
  expect(await raw.call(listMessages)).toMatchObject({ trailers: { 'grpc-status': '0' } });
});

it.each(protocols)('an answer above the limit is refused, through %s', async (protocol) => {
  const body = 'x'.repeat(1_600);
  const requests = Array.from({ length: 20 }, () => ({ message: { fromAddress: '+14155552671', toAddress: '+14155552672', body } }));
  for (const batch of [requests.slice(0, 10), requests.slice(10)]) await services.messages.batchSendMessages({ requests: batch });
  const { messages } = servicesOf(app, protocol);
  expect(await failure(messages.listMessages({}))).toMatchObject({
    code: 'ResourceExhausted',
    reason: 'MESSAGE_TOO_LARGE',
    domain: 'messaging.v1',
    message: 'the response is larger than 20000 bytes',
  });
  expect((await messages.listMessages({ pageSize: 5 })).messages).toHaveLength(5);
});
