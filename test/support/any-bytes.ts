/** Arbitrary bytes in place of a message: valid ones, valid but for their values, spoiled ones, and noise. */
import { create, type DescMessage, toBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { anyShape } from './any-message.ts';
import { anyRequest } from './any-request.ts';

const VARINT_END = 0x7f;
/** Number 1, length-delimited: in nearly every message a string or a message. */
const FIRST_FIELD = 0x0a;
const MAX_DEPTH = 200;

function varint(value: number): number[] {
  return value > VARINT_END ? [(value & VARINT_END) | 0x80, ...varint(value >>> 7)] : [value];
}

/** A message in a message in a message. */
function nested(depth: number): Uint8Array {
  let bytes: number[] = [];
  for (let level = 0; level < depth; level += 1) bytes = [FIRST_FIELD, ...varint(bytes.length), ...bytes];
  return Uint8Array.from(bytes);
}

/** Fields of any number and wire type, whole or with lengths that lie. */
const field: fc.Arbitrary<number[]> = fc
  .tuple(fc.integer({ min: 0, max: 40 }), fc.nat(7), fc.uint8Array({ maxLength: 12 }), fc.option(fc.nat(2 ** 31 - 1), { freq: 6 }))
  .map(([number, wireType, bytes, lie]) => [
    ...varint((number << 3) | wireType),
    ...(wireType === 2 ? varint(lie ?? bytes.length) : []),
    ...bytes,
  ]);
const fields = fc.array(field, { maxLength: 8 }).map((all) => Uint8Array.from(all.flat()));

/** Cuts it, changes a byte of it, or puts something into it. */
function spoiled(whole: fc.Arbitrary<Uint8Array>): fc.Arbitrary<Uint8Array> {
  const change = fc.tuple(fc.nat(), fc.uint8Array({ maxLength: 6 }), fc.constantFrom('cut', 'change', 'insert'));
  return fc.tuple(whole, change).map(([bytes, [place, others, how]]) => {
    const at = place % (bytes.byteLength + 1);
    if (how === 'cut') return bytes.subarray(0, at);
    return Buffer.concat([bytes.subarray(0, at), others, bytes.subarray(how === 'insert' ? at : at + others.byteLength)]);
  });
}

/** `ids`: of rows that exist. */
export function anyBytes(schema: DescMessage, ids: () => readonly string[]): fc.Arbitrary<Uint8Array> {
  const sensible = anyRequest(schema, ids).map((message) => toBinary(schema, message));
  const odd = anyShape(schema).map((shape) => {
    try {
      return toBinary(schema, create(schema, shape));
    } catch {
      // It has no form on the wire.
      return new Uint8Array();
    }
  });
  return fc.oneof(
    { weight: 3, arbitrary: sensible },
    { weight: 2, arbitrary: odd },
    { weight: 4, arbitrary: spoiled(sensible) },
    { weight: 2, arbitrary: fields },
    { weight: 1, arbitrary: fc.uint8Array({ maxLength: 100 }) },
    { weight: 1, arbitrary: fc.nat(MAX_DEPTH).map(nested) },
  );
}
