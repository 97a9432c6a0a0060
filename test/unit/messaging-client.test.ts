import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { anyPack, durationFromMs } from '@bufbuild/protobuf/wkt';
import { type handleServerStreamingCall, type handleUnaryCall, Metadata, Server, ServerCredentials, status } from '@grpc/grpc-js';
import { defaultTextMapSetter, propagation, ROOT_CONTEXT } from '@opentelemetry/api';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from '../../gen/google/rpc/error_details_pb.js';
import { StatusSchema } from '../../gen/google/rpc/status_pb.js';
import { CacheService, InvalidateCacheRequestSchema, InvalidateCacheResponseSchema } from '../../gen/messaging/v1/cache_service_pb.js';
import { ConversationService } from '../../gen/messaging/v1/conversation_service_pb.js';
import {
  GetMessageRequestSchema,
  GetMessageResponseSchema,
  MessageService,
  SendMessageRequestSchema,
  WatchMessagesRequestSchema,
  WatchMessagesResponseSchema,
} from '../../gen/messaging/v1/message_service_pb.js';
import { createMessagingClient, type MessagingClient, MessagingError } from '../../src/client/messaging-client.ts';
import { serviceConfigOf } from '../../src/client/service-config.ts';

type Unary = handleUnaryCall<unknown, Uint8Array>;
type Stream = handleServerStreamingCall<unknown, Uint8Array>;

const never: Unary = () => {};
const message = (id: string) => toBinary(GetMessageResponseSchema, create(GetMessageResponseSchema, { message: { id } }));
const change = (resumeToken: string) => toBinary(WatchMessagesResponseSchema, create(WatchMessagesResponseSchema, { resumeToken }));

/** A gRPC server of grpc-js itself, which the client under test has to understand; each test says what it answers. */
const handlers: { getMessage: Unary; sendMessage: Unary; invalidateCache: Unary; watchMessages: Stream } = {
  getMessage: never,
  sendMessage: never,
  invalidateCache: never,
  watchMessages: () => {},
};
let server: Server;
let client: MessagingClient;

function method(path: string, schema: Parameters<typeof fromBinary>[0], responseStream = false) {
  const bytes = (value: Uint8Array) => Buffer.from(value);
  return {
    path,
    requestStream: false,
    responseStream,
    requestDeserialize: (body: Buffer) => fromBinary(schema, body),
    requestSerialize: bytes,
    responseSerialize: bytes,
    responseDeserialize: (body: Buffer) => body,
  };
}

beforeEach(async () => {
  server = new Server();
  server.addService(
    {
      getMessage: method('/messaging.v1.MessageService/GetMessage', GetMessageRequestSchema),
      sendMessage: method('/messaging.v1.MessageService/SendMessage', SendMessageRequestSchema),
      watchMessages: method('/messaging.v1.MessageService/WatchMessages', WatchMessagesRequestSchema, true),
      invalidateCache: method('/messaging.v1.CacheService/InvalidateCache', InvalidateCacheRequestSchema),
    },
    {
      getMessage: (...call: Parameters<Unary>) => handlers.getMessage(...call),
      sendMessage: (...call: Parameters<Unary>) => handlers.sendMessage(...call),
      watchMessages: (...call: Parameters<Stream>) => handlers.watchMessages(...call),
      invalidateCache: (...call: Parameters<Unary>) => handlers.invalidateCache(...call),
    },
  );
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => (error ? reject(error) : resolve(port)));
  client = createMessagingClient(`127.0.0.1:${await promise}`);
});

afterEach(() => {
  client.close();
  server.forceShutdown();
  propagation.disable();
});

async function errorOf(call: Promise<unknown>): Promise<MessagingError> {
  const error = await call.then(
    () => new Error('the call succeeded'),
    (reason: unknown) => reason,
  );
  if (error instanceof MessagingError) return error;
  throw error;
}

describe('a unary call', () => {
  it('returns the typed answer and reports the response headers', async () => {
    handlers.getMessage = (call, reply) => {
      const headers = new Metadata();
      headers.set('x-cache', 'hit');
      call.sendMetadata(headers);
      reply(null, message((call.request as { id: string }).id));
    };
    const seen: unknown[] = [];
    const answer = await client.messages.getMessage({ id: 'm1' }, { onHeaders: (headers) => seen.push(headers['x-cache']) });
    expect([answer.message?.id, seen]).toEqual(['m1', ['hit']]);
  });

  it('brings a deadline of 5 s when the caller names none, and that of the caller otherwise', async () => {
    const remainingMs: number[] = [];
    handlers.getMessage = (call, reply) => {
      remainingMs.push(Number(call.getDeadline()) - Date.now());
      reply(null, message('m1'));
    };
    await client.messages.getMessage({ id: 'm1' });
    await client.messages.getMessage({ id: 'm1' }, { deadlineMs: 60_000 });
    await client.messages.getMessage({ id: 'm1' }, { deadlineMs: Number.POSITIVE_INFINITY });
    expect(remainingMs.map((ms) => Math.ceil(ms / 5_000) * 5_000)).toEqual([5_000, 60_000, Number.POSITIVE_INFINITY]);
  });

  it('fails with DEADLINE_EXCEEDED when the service does not answer in time', async () => {
    handlers.getMessage = never;
    const error = await errorOf(client.messages.getMessage({ id: 'm1' }, { deadlineMs: 20 }));
    expect(error).toMatchObject({ code: status.DEADLINE_EXCEEDED, reason: '' });
  });

  it('is canceled by its signal, also on the server', async () => {
    const controller = new AbortController();
    const { promise: canceled, resolve } = Promise.withResolvers<void>();
    handlers.getMessage = (call) => {
      call.on('cancelled', resolve);
      controller.abort(new Error('user left'));
    };
    const error = await errorOf(client.messages.getMessage({ id: 'm1' }, { signal: controller.signal }));
    expect(error).toMatchObject({ code: status.CANCELLED, cause: new Error('user left') });
    await canceled;
  });

  it('is not made when its signal had fired before', async () => {
    handlers.getMessage = () => expect.unreachable();
    expect((await errorOf(client.messages.getMessage({ id: 'm1' }, { signal: AbortSignal.abort() }))).code).toBe(status.CANCELLED);
  });

  it('carries the headers of the client, of the call, and the trace context', async () => {
    propagation.setGlobalPropagator({
      inject: (_context, carrier) => defaultTextMapSetter.set(carrier as Record<string, string>, 'traceparent', '00-trace-span-01'),
      extract: () => ROOT_CONTEXT,
      fields: () => ['traceparent'],
    });
    let received: Record<string, unknown> = {};
    handlers.getMessage = (call, reply) => {
      received = call.metadata.getMap();
      reply(null, message('m1'));
    };
    await client.messages.getMessage({ id: 'm1' }, { metadata: { 'x-team': 'billing' } });
    expect(received).toMatchObject({ traceparent: '00-trace-span-01', 'x-team': 'billing' });
  });
});

describe('a failed call', () => {
  it('says why, with the details of the service', async () => {
    handlers.sendMessage = (_call, reply) => {
      const metadata = new Metadata();
      const details = [
        anyPack(ErrorInfoSchema, create(ErrorInfoSchema, { domain: 'messaging.v1', reason: 'FIELD_INVALID', metadata: { a: 'b' } })),
        anyPack(BadRequestSchema, create(BadRequestSchema, { fieldViolations: [{ field: 'message.body', description: 'is empty' }] })),
        anyPack(RetryInfoSchema, create(RetryInfoSchema, { retryDelay: durationFromMs(1_500) })),
      ];
      metadata.set('grpc-status-details-bin', Buffer.from(toBinary(StatusSchema, create(StatusSchema, { code: 3, details }))));
      reply({ code: status.INVALID_ARGUMENT, details: 'message.body: is empty', metadata });
    };
    const error = await errorOf(client.messages.sendMessage({}));
    expect(error).toMatchObject({
      code: status.INVALID_ARGUMENT,
      message: 'INVALID_ARGUMENT: message.body: is empty',
      reason: 'FIELD_INVALID',
      metadata: { a: 'b' },
      fieldViolations: [{ field: 'message.body', description: 'is empty' }],
      retryAfterMs: 1_500,
    });
  });

  it('is still a MessagingError when the details are missing or broken', async () => {
    for (const bytes of [undefined, Buffer.from('not protobuf at all')]) {
      handlers.sendMessage = (_call, reply) => {
        const metadata = new Metadata();
        if (bytes !== undefined) metadata.set('grpc-status-details-bin', bytes);
        reply({ code: status.NOT_FOUND, details: 'gone', metadata });
      };
      expect(await errorOf(client.messages.sendMessage({}))).toMatchObject({ code: status.NOT_FOUND, reason: '', retryAfterMs: undefined });
    }
  });
});

describe('a call that is answered UNAVAILABLE', () => {
  function unavailableOnce(answer: Uint8Array): { handler: Unary; attempts: () => number } {
    let attempts = 0;
    const handler: Unary = (_call, reply) => {
      attempts += 1;
      if (attempts === 1) reply({ code: status.UNAVAILABLE, details: 'restarting' });
      else reply(null, answer);
    };
    return { handler, attempts: () => attempts };
  }

  it('is repeated when it has no side effects', async () => {
    const { handler, attempts } = unavailableOnce(message('m1'));
    handlers.getMessage = handler;
    expect((await client.messages.getMessage({ id: 'm1' })).message?.id).toBe('m1');
    expect(attempts()).toBe(2);
  });

  it('is repeated when it is idempotent', async () => {
    const { handler, attempts } = unavailableOnce(toBinary(InvalidateCacheResponseSchema, create(InvalidateCacheResponseSchema)));
    handlers.invalidateCache = handler;
    await client.cache.invalidateCache({});
    expect(attempts()).toBe(2);
  });

  it('is not repeated when it may have had an effect', async () => {
    const { handler, attempts } = unavailableOnce(message('m1'));
    handlers.sendMessage = handler;
    expect((await errorOf(client.messages.sendMessage({}))).code).toBe(status.UNAVAILABLE);
    expect(attempts()).toBe(1);
  });
});

describe('the retry configuration', () => {
  const names = (config: string): string[] =>
    JSON.parse(config).methodConfig.flatMap(({ name }: { name: { service: string; method: string }[] }) =>
      name.map(({ service, method }) => `${service}/${method}`),
    );

  it('names the repeatable methods of every service and no other', () => {
    const repeatable = names(serviceConfigOf([MessageService, ConversationService, CacheService]));
    expect(repeatable).toEqual(
      expect.arrayContaining([
        'messaging.v1.MessageService/GetMessage',
        'messaging.v1.ConversationService/GetConversation',
        'messaging.v1.CacheService/InvalidateCache',
      ]),
    );
    expect(repeatable.filter((name) => /\/(Send|BatchSend|Create|Update|Delete|Cancel|Retry|Mark|Close|Watch|Warm)/.test(name))).toEqual(
      [],
    );
  });
});

describe('a server stream', () => {
  it('is an iterable of typed answers without a deadline', async () => {
    let deadline: unknown;
    handlers.watchMessages = (call) => {
      deadline = call.getDeadline();
      call.write(change('a'));
      call.write(change('b'));
      call.end();
    };
    const tokens = await Array.fromAsync(client.messages.watchMessages({}), ({ resumeToken }) => resumeToken);
    expect([tokens, deadline]).toEqual([['a', 'b'], Number.POSITIVE_INFINITY]);
  });

  it('ends on the server when the loop over it is left', async () => {
    const { promise: canceled, resolve } = Promise.withResolvers<void>();
    handlers.watchMessages = (call) => {
      call.on('cancelled', resolve);
      call.write(change('a'));
    };
    for await (const { resumeToken } of client.messages.watchMessages({})) {
      expect(resumeToken).toBe('a');
      break;
    }
    await canceled;
  });

  it('fails with CANCELLED when its signal fires', async () => {
    const controller = new AbortController();
    handlers.watchMessages = (call) => call.write(change('a'));
    const read = async () => {
      for await (const _ of client.messages.watchMessages({}, { signal: controller.signal })) controller.abort();
    };
    expect((await errorOf(read())).code).toBe(status.CANCELLED);
  });

  it('fails with what the service says after what it has sent', async () => {
    handlers.watchMessages = (call) => {
      call.write(change('a'));
      call.emit('error', { code: status.OUT_OF_RANGE, details: 'too old' });
    };
    const tokens: string[] = [];
    const read = async () => {
      for await (const { resumeToken } of client.messages.watchMessages({})) tokens.push(resumeToken);
    };
    expect((await errorOf(read())).code).toBe(status.OUT_OF_RANGE);
    expect(tokens).toEqual(['a']);
  });
});

describe('a service that cannot be reached', () => {
  it('is UNAVAILABLE', async () => {
    using nobody = createMessagingClient('127.0.0.1:1');
    expect((await errorOf(nobody.messages.sendMessage({}))).code).toBe(status.UNAVAILABLE);
  });
});
