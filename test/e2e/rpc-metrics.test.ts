/** Every call is counted once, with the code that its caller was told, whether or not a handler saw it. */
import { randomUUID } from 'node:crypto';
import { create, toBinary } from '@bufbuild/protobuf';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CloseConversationRequestSchema } from '../../gen/messaging/v1/conversation_service_pb.js';
import { GetMessageRequestSchema } from '../../gen/messaging/v1/message_service_pb.js';
import { startTestApp, type TestApp } from '../support/apps.ts';
import { createDatabase } from '../support/database.ts';
import { servicesOf } from '../support/protocols.ts';
import { connectRaw, frame, type RawClient, type RawRequest } from '../support/raw-calls.ts';
import { lockConversation } from '../support/row-locks.ts';
import { type Metrics, scrape } from '../support/scrape.ts';

const opened = new AsyncDisposableStack();
let app: TestApp;
let raw: RawClient;
let databaseUrl: string;
let conversationId: string;

beforeAll(async () => {
  const database = opened.use(await createDatabase());
  app = opened.use(await startTestApp({ DATABASE_URL: database.url, MAX_REQUEST_BYTES: '50000', DATABASE_STATEMENT_TIMEOUT_MS: '60000' }));
  raw = opened.use(await connectRaw(`http://127.0.0.1:${app.grpcPort}`));
  databaseUrl = database.url;
  const message = { fromAddress: '+14155552671', toAddress: '+14155552672', body: 'hello' };
  conversationId = (await servicesOf(app).messages.sendMessage({ message })).message?.conversationId ?? '';
});
afterAll(() => opened.disposeAsync());

const patiently = { timeout: 20_000, interval: 20 };

/** What was counted between two looks, by method and code; only what changed. */
function difference(before: Metrics, after: Metrics): Readonly<Record<string, number>> {
  const names = [
    'GetMessage',
    'BatchGetMessages',
    'ListMessages',
    'Watch',
    'WatchMessages',
    'GetSuppression',
    'CloseConversation',
    '_OTHER',
  ];
  const codes = [
    'OK',
    'CANCELLED',
    'UNKNOWN',
    'INVALID_ARGUMENT',
    'DEADLINE_EXCEEDED',
    'NOT_FOUND',
    'RESOURCE_EXHAUSTED',
    'UNIMPLEMENTED',
    'INTERNAL',
  ];
  const entries = names.flatMap((grpc_method) =>
    codes.map((grpc_code) => {
      const labels = { grpc_method, grpc_code };
      return [
        `${grpc_method} ${grpc_code}`,
        after.sum('grpc_server_handled_total', labels) - before.sum('grpc_server_handled_total', labels),
      ] as const;
    }),
  );
  return Object.fromEntries(entries.filter(([, count]) => count !== 0));
}

const total = (metrics: Metrics) => metrics.sum('grpc_server_handled_total');

/** Runs `work`, which makes so many calls, and returns what was counted for them. */
async function counted(calls: number, work: () => Promise<unknown>): Promise<Readonly<Record<string, number>>> {
  const before = await scrape(app);
  await work();
  await expect.poll(async () => total(await scrape(app)) - total(before), patiently).toBe(calls);
  return difference(before, await scrape(app));
}

const wires = [
  {
    name: 'gRPC',
    system: 'grpc',
    type: 'application/grpc',
    streamType: 'application/grpc',
    timeout: { 'grpc-timeout': '100m' },
    wrap: frame,
  },
  {
    name: 'gRPC-Web',
    system: 'grpc',
    type: 'application/grpc-web+proto',
    streamType: 'application/grpc-web+proto',
    timeout: { 'grpc-timeout': '100m' },
    wrap: frame,
  },
  {
    name: 'Connect',
    system: 'connectrpc',
    type: 'application/proto',
    streamType: 'application/connect+proto',
    timeout: { 'connect-timeout-ms': '100' },
    wrap: (bytes: Uint8Array) => bytes,
  },
];

describe.each(wires)('$name', ({ system, type, streamType, timeout, wrap }) => {
  const request = (method: string, bytes: Uint8Array = new Uint8Array(), more: Partial<RawRequest> = {}): RawRequest => {
    const path = method.startsWith('/') ? method : `/messaging.v1.MessageService/${method}`;
    return { path, headers: { 'content-type': type, ...more.headers }, body: wrap(bytes) };
  };
  const call = (...parameters: Parameters<typeof request>) => raw.call(request(...parameters));
  const missing = toBinary(GetMessageRequestSchema, create(GetMessageRequestSchema, { id: randomUUID() }));

  it('counts what handlers answer', async () => {
    const work = async () => {
      await call('ListMessages');
      await call('ListMessages');
      await call('GetMessage', missing);
      await call('GetMessage');
      await call('/messaging.v1.SuppressionService/GetSuppression', Uint8Array.from([0x0a, 3, 97, 98, 99]));
    };
    expect(await counted(5, work)).toEqual({
      'ListMessages OK': 2,
      'GetMessage NOT_FOUND': 1,
      'GetMessage INVALID_ARGUMENT': 1,
      'GetSuppression OK': 1,
    });
  });

  it('counts what no handler sees', async () => {
    const work = async () => {
      await call('GetMessage', Uint8Array.from([0x0a, 0xff]));
      await call('GetMessage', Buffer.alloc(60_000));
      await call('GetMessage', missing, { headers: { 'grpc-timeout': 'soon', 'connect-timeout-ms': 'soon' } });
      await raw.call({ path: '/messaging.v1.MessageService/GetMessage', headers: { 'content-type': 'text/plain' } });
      await call('/messaging.v1.MessageService/Nothing');
      await call(`/${randomUUID()}/${randomUUID()}`);
    };
    expect(await counted(6, work)).toEqual({
      'GetMessage INVALID_ARGUMENT': 3,
      'GetMessage RESOURCE_EXHAUSTED': 1,
      '_OTHER UNIMPLEMENTED': 2,
    });
  });

  it('counts errors that are sent compressed', async () => {
    const ids = Array.from({ length: 100 }, () => randomUUID());
    const bytes = Buffer.concat(ids.map((id) => Buffer.from([0x0a, 36, ...Buffer.from(id)])));
    const headers = { 'grpc-accept-encoding': 'gzip', 'accept-encoding': 'gzip' };
    expect(await counted(1, () => call('BatchGetMessages', bytes, { headers }))).toEqual({ 'BatchGetMessages NOT_FOUND': 1 });
  });

  it('counts a call that is late, and one whose caller left', async () => {
    const bytes = toBinary(CloseConversationRequestSchema, create(CloseConversationRequestSchema, { id: conversationId }));
    const close = '/messaging.v1.ConversationService/CloseConversation';
    const work = async () => {
      await using lock = await lockConversation(databaseUrl, conversationId);
      await call(close, bytes, { headers: timeout });
      const left = raw.open(request(close, bytes));
      await lock.awaited(2);
      left.cancel();
      await left.ended;
    };
    expect(await counted(2, work)).toEqual({ 'CloseConversation DEADLINE_EXCEEDED': 1, 'CloseConversation CANCELLED': 1 });
  });

  it('counts streams by how they end', async () => {
    const stream = (path: string, headers = {}, request = new Uint8Array()) =>
      raw.open({ path, headers: { 'content-type': streamType, ...headers }, body: frame(request) });
    const work = async () => {
      const left = stream('/grpc.health.v1.Health/Watch');
      await left.answering;
      left.cancel();
      await left.ended;
      await stream('/grpc.health.v1.Health/Watch', timeout).ended;
      // A progress_interval of 0.
      await stream('/messaging.v1.MessageService/WatchMessages', {}, Uint8Array.of(0x22, 0)).ended;
    };
    expect(await counted(3, work)).toEqual({ 'Watch CANCELLED': 1, 'Watch DEADLINE_EXCEEDED': 1, 'WatchMessages INVALID_ARGUMENT': 1 });
  });

  it('times each call once, by the system it was made with', async () => {
    const before = await scrape(app);
    await counted(2, async () => {
      await call('ListMessages');
      await call('/nothing/Nothing');
    });
    const after = await scrape(app);
    const more = (name: string, labels: Readonly<Record<string, string>>) => after.sum(name, labels) - before.sum(name, labels);
    const method = 'messaging.v1.MessageService/ListMessages';
    expect(more('rpc_server_call_duration_seconds_count', { rpc_system_name: system, rpc_method: method, rpc_status_code: 'OK' })).toBe(1);
    const other = { rpc_system_name: system, rpc_method: '_OTHER', rpc_status_code: 'UNIMPLEMENTED' };
    expect(more('rpc_server_call_duration_seconds_count', other)).toBe(1);
    expect(more('grpc_server_handling_seconds_count', { grpc_service: 'messaging.v1.MessageService', grpc_method: 'ListMessages' })).toBe(
      1,
    );
    expect(more('grpc_server_handling_seconds_count', { grpc_service: '_OTHER', grpc_method: '_OTHER', grpc_type: 'unary' })).toBe(1);
  });
});

describe('all in all', () => {
  it('as many calls ended as began, and no caller made a label', async () => {
    const metrics = await scrape(app);
    expect(metrics.sum('grpc_server_started_total')).toBe(total(metrics));
    expect(metrics.sum('grpc_server_handling_seconds_count')).toBe(total(metrics));
    expect(metrics.sum('rpc_server_call_duration_seconds_count')).toBe(total(metrics));
    const services = new Set([...metrics.text.matchAll(/grpc_service="([^"]*)"/g)].map(([, service]) => service));
    expect([...services].sort()).toEqual([
      '_OTHER',
      'grpc.health.v1.Health',
      'grpc.reflection.v1.ServerReflection',
      'grpc.reflection.v1alpha.ServerReflection',
      'messaging.v1.CacheService',
      'messaging.v1.ConversationService',
      'messaging.v1.MessageService',
      'messaging.v1.ProviderEventService',
      'messaging.v1.SuppressionService',
    ]);
  });
});
