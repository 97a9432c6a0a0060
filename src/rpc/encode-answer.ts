/** Answers as gRPC frames. What is remembered by the cache is encoded once, however often it is sent. */
import { create, type DescField, type DescMessage, isMessage, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { WireType } from '@bufbuild/protobuf/wire';
import { FeatureSet_FieldPresence as Presence } from '@bufbuild/protobuf/wkt';

/** A flag, 0 for bytes that are not compressed, and their number. */
export const FRAME_HEAD_BYTES = 5;
const MAX_VARINT_BYTES = 5;

/** Of messages that nobody can change any more; an entry lives as long as its message does. */
const encodings = new WeakMap<object, Uint8Array>();

function encode(schema: DescMessage, message: object): Uint8Array {
  const known = encodings.get(message);
  if (known !== undefined) return known;
  const bytes = toBinary(schema, message as never);
  if (Object.isFrozen(message)) encodings.set(message, bytes);
  return bytes;
}

/** Memory for a frame of at most `payloadBytes`, which follow the place of the head. */
function spaceFor(payloadBytes: number): Buffer {
  return Buffer.allocUnsafe(FRAME_HEAD_BYTES + payloadBytes);
}

function finish(space: Buffer, end: number, flag: 0 | 1): Buffer {
  space[0] = flag;
  space.writeUInt32BE(end - FRAME_HEAD_BYTES, 1);
  return space.subarray(0, end);
}

export function frameOf(payload: Uint8Array, flag: 0 | 1): Buffer {
  const space = spaceFor(payload.byteLength);
  space.set(payload, FRAME_HEAD_BYTES);
  return finish(space, space.byteLength, flag);
}

/** Returns where it ends. */
function writeVarint(target: Buffer, at: number, value: number): number {
  let [end, rest] = [at, value];
  for (; rest > 0x7f; rest >>>= 7) {
    target[end] = (rest & 0x7f) | 0x80;
    end += 1;
  }
  target[end] = rest;
  return end + 1;
}

/** A message within a message, encoded. */
interface Part {
  readonly tag: number;
  readonly bytes: Uint8Array;
}

/** Adds the parts that a field consists of; false when it has to be encoded in another way. */
type AddParts = (parts: Part[], value: unknown) => boolean;

function messageField({ number }: DescField, schema: DescMessage): AddParts {
  const tag = (number << 3) | WireType.LengthDelimited;
  const addOne: AddParts = (parts, value) => {
    // What handlers leave to be made of a plain object is not encoded before.
    if (!isMessage(value, schema)) return false;
    parts.push({ tag, bytes: encode(schema, value) });
    return true;
  };
  return (parts, value) => {
    if (value === undefined) return true;
    return Array.isArray(value) ? value.every((item) => addOne(parts, item)) : addOne(parts, value);
  };
}

/** Nothing to add as long as there is nothing in it. */
function otherField({ presence }: DescField): AddParts {
  if (presence !== Presence.IMPLICIT) return (_, value) => value === undefined;
  return (_, value) => !value || (Array.isArray(value) && value.length === 0);
}

function addPartsOf(field: DescField): AddParts {
  if (field.oneof !== undefined) return otherField(field);
  const { fieldKind } = field;
  if (fieldKind === 'message' && !field.delimitedEncoding) return messageField(field, field.message);
  if (fieldKind === 'list' && field.listKind === 'message' && !field.delimitedEncoding) return messageField(field, field.message);
  return otherField(field);
}

/** Encodes what handlers return for `schema`, byte by byte as toBinary does. */
export function frameEncoder<Desc extends DescMessage>(schema: Desc): (answer: MessageInitShape<Desc>) => Buffer {
  const fields = schema.fields
    .toSorted((left, right) => left.number - right.number)
    .map((field) => ({ name: field.localName, addParts: addPartsOf(field) }));

  function partsOf(values: Readonly<Record<string, unknown>>): readonly Part[] | undefined {
    if ('$typeName' in values) return undefined;
    const parts: Part[] = [];
    for (const { name, addParts } of fields) if (!addParts(parts, values[name])) return undefined;
    return parts;
  }

  return (answer) => {
    const parts = partsOf(answer as Readonly<Record<string, unknown>>);
    if (parts === undefined) return frameOf(toBinary(schema, create(schema, answer)), 0);
    let most = 0;
    for (const { bytes } of parts) most += bytes.byteLength + 2 * MAX_VARINT_BYTES;
    const space = spaceFor(most);
    let end = FRAME_HEAD_BYTES;
    for (const { tag, bytes } of parts) {
      end = writeVarint(space, writeVarint(space, end, tag), bytes.byteLength);
      space.set(bytes, end);
      end += bytes.byteLength;
    }
    return finish(space, end, 0);
  };
}
