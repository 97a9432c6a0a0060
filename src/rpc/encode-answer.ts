/** Answers as gRPC frames. What is remembered by the cache is encoded once, however often it is sent. */
import { create, type DescField, type DescMessage, isMessage, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { WireType } from '@bufbuild/protobuf/wire';
import { FeatureSet_FieldPresence as Presence } from '@bufbuild/protobuf/wkt';

/** A flag, 0 for bytes that are not compressed, and their number. */
export const FRAME_HEAD_BYTES = 5;
const MAX_VARINT_BYTES = 5;

/** A message as a field of an answer: its own bytes, and the frame of an answer that has nothing else. */
interface Part {
  readonly tag: number;
  readonly bytes: Uint8Array;
  readonly frame: Buffer;
}

/** Of messages that nobody can change any more, as they were sent last; an entry lives as long as its message does. */
const remembered = new WeakMap<object, Part>();

function withHead(frame: Buffer, flag: 0 | 1): Buffer {
  frame[0] = flag;
  frame.writeUInt32BE(frame.byteLength - FRAME_HEAD_BYTES, 1);
  return frame;
}

export function frameOf(payload: Uint8Array, flag: 0 | 1): Buffer {
  const frame = Buffer.allocUnsafe(FRAME_HEAD_BYTES + payload.byteLength);
  frame.set(payload, FRAME_HEAD_BYTES);
  return withHead(frame, flag);
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

function frameOfParts(parts: readonly Pick<Part, 'tag' | 'bytes'>[]): Buffer {
  let most = FRAME_HEAD_BYTES;
  for (const { bytes } of parts) most += bytes.byteLength + 2 * MAX_VARINT_BYTES;
  // Not from the pool, of which a frame that is remembered would keep a whole page.
  const space = Buffer.allocUnsafeSlow(most);
  let end = FRAME_HEAD_BYTES;
  for (const { tag, bytes } of parts) {
    end = writeVarint(space, writeVarint(space, end, tag), bytes.byteLength);
    space.set(bytes, end);
    end += bytes.byteLength;
  }
  return withHead(space.subarray(0, end), 0);
}

function partOf(tag: number, schema: DescMessage, message: object): Part {
  const known = remembered.get(message);
  if (known?.tag === tag) return known;
  const own = known?.bytes ?? toBinary(schema, message as never);
  const frame = frameOfParts([{ tag, bytes: own }]);
  const part = { tag, frame, bytes: frame.subarray(frame.byteLength - own.byteLength) };
  if (Object.isFrozen(message)) remembered.set(message, part);
  return part;
}

/** Adds the parts that a field consists of; false when it has to be encoded in another way. */
type AddParts = (parts: Part[], value: unknown) => boolean;

function messageField({ number }: DescField, schema: DescMessage): AddParts {
  const tag = (number << 3) | WireType.LengthDelimited;
  const addOne: AddParts = (parts, value) => {
    // What handlers leave to be made of a plain object is not encoded before.
    if (!isMessage(value, schema)) return false;
    parts.push(partOf(tag, schema, value));
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
  const isMessages = field.fieldKind === 'message' || (field.fieldKind === 'list' && field.listKind === 'message');
  return isMessages && field.oneof === undefined && !field.delimitedEncoding ? messageField(field, field.message) : otherField(field);
}

/** Encodes what handlers return for `schema`, byte by byte as toBinary does. */
export function frameEncoder<Desc extends DescMessage>(schema: Desc): (answer: MessageInitShape<Desc>) => Buffer {
  const fields = schema.fields
    .toSorted((left, right) => left.number - right.number)
    .map((field) => ({ name: field.localName, addParts: addPartsOf(field) }));

  /** undefined: it has more than messages in it. */
  function partsOf(values: Readonly<Record<string, unknown>>): readonly Part[] | undefined {
    if ('$typeName' in values) return undefined;
    const parts: Part[] = [];
    for (const { name, addParts } of fields) if (!addParts(parts, values[name])) return undefined;
    return parts;
  }

  return (answer) => {
    const parts = partsOf(answer as Readonly<Record<string, unknown>>);
    if (parts === undefined) return frameOf(toBinary(schema, create(schema, answer)), 0);
    const [only, more] = parts;
    return only !== undefined && more === undefined ? only.frame : frameOfParts(parts);
  };
}
