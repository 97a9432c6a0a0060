import { create, toBinary } from '@bufbuild/protobuf';
import { anyPack, durationFromMs } from '@bufbuild/protobuf/wkt';
import { Metadata, status } from '@grpc/grpc-js';
import { defaultTextMapSetter, propagation, ROOT_CONTEXT } from '@opentelemetry/api';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from '../../gen/google/rpc/error_details_pb.js';
import { StatusSchema } from '../../gen/google/rpc/status_pb.js';
import { createMessagingClient, type MessagingClient } from '../../src/client/messaging-client.ts';
import { change, errorOf, type GrpcJsServer, message, never, startGrpcJsServer } from '../support/grpc-js-server.ts';

let server: GrpcJsServer;
let client: MessagingClient;
beforeEach(async () => {
  server = await startGrpcJsServer();
  client = createMessagingClient(server.address);
});
afterEach(() => {
  client.close();
  server.stop();
  propagation.disable();
});

describe('a unary call', () => {
  it('returns the typed answer and reports the response headers', async () => {
    server.handlers.getMessage = (call, reply) => {
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
    server.handlers.getMessage = (call, reply) => {
      remainingMs.push(Number(call.getDeadline()) - Date.now());
      reply(null, message('m1'));
    };
    await client.messages.getMessage({ id: 'm1' });
    await client.messages.getMessage({ id: 'm1' }, { deadlineMs: 60_000 });
    await client.messages.getMessage({ id: 'm1' }, { deadlineMs: Number.POSITIVE_INFINITY });
    expect(remainingMs.map((ms) => Math.ceil(ms / 5_000) * 5_000)).toEqual([5_000, 60_000, Number.POSITIVE_INFINITY]);
  });

  it('fails with DEADLINE_EXCEEDED when the service does not answer in time', async () => {
    server.handlers.getMessage = never;
    const error = await errorOf(client.messages.getMessage({ id: 'm1' }, { deadlineMs: 20 }));
    expect(error).toMatchObject({ code: status.DEADLINE_EXCEEDED, reason: '' });
  });

  it('is canceled by its signal, also on the server', async () => {
    const controller = new AbortController();
    const { promise: canceled, resolve } = Promise.withResolvers<void>();
    server.handlers.getMessage = (call) => {
      call.on('cancelled', resolve);
      controller.abort(new Error('user left'));
    };
    const error = await errorOf(client.messages.getMessage({ id: 'm1' }, { signal: controller.signal }));
    expect(error).toMatchObject({ code: status.CANCELLED, cause: new Error('user left') });
    await canceled;
  });

  it('is not made when its signal had fired before', async () => {
    server.handlers.getMessage = () => expect.unreachable();
    expect((await errorOf(client.messages.getMessage({ id: 'm1' }, { signal: AbortSignal.abort() }))).code).toBe(status.CANCELLED);
  });

  it('carries the headers of the client, of the call, and the trace context', async () => {
    propagation.setGlobalPropagator({
      inject: (_context, carrier) => defaultTextMapSetter.set(carrier as Record<string, string>, 'traceparent', '00-trace-span-01'),
      extract: () => ROOT_CONTEXT,
      fields: () => ['traceparent'],
    });
    let received: Record<string, unknown> = {};
    server.handlers.getMessage = (call, reply) => {
      received = call.metadata.getMap();
      reply(null, message('m1'));
    };
    await client.messages.getMessage({ id: 'm1' }, { metadata: { 'x-team': 'billing' } });
    expect(received).toMatchObject({ traceparent: '00-trace-span-01', 'x-team': 'billing' });
  });
});

describe('a failed call', () => {
  it('says why, with the details of the service', async () => {
    server.handlers.sendMessage = (_call, reply) => {
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
      server.handlers.sendMessage = (_call, reply) => {
        const metadata = new Metadata();
        if (bytes !== undefined) metadata.set('grpc-status-details-bin', bytes);
        reply({ code: status.NOT_FOUND, details: 'gone', metadata });
      };
      expect(await errorOf(client.messages.sendMessage({}))).toMatchObject({ code: status.NOT_FOUND, reason: '', retryAfterMs: undefined });
    }
  });
});

describe('a server stream', () => {
  it('is an iterable of typed answers without a deadline', async () => {
    let deadline: unknown;
    server.handlers.watchMessages = (call) => {
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
    server.handlers.watchMessages = (call) => {
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
    server.handlers.watchMessages = (call) => call.write(change('a'));
    const read = async () => {
      for await (const _ of client.messages.watchMessages({}, { signal: controller.signal })) controller.abort();
    };
    expect((await errorOf(read())).code).toBe(status.CANCELLED);
  });

  it('fails with what the service says after what it has sent', async () => {
    server.handlers.watchMessages = (call) => {
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
