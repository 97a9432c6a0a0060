import { create } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ConversationSchema } from '../../gen/messaging/v1/conversation_pb.js';
import { MessageSchema } from '../../gen/messaging/v1/message_pb.js';
import { type CellCodec, cellCodec, NEGATIVE_CELL } from '../../src/cache/cell.ts';
import { toConversationView, toMessageView } from '../../src/domain/views.ts';
import { conversationFields, messageFields } from '../support/message-fields.ts';

const options = { compressFromBytes: 4_096, maxBytes: 262_144 };
const messages = cellCodec(MessageSchema, options);
const conversations = cellCodec(ConversationSchema, options);

const EXPIRES_AT_MS = 1_764_000_000_000;
const view = toMessageView(messageFields({ body: 'Grüße 😀', metaData: { nested: [1, null, 'x'] }, sentAt: new Date(7) }));

function encode<View>(codec: CellCodec<View>, version: number, value: View): Buffer {
  const cell = codec.encodeValue(version, value, EXPIRES_AT_MS);
  if (cell === undefined) throw new Error('too large');
  return cell;
}
const replaced = (cell: Buffer, what: RegExp | string, by: string): Buffer => Buffer.from(cell.toString('utf8').replace(what, by));
const foreign = { kind: 'foreign' };

describe('a cell', () => {
  it('gives back what was put in', () => {
    const expiresAtMs = EXPIRES_AT_MS;
    expect(messages.decode(encode(messages, 3, view))).toEqual({ kind: 'value', version: 3, expiresAtMs, view });
    const conversation = toConversationView(conversationFields({ messageCount: 2, title: 'V:1:j1:{}' }));
    const cell = encode(conversations, 12, conversation);
    expect(conversations.decode(cell)).toEqual({ kind: 'value', version: 12, expiresAtMs, view: conversation });
  });

  it('spells fields as the contract does', () => {
    const cell = encode(messages, 3, view).toString('utf8');
    expect(cell).toMatch(/^V:3:j1\.[0-9a-f]{8}\.[0-9a-z]+:\{"id":/);
    expect(cell).toContain('"from_address":"+14155552671"');
    expect(cell).not.toContain('fromAddress');
  });

  it('gives any text back, colons and line ends included', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.nat(), (body, version) => {
        const message = create(MessageSchema, { body, createdAt: timestampFromDate(new Date(0)) });
        expect(messages.decode(encode(messages, version, message))).toMatchObject({ kind: 'value', version, view: message });
      }),
      { numRuns: 50 },
    );
  }, 60_000);

  it('is compressed when it is large', () => {
    const long = create(MessageSchema, { body: 'all work and no play '.repeat(500) });
    const cell = encode(messages, 3, long);
    expect(cell.toString('latin1', 0, 8)).toMatch(/^V:3:z1\./);
    expect(cell.byteLength).toBeLessThan(500);
    expect(messages.decode(cell)).toMatchObject({ kind: 'value', view: long });
    const plain = cellCodec(MessageSchema, { ...options, compressFromBytes: 1_000_000 });
    expect(encode(plain, 3, long).byteLength).toBeGreaterThan(10_000);
  });

  it('is not made of what is larger than the cap, as it would be stored', () => {
    const small = cellCodec(MessageSchema, { compressFromBytes: 1_000_000, maxBytes: 1_000 });
    expect(small.encodeValue(1, create(MessageSchema, { body: 'x'.repeat(1_000) }), 0)).toBeUndefined();
    const compressing = cellCodec(MessageSchema, { compressFromBytes: 100, maxBytes: 1_000 });
    expect(compressing.encodeValue(1, create(MessageSchema, { body: 'x'.repeat(1_000) }), 0)).toBeInstanceOf(Buffer);
  });

  it('is absent, negative, a lease, a mark, or foreign, and never an error', () => {
    expect(messages.decode(null)).toEqual({ kind: 'absent' });
    expect(messages.decode(NEGATIVE_CELL)).toEqual({ kind: 'negative' });
    expect(messages.decode(Buffer.from('L:token'))).toEqual({ kind: 'lease', token: 'token' });
    expect(messages.decode(Buffer.from('W:3.token'))).toEqual({ kind: 'mark' });
    expect(messages.decode(Buffer.from('W:3.token!'))).toEqual({ kind: 'mark' });
    expect(messages.decode(Buffer.from(''))).toEqual(foreign);
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        expect(['foreign', 'lease', 'mark', 'negative']).toContain(messages.decode(Buffer.from(bytes)).kind);
      }),
    );
  });

  it('is foreign when cut anywhere', () => {
    for (const codec of [messages, cellCodec(MessageSchema, { ...options, compressFromBytes: 64 })]) {
      const cell = encode(codec, 3, view);
      for (let length = 0; length < cell.length; length += 1) expect(codec.decode(cell.subarray(0, length))).toEqual(foreign);
    }
  });

  it('is foreign when a build with another schema wrote it', () => {
    const cell = encode(messages, 3, view);
    expect(messages.decode(replaced(cell, /j1\.[0-9a-f]{8}\./, 'j1.01234567.'))).toEqual(foreign);
    expect(conversations.decode(cell)).toEqual(foreign);
  });

  it('is foreign when it holds a field or a value that the schema does not know', () => {
    const head = replaced(encode(messages, 3, create(MessageSchema)), '{}', '').toString('utf8');
    for (const payload of ['{"nickname":"x"}', '{"status":"MESSAGE_STATUS_LOST"}', '{"body":7}', '[]']) {
      expect(messages.decode(Buffer.from(head + payload))).toEqual(foreign);
    }
  });

  it('tells equal rows from different ones', () => {
    const { view: again } = messages.decode(encode(messages, 3, view)) as { readonly view: typeof view };
    expect(messages.equals(view, again)).toBe(true);
    expect(messages.equals(view, toMessageView(messageFields({ body: 'other' })))).toBe(false);
  });
});
