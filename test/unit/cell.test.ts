import { create } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ConversationSchema } from '../../gen/messaging/v1/conversation_pb.js';
import { MessageSchema } from '../../gen/messaging/v1/message_pb.js';
import { cellCodec, encodeLease } from '../../src/cache/cell.ts';
import { toConversationView, toMessageView } from '../../src/domain/views.ts';
import { conversationFields, messageFields } from '../support/message-fields.ts';

const messages = cellCodec(MessageSchema);
const conversations = cellCodec(ConversationSchema);

const view = toMessageView(messageFields({ body: 'Grüße 😀', metaData: { nested: [1, null, 'x'] }, sentAt: new Date(7) }));

describe('a cell', () => {
  it('gives back what was put in', () => {
    expect(messages.decode(messages.encodeValue(3, view))).toEqual({ kind: 'value', version: 3, view });
    const conversation = toConversationView(conversationFields({ messageCount: 2, title: 'V:1:j1:{}' }));
    expect(conversations.decode(conversations.encodeValue(12, conversation))).toEqual({ kind: 'value', version: 12, view: conversation });
  });

  it('spells fields as the contract does', () => {
    const cell = messages.encodeValue(3, view);
    expect(cell).toMatch(/^V:3:j1\.[0-9a-f]{8}:\{"id":/);
    expect(cell).toContain('"from_address":"+14155552671"');
    expect(cell).not.toContain('fromAddress');
  });

  it('gives any text back, colons and line ends included', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.nat(), (body, version) => {
        const message = create(MessageSchema, { body, createdAt: timestampFromDate(new Date(0)) });
        expect(messages.decode(messages.encodeValue(version, message))).toEqual({ kind: 'value', version, view: message });
      }),
      { numRuns: 50 },
    );
  }, 60_000);

  it('is absent, a lease, or foreign, and never an error', () => {
    expect(messages.decode(null)).toEqual({ kind: 'absent' });
    expect(messages.decode(encodeLease('token'))).toEqual({ kind: 'lease' });
    expect(messages.decode('')).toEqual({ kind: 'foreign' });
    fc.assert(
      fc.property(fc.string(), (text) => {
        expect(['foreign', 'lease']).toContain(messages.decode(text).kind);
      }),
    );
  });

  it('is foreign when cut anywhere', () => {
    const cell = messages.encodeValue(3, view);
    for (let length = 0; length < cell.length; length += 1) expect(messages.decode(cell.slice(0, length)).kind).toBe('foreign');
  });

  it('is foreign when a build with another schema wrote it', () => {
    const cell = messages.encodeValue(3, view);
    expect(messages.decode(cell.replace(/\.[0-9a-f]{8}:/, '.01234567:'))).toEqual({ kind: 'foreign' });
    expect(conversations.decode(cell)).toEqual({ kind: 'foreign' });
  });

  it('is foreign when it holds a field or a value that the schema does not know', () => {
    const head = messages.encodeValue(3, create(MessageSchema)).replace('{}', '');
    expect(messages.decode(`${head}{"nickname":"x"}`)).toEqual({ kind: 'foreign' });
    expect(messages.decode(`${head}{"status":"MESSAGE_STATUS_LOST"}`)).toEqual({ kind: 'foreign' });
    expect(messages.decode(`${head}{"body":7}`)).toEqual({ kind: 'foreign' });
    expect(messages.decode(`${head}[]`)).toEqual({ kind: 'foreign' });
  });
});
