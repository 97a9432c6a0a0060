/** Frames hold byte by byte what toBinary would write, and only of what cannot change is anything remembered. */
import { create, type DescMessage, type DescMethodUnary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Health } from '../../gen/grpc/health/v1/health_pb.js';
import { CacheService } from '../../gen/messaging/v1/cache_service_pb.js';
import { ConversationService } from '../../gen/messaging/v1/conversation_service_pb.js';
import { MessageSchema } from '../../gen/messaging/v1/message_pb.js';
import { BatchGetMessagesResponseSchema, GetMessageResponseSchema, MessageService } from '../../gen/messaging/v1/message_service_pb.js';
import { ProviderEventService } from '../../gen/messaging/v1/provider_event_service_pb.js';
import { SuppressionService } from '../../gen/messaging/v1/suppression_service_pb.js';
import { FRAME_HEAD_BYTES, frameEncoder, frameOf } from '../../src/rpc/encode-answer.ts';
import { anyShape } from '../support/any-message.ts';
import { frame } from '../support/raw-calls.ts';

const RUNS_PER_METHOD = 150;

const everyService = [MessageService, ConversationService, ProviderEventService, SuppressionService, CacheService, Health];
const methods = everyService.flatMap(({ methods: all }) => all.filter(({ methodKind }) => methodKind === 'unary')) as DescMethodUnary[];

/** What any other server would send. */
const expected = <Desc extends DescMessage>(schema: Desc, answer: MessageInitShape<Desc>) =>
  frame(toBinary(schema, create(schema, answer)));

describe('an answer of any shape', () => {
  it.each(methods.map(({ parent, name, output }) => [`${parent.name}.${name}`, output] as const))('of %s', (_, schema) => {
    const encode = frameEncoder(schema);
    fc.assert(
      fc.property(anyShape(schema), (answer) => {
        const bytes = expected(schema, answer);
        expect(encode(answer)).toEqual(bytes);
        // The second time from memory, if anything of it is remembered.
        expect(encode(answer)).toEqual(bytes);
      }),
      { numRuns: RUNS_PER_METHOD },
    );
  });

  it('is refused as toBinary refuses it', () => {
    const encode = frameEncoder(GetMessageResponseSchema);
    for (const message of [
      { attemptCount: 2 ** 40 },
      create(MessageSchema, { attemptCount: 2 ** 40 }),
      create(MessageSchema, { attemptCount: 'many' as never }),
    ]) {
      expect(() => toBinary(GetMessageResponseSchema, create(GetMessageResponseSchema, { message }))).toThrow();
      expect(() => encode({ message })).toThrow();
    }
  });

  it('may be larger than any buffer that is at hand', () => {
    const messages = Array.from({ length: 200 }, (_, index) => create(MessageSchema, { body: 'x'.repeat(1_000 * (index % 40)) }));
    const bytes = frameEncoder(BatchGetMessagesResponseSchema)({ messages });
    expect(bytes.equals(expected(BatchGetMessagesResponseSchema, { messages }))).toBe(true);
  });
});

describe('what is remembered', () => {
  const encode = frameEncoder(GetMessageResponseSchema);
  const bodyOf = (body: string) => expected(GetMessageResponseSchema, { message: { body } });

  /** A message that counts how often its body is read. */
  function watched() {
    const message = create(MessageSchema);
    let reads = 0;
    const get = () => {
      reads += 1;
      return 'watched';
    };
    Object.defineProperty(message, 'body', { enumerable: true, get });
    return { message, reads: () => reads };
  }

  it('is a frozen message, however often and wherever it is sent', () => {
    const { message, reads } = watched();
    Object.freeze(message);
    expect(encode({ message })).toEqual(bodyOf('watched'));
    const once = reads();
    expect(once).toBeGreaterThan(0);
    expect(encode({ message })).toEqual(bodyOf('watched'));
    frameEncoder(BatchGetMessagesResponseSchema)({ messages: [message, message] });
    expect(reads()).toBe(once);
  });

  it('is no message that can change', () => {
    const message = create(MessageSchema, { body: 'before' });
    expect(encode({ message })).toEqual(bodyOf('before'));
    message.body = 'after';
    expect(encode({ message })).toEqual(bodyOf('after'));
    message.body = 'at last';
    Object.freeze(message);
    expect(encode({ message })).toEqual(bodyOf('at last'));
  });
});

describe('the frame of bytes', () => {
  it('says whether they are compressed, and how many they are', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.constantFrom(0 as const, 1 as const), (payload, flag) => {
        expect(frameOf(payload, flag)).toEqual(frame(payload, flag));
        expect(frameOf(payload, flag)).toHaveLength(payload.byteLength + FRAME_HEAD_BYTES);
      }),
    );
  });
});
