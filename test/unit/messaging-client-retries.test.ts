/** What the client package repeats, what it never repeats, and how its streams go on. */
import { createServer, type Server } from 'node:net';
import { create, toBinary } from '@bufbuild/protobuf';
import { anyPack } from '@bufbuild/protobuf/wkt';
import { Metadata, status } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { ErrorInfoSchema } from '../../gen/google/rpc/error_details_pb.js';
import { StatusSchema } from '../../gen/google/rpc/status_pb.js';
import type { BatchSendMessagesRequest, SendMessageRequest, WatchMessagesRequest } from '../../gen/messaging/v1/message_service_pb.js';
import { createMessagingClient, type MessagingClient, type Retry } from '../../src/client/messaging-client.ts';
import { createRetryBudget } from '../../src/client/repeat.ts';
import { change, errorOf, type GrpcJsServer, message, startGrpcJsServer, type Unary } from '../support/grpc-js-server.ts';

let server: GrpcJsServer;
let client: MessagingClient;
let retries: Retry[];
/** Of any method. */
const EMPTY: Uint8Array = new Uint8Array();
const onRetry = (retry: Retry) => void retries.push(retry);

beforeEach(async () => {
  retries = [];
  server = await startGrpcJsServer();
  client = createMessagingClient(server.address, { deadlineMs: 30_000, onRetry });
});
afterEach(() => {
  client.close();
  server.stop();
});

/** What the service says of itself; its errors always have a reason. */
function answered(code: status, reason: string) {
  const metadata = new Metadata();
  const details = [anyPack(ErrorInfoSchema, create(ErrorInfoSchema, { domain: 'messaging.v1', reason }))];
  metadata.set('grpc-status-details-bin', Buffer.from(toBinary(StatusSchema, create(StatusSchema, { code, details }))));
  return { code, details: reason, metadata };
}

/** Fails once, then answers. */
function onceFailing(failure: Partial<Parameters<Parameters<Unary>[1]>[0]>, seen: unknown[] = [], answer = EMPTY): Unary {
  return (call, reply) => {
    seen.push(call.request);
    if (seen.length === 1) reply(failure as Parameters<Parameters<Unary>[1]>[0]);
    else reply(null, answer);
  };
}

const UNAVAILABLE = answered(status.UNAVAILABLE, 'DRAINING');

describe('a call that is answered UNAVAILABLE', () => {
  it('is repeated when it has no side effects', async () => {
    server.handlers.getMessage = onceFailing(UNAVAILABLE, [], message('m1'));
    expect((await client.messages.getMessage({ id: 'm1' })).message?.id).toBe('m1');
    expect(retries).toMatchObject([{ method: 'messaging.v1.MessageService/GetMessage', attempts: 1, error: { reason: 'DRAINING' } }]);
  });

  it('is repeated when it is idempotent', async () => {
    server.handlers.invalidateCache = onceFailing(UNAVAILABLE);
    await client.cache.invalidateCache({});
    expect(retries).toHaveLength(1);
  });

  it('is repeated with the request_id of the first attempt', async () => {
    const seen: SendMessageRequest[] = [];
    server.handlers.sendMessage = onceFailing(UNAVAILABLE, seen);
    await client.messages.sendMessage({ requestId: 'mine' });
    expect(seen.map(({ requestId }) => requestId)).toEqual(['mine', 'mine']);
  });

  it('gets a request_id when it brings none, so that it can be repeated', async () => {
    const seen: SendMessageRequest[] = [];
    server.handlers.sendMessage = onceFailing(UNAVAILABLE, seen);
    const request = { message: { body: 'hello' } };
    await client.messages.sendMessage(request);
    await client.messages.sendMessage(request);
    const [first, second, third] = seen.map(({ requestId }) => requestId);
    expect(first).toMatch(/^[0-9a-f-]{36}$/);
    expect(second).toBe(first);
    expect(third).not.toBe(first);
    expect(request).toEqual({ message: { body: 'hello' } });
  });

  it('gets one for each message of a batch', async () => {
    const seen: BatchSendMessagesRequest[] = [];
    server.handlers.batchSendMessages = onceFailing(UNAVAILABLE, seen);
    await client.messages.batchSendMessages({ requests: [{}, { requestId: 'mine' }, {}] });
    const [first, second] = seen.map(({ requests }) => requests.map(({ requestId }) => requestId));
    expect(second).toEqual(first);
    expect(first?.[1]).toBe('mine');
    expect(new Set(first).size).toBe(3);
  });

  it('is not repeated when it may have had an effect', async () => {
    using careful = createMessagingClient(server.address, { requestIds: false, onRetry });
    const seen: SendMessageRequest[] = [];
    server.handlers.sendMessage = onceFailing(UNAVAILABLE, seen);
    expect((await errorOf(careful.messages.sendMessage({}))).code).toBe(status.UNAVAILABLE);
    server.handlers.updateConversation = onceFailing(UNAVAILABLE);
    expect((await errorOf(client.conversations.updateConversation({}))).code).toBe(status.UNAVAILABLE);
    expect([seen.map(({ requestId }) => requestId), retries]).toEqual([[''], []]);
  });

  it('is repeated when a second time changes nothing, unless an etag makes it conditional', async () => {
    server.handlers.archiveConversation = onceFailing(UNAVAILABLE);
    await client.conversations.archiveConversation({ id: 'c1' });
    expect(retries).toHaveLength(1);
    server.handlers.archiveConversation = onceFailing(UNAVAILABLE);
    expect((await errorOf(client.conversations.archiveConversation({ id: 'c1', etag: 'v1' }))).code).toBe(status.UNAVAILABLE);
  });

  it('fails with that answer after all attempts, and at once without retries', async () => {
    server.handlers.getMessage = (_call, reply) => reply(UNAVAILABLE);
    using two = createMessagingClient(server.address, { maxAttempts: 2, onRetry });
    expect((await errorOf(two.messages.getMessage({}))).reason).toBe('DRAINING');
    expect(retries).toHaveLength(1);
    using one = createMessagingClient(server.address, { maxAttempts: 1, onRetry });
    expect((await errorOf(one.messages.getMessage({}))).reason).toBe('DRAINING');
    expect(retries).toHaveLength(1);
  });

  it('fails with that answer when the deadline leaves no time for another attempt', async () => {
    server.handlers.getMessage = (_call, reply) => reply(UNAVAILABLE);
    const error = await errorOf(client.messages.getMessage({}, { deadlineMs: 400 }));
    expect(error).toMatchObject({ code: status.UNAVAILABLE, reason: 'DRAINING' });
  });

  it('is not repeated after its signal has fired', async () => {
    const controller = new AbortController();
    using aborting = createMessagingClient(server.address, { onRetry: () => controller.abort() });
    let calls = 0;
    server.handlers.getMessage = (_call, reply) => {
      calls += 1;
      reply(UNAVAILABLE);
    };
    expect((await errorOf(aborting.messages.getMessage({}, { signal: controller.signal }))).code).toBe(status.CANCELLED);
    expect(calls).toBe(1);
  });
});

describe('a call that fails otherwise', () => {
  it.each([
    answered(status.INTERNAL, 'INTERNAL'),
    answered(status.CANCELLED, 'CANCELED'),
    answered(status.ABORTED, 'ETAG_MISMATCH'),
    answered(status.RESOURCE_EXHAUSTED, 'RATE_LIMITED'),
  ])('is not repeated: $details', async (failure) => {
    server.handlers.getMessage = onceFailing(failure);
    expect((await errorOf(client.messages.getMessage({}))).reason).toBe(failure.details);
  });

  it('is repeated when another call with its request_id is running', async () => {
    server.handlers.sendMessage = onceFailing(answered(status.ABORTED, 'REQUEST_IN_PROGRESS'));
    await client.messages.sendMessage({});
    expect(retries).toHaveLength(1);
  });
});

describe('a server that dies under a call', () => {
  /** Cuts the connection on the first call and answers the second one, on a new connection. */
  async function restarted(): Promise<void> {
    const { port } = server;
    server.stop();
    server = await startGrpcJsServer(port);
    server.handlers.getMessage = (_call, reply) => reply(null, message('m2'));
    server.handlers.sendMessage = (_call, reply) => reply(null, message('m2'));
  }

  it('is replaced by the one that comes after it', async () => {
    const asked = Promise.withResolvers<void>();
    server.handlers.getMessage = () => asked.resolve();
    const answer = client.messages.getMessage({ id: 'm2' });
    await asked.promise;
    await restarted();
    expect((await answer).message?.id).toBe('m2');
  });

  it('lets a write fail that may have happened', async () => {
    const asked = Promise.withResolvers<void>();
    server.handlers.updateConversation = () => asked.resolve();
    const write = errorOf(client.conversations.updateConversation({}));
    await asked.promise;
    await restarted();
    expect((await write).reason).toBe('');
    expect(retries).toEqual([]);
  });
});

describe('a service that cannot be reached', () => {
  it('is asked a few times, then UNAVAILABLE; a write that never left too', async () => {
    using nobody = createMessagingClient('127.0.0.1:1', { maxAttempts: 3, onRetry });
    expect((await errorOf(nobody.messages.getMessage({}))).code).toBe(status.UNAVAILABLE);
    expect((await errorOf(nobody.conversations.updateConversation({}))).code).toBe(status.UNAVAILABLE);
    expect(retries.map(({ attempts }) => attempts)).toEqual([1, 2, 1, 2]);
    const watch = nobody.messages.watchMessages({})[Symbol.asyncIterator]();
    expect((await errorOf(watch.next())).code).toBe(status.UNAVAILABLE);
  });

  it('is connected to when it takes connections again, also after some were reset', async () => {
    // As the kernel does to connections that wait for a listening socket when it is closed.
    const resetting: Server = createServer((socket) => socket.resetAndDestroy());
    const { port } = server;
    server.stop();
    await new Promise<void>((resolve) => resetting.listen(port, '127.0.0.1', resolve));
    let resets = 0;
    resetting.on('connection', () => (resets += 1));
    using late = createMessagingClient(server.address, { onRetry, deadlineMs: 30_000, maxAttempts: 50 });
    const answer = late.messages.getMessage({});
    await expect.poll(() => resets, { timeout: 20_000 }).toBeGreaterThan(1);
    await new Promise((resolve) => resetting.close(resolve));
    server = await startGrpcJsServer(port);
    server.handlers.getMessage = (_call, reply) => reply(null, message('m1'));
    expect((await answer).message?.id).toBe('m1');
  });
});

describe('a watch', () => {
  /** Each stream brings what `streams` says next, then ends as a server that stops ends it. */
  function serve(...streams: readonly (readonly string[])[]): string[] {
    const resumedAt: string[] = [];
    server.handlers.watchMessages = (call) => {
      resumedAt.push((call.request as WatchMessagesRequest).resumeToken);
      for (const token of streams[resumedAt.length - 1] ?? []) call.write(change(token));
      call.emit('error', resumedAt.length < streams.length ? UNAVAILABLE : answered(status.OUT_OF_RANGE, 'RESUME_TOKEN_EXPIRED'));
    };
    return resumedAt;
  }

  async function watched(): Promise<string[]> {
    const tokens: string[] = [];
    const watching = async () => {
      for await (const { resumeToken } of client.messages.watchMessages({ resumeToken: 'start' })) tokens.push(resumeToken);
    };
    expect((await errorOf(watching())).reason).toBe('RESUME_TOKEN_EXPIRED');
    return tokens;
  }

  it('goes on from the last answer after its server has stopped', async () => {
    const resumedAt = serve(['a', 'b'], [], ['c'], []);
    expect(await watched()).toEqual(['a', 'b', 'c']);
    expect(resumedAt).toEqual(['start', 'b', 'b', 'c']);
    expect(retries.map(({ attempts }) => attempts)).toEqual([1, 2, 1]);
  });

  it('waits for room when too many are open', async () => {
    let streams = 0;
    server.handlers.watchMessages = (call) => {
      streams += 1;
      if (streams === 1) call.emit('error', answered(status.RESOURCE_EXHAUSTED, 'TOO_MANY_STREAMS'));
      else call.write(change('a'));
    };
    for await (const { resumeToken } of client.messages.watchMessages({})) {
      expect(resumeToken).toBe('a');
      break;
    }
  });

  it('ends when its signal fires while it waits', async () => {
    const controller = new AbortController();
    using aborting = createMessagingClient(server.address, { onRetry: () => controller.abort() });
    server.handlers.watchMessages = (call) => {
      call.write(change('a'));
      call.emit('error', UNAVAILABLE);
    };
    const watching = async () => {
      for await (const _ of aborting.messages.watchMessages({}, { signal: controller.signal }));
    };
    expect((await errorOf(watching())).code).toBe(status.CANCELLED);
  });
});

describe('the budget of retries', () => {
  const refused = () => errorOf(client.messages.getMessage({}));

  it('stops retries of what the service answers, until successes earn them back; lost connections cost nothing', async () => {
    server.handlers.getMessage = (_call, reply) => reply(answered(status.INTERNAL, 'INTERNAL'));
    const error = await refused();
    const lost = Object.assign(Object.create(error), { reason: '' });
    const budget = createRetryBudget();
    let allowed = 0;
    while (allowed < 1_000 && budget.allows(error)) allowed += 1;
    expect(allowed).toBe(50);
    expect([budget.allows(error), budget.allows(lost)]).toEqual([false, true]);
    for (let successes = 0; successes < 5; successes += 1) budget.succeeded();
    expect([budget.allows(error), budget.allows(error)]).toEqual([true, false]);
  });
});
