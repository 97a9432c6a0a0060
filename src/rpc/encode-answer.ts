/** Answers as gRPC frames. What is remembered by the cache is encoded once, however often it is sent. */
import { create, type DescField, type DescMessage, isMessage, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { BinaryWriter, WireType } from '@bufbuild/protobuf/wire';
import { FeatureSet_FieldPresence as Presence } from '@bufbuild/protobuf/wkt';

/** A flag, 0 for bytes that are not compressed, and their number. */
export const FRAME_HEAD_BYTES = 5;
const NO_HEAD = new Uint8Array(FRAME_HEAD_BYTES);

/** Of messages that nobody can change any more; an entry lives as long as its message does. */
const encodings = new WeakMap<object, Uint8Array>();

function encode(schema: DescMessage, message: object): Uint8Array {
  const known = encodings.get(message);
  if (known !== undefined) return known;
  const bytes = toBinary(schema, message as never);
  if (Object.isFrozen(message)) encodings.set(message, bytes);
  return bytes;
}

/** The frame around `payload`, whose first bytes are left for the head. */
function withHead(payload: Uint8Array, flag: 0 | 1): Buffer {
  const frame = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
  frame[0] = flag;
  frame.writeUInt32BE(payload.byteLength - FRAME_HEAD_BYTES, 1);
  return frame;
}

export function frameOf(payload: Uint8Array, flag: 0 | 1): Buffer {
  return withHead(new BinaryWriter().raw(NO_HEAD).raw(payload).finish(), flag);
}

type WrittenField = (writer: BinaryWriter, value: unknown) => boolean;

/** Writes a field of messages; false when one of them is not made yet. */
function messageField({ number }: DescField, schema: DescMessage): WrittenField {
  const writeOne: WrittenField = (writer, value) => {
    if (!isMessage(value, schema)) return false;
    writer.tag(number, WireType.LengthDelimited).bytes(encode(schema, value));
    return true;
  };
  return (writer, value) =>
    value === undefined || (Array.isArray(value) ? value.every((item) => writeOne(writer, item)) : writeOne(writer, value));
}

/** False unless there is nothing to be written. */
function otherField({ presence }: DescField): WrittenField {
  return presence === Presence.IMPLICIT
    ? (_, value) => !value || (Array.isArray(value) && value.length === 0)
    : (_, value) => value === undefined;
}

/** Encodes what handlers return for `schema`, byte by byte as toBinary does. */
export function frameEncoder<Desc extends DescMessage>(schema: Desc): (answer: MessageInitShape<Desc>) => Buffer {
  const fields = schema.fields
    .toSorted((left, right) => left.number - right.number)
    .map((field) => {
      const isMessages = field.fieldKind === 'message' || (field.fieldKind === 'list' && field.listKind === 'message');
      const write =
        isMessages && field.oneof === undefined && !field.delimitedEncoding ? messageField(field, field.message) : otherField(field);
      return { name: field.localName, write };
    });
  return (answer) => {
    const values = answer as Readonly<Record<string, unknown>>;
    const writer = new BinaryWriter().raw(NO_HEAD);
    if ('$typeName' in values || !fields.every(({ name, write }) => write(writer, values[name]))) {
      return frameOf(toBinary(schema, create(schema, answer)), 0);
    }
    return withHead(writer.finish(), 0);
  };
}
