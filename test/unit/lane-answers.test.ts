/** What handlers return or throw reaches callers in the same way through both lanes. */
import { create, toBinary } from '@bufbuild/protobuf';
import { Code, ConnectError } from '@connectrpc/connect';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ErrorInfoSchema } from '../../gen/google/rpc/error_details_pb.js';
import { MessageSchema } from '../../gen/messaging/v1/message_pb.js';
import { GetMessageResponseSchema } from '../../gen/messaging/v1/message_service_pb.js';
import { DomainError } from '../../src/domain/errors.ts';
import { type Answer, type HandlerLanes, ID, startHandlerLanes } from '../support/handler-lanes.ts';
import { failureIn } from '../support/raw-calls.ts';

const MAX_RESPONSE_BYTES = 200_000;

let on: HandlerLanes;
beforeAll(async () => {
  on = await startHandlerLanes({ maxResponseBytes: MAX_RESPONSE_BYTES });
});
afterAll(async () => {
  // Not only callers, operators too see the same.
  await on.counted();
  await on[Symbol.asyncDispose]();
});

const base64 = (bytes: readonly number[]) => Buffer.from(bytes).toString('base64').replaceAll('=', '');

describe('an error that a handler throws', () => {
  const info = { desc: ErrorInfoSchema, value: { reason: 'SOME_REASON', domain: 'elsewhere' } };
  const errors: [string, unknown, string?][] = [
    ['of the domain', new DomainError('message_not_found', 'message x does not exist', { metadata: { id: 'x' } }), '5'],
    ['with fields', new DomainError('field_invalid', 'no', { fields: [{ field: 'id', description: 'wrong' }] }), '3'],
    ['with letters that are not ASCII', new DomainError('field_invalid', 'ü 100 %\n\u{1f600}'), '3'],
    ['that is a bug', new Error('secret'), '13'],
    ['that is no error', 'text', '13'],
    ['that is nothing', undefined, '13'],
    ['with metadata', new ConnectError('no', Code.PermissionDenied, { 'x-why': 'because', 'x-why-bin': base64([1, 2]) }), '7'],
    ['with details of its own', new ConnectError('no', Code.DataLoss, undefined, [info]), '15'],
    ['with both', new ConnectError('no', Code.Aborted, { 'x-why': 'because', 'grpc-status': '0' }, [info]), '10'],
    ...Object.values(Code)
      .filter((code) => typeof code === 'number')
      .map((code): [string, unknown] => [`with the code ${code}`, new ConnectError('some text', code)]),
  ];

  it.each(errors)('%s, at once or later', async (_, error, status) => {
    const now = await on.ask(() => {
      throw error;
    });
    if (status !== undefined) expect(now.trailers['grpc-status']).toBe(status);
    const later = await on.ask(async () => {
      await new Promise(setImmediate);
      throw error;
    });
    expect(later.trailers).toEqual(now.trailers);
    expect(JSON.stringify(later)).not.toContain('secret');
  });

  it('too long for a header is cut, and compression changes nothing', async () => {
    const error = new DomainError('message_not_found', 'x'.repeat(2_000), { metadata: { ids: 'y'.repeat(3_000) } });
    const answer = await on.ask(
      () => {
        throw error;
      },
      { headers: { 'grpc-accept-encoding': 'gzip' } },
    );
    expect(failureIn(answer)).toMatchObject({ code: 'NotFound', metadata: error.metadata });
  });
});

describe('an answer', () => {
  const long = 'some words '.repeat(300);
  const answers: [string, () => unknown][] = [
    ['with nothing in it', () => ({})],
    ['with a part of its fields', () => ({ message: { id: ID, email: { subject: 'x' } } })],
    ['with messages that are made', () => ({ message: create(MessageSchema, { id: ID }), events: [] })],
    [
      'with some messages that are made and some that are not',
      () => ({ message: create(MessageSchema), conversation: { id: ID }, events: [{}] }),
    ],
    ['with fields that are undefined', () => ({ message: undefined, conversation: undefined, events: undefined })],
    ['that is compressed', () => ({ message: { body: long } })],
    ['of text that is no UTF-16', () => ({ message: { body: '\ud800' } })],
    ['with a value of the wrong type', () => ({ message: { sequence: 'many' } })],
    ['with a number that is too large', () => ({ message: { attemptCount: 2 ** 40 } })],
    ['with an oneof that is half there', () => ({ events: [{ type: -1 }] })],
    ['above the limit', () => ({ message: { body: 'x'.repeat(MAX_RESPONSE_BYTES) } })],
  ];
  const encodings = [undefined, '', 'identity', 'gzip', 'br', 'snappy, gzip', 'br,gzip', 'gzip;q=0'];

  it.each(answers)('%s, at once or later, for every encoding', async (_, answer) => {
    for (const encoding of encodings) {
      const request = { headers: encoding === undefined ? {} : { 'grpc-accept-encoding': encoding } };
      const now = await on.ask(() => answer() as Answer, request);
      const later = await on.ask(async () => {
        await new Promise(setImmediate);
        return answer() as Answer;
      }, request);
      expect(later).toMatchObject({ body: now.body, trailers: now.trailers });
    }
  });

  it('is compressed when it is long and the caller takes that', async () => {
    const answer = await on.ask(() => ({ message: { body: long } }), { headers: { 'grpc-accept-encoding': 'gzip' } });
    expect(answer).toMatchObject({ headers: { 'grpc-encoding': 'gzip' }, trailers: { 'grpc-status': '0' } });
    expect(answer.body[0]).toBe(1);
    expect(answer.body.byteLength).toBeLessThan(1_000);
  });

  it('may be exactly as long as the limit, before it is compressed', async () => {
    const overhead =
      toBinary(GetMessageResponseSchema, create(GetMessageResponseSchema, { message: { body: 'x'.repeat(MAX_RESPONSE_BYTES / 2) } }))
        .byteLength -
      MAX_RESPONSE_BYTES / 2;
    for (const encoding of ['identity', 'gzip']) {
      for (const [more, status] of [
        [0, '0'],
        [1, '8'],
      ] as const) {
        const body = 'x'.repeat(MAX_RESPONSE_BYTES - overhead + more);
        expect(await on.ask(() => ({ message: { body } }), { headers: { 'grpc-accept-encoding': encoding } })).toMatchObject({
          trailers: { 'grpc-status': status },
        });
      }
    }
  });

  it('that cannot be written is a bug, and one above the limit is not', async () => {
    expect(failureIn(await on.ask(() => ({ message: { attemptCount: 2 ** 40 } })))).toMatchObject({
      reason: 'INTERNAL',
      message: 'internal error',
    });
    expect(failureIn(await on.ask(() => ({ message: { body: 'x'.repeat(MAX_RESPONSE_BYTES) } })))).toMatchObject({
      reason: 'MESSAGE_TOO_LARGE',
      message: `the response is larger than ${MAX_RESPONSE_BYTES} bytes`,
    });
  });
});
