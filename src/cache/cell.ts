/** What one Redis key holds. See ARCHITECTURE.md, cache. */
import { createHash } from 'node:crypto';
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib';
import { type DescMessage, equals, fromJsonString, type MessageShape, toBinary, toJsonString } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';

export type Cell<View> =
  | { readonly kind: 'absent' }
  /** The row at this version. `expiresAtMs` is Unix time as the writer's clock had it; it steers early refresh and nothing else. */
  | { readonly kind: 'value'; readonly version: number; readonly expiresAtMs: number; readonly view: View }
  /** There is no such row. */
  | { readonly kind: 'negative' }
  /** A reader is loading it. */
  | { readonly kind: 'lease'; readonly token: string }
  /** A writer is between its change and its settle. */
  | { readonly kind: 'mark' }
  /** Written by a build with another schema, or not by this service at all. */
  | { readonly kind: 'foreign' };

export interface CellCodec<View> {
  decode(bytes: Buffer | null): Cell<View>;
  /** undefined: too large to be cached. */
  encodeValue(version: number, view: View, expiresAtMs: number): Buffer | undefined;
  equals(left: View, right: View): boolean;
}

export interface CellCodecOptions {
  /** A payload of this size or more is compressed. */
  readonly compressFromBytes: number;
  /** A larger cell is not stored. */
  readonly maxBytes: number;
}

/** Readers do not know the version of a row that is not there; 0 is below every version. */
export const NEGATIVE_CELL = Buffer.from('N:0');

/** Protobuf-JSON under the contract's own field names, plain or compressed; zero values are left out, as protobuf-JSON does. */
const VALUE = /^V:(\d{1,15}):(j1|z1)\.([0-9a-f]{8})\.([0-9a-z]{1,9}):/;
const MAX_HEAD_BYTES = 64;
/** More than any request that is accepted; a bomb under our key must not take the memory. */
const MAX_PAYLOAD_BYTES = 64 * 1_048_576;
/** About 260 us for 12 KB, and most of what the higher levels save. */
const ZSTD = { params: { [constants.ZSTD_c_compressionLevel]: 1 } };

/** Equal for builds that read and write the same fields; a rolling deploy keeps one key and ignores the other build's cells. */
function schemaId(schema: DescMessage): string {
  const seen = new Set([schema.file]);
  for (const file of seen) for (const dependency of file.dependencies) seen.add(dependency);
  const hash = createHash('sha256').update(schema.typeName);
  const own = [...seen].filter(({ proto }) => proto.package === schema.file.proto.package);
  for (const { proto } of own.toSorted((left, right) => (left.name < right.name ? -1 : 1)))
    hash.update(toBinary(FileDescriptorProtoSchema, proto));
  return hash.digest('hex').slice(0, 8);
}

export function cellCodec<Desc extends DescMessage>(
  schema: Desc,
  { compressFromBytes, maxBytes }: CellCodecOptions,
): CellCodec<MessageShape<Desc>> {
  const ownSchema = schemaId(schema);
  const textOf = (format: string, payload: Buffer): string =>
    (format === 'z1' ? zstdDecompressSync(payload, { maxOutputLength: MAX_PAYLOAD_BYTES }) : payload).toString('utf8');

  function decodeValue(head: RegExpExecArray, bytes: Buffer): Cell<MessageShape<Desc>> {
    const [whole, version, format = '', writtenSchema, expiry = ''] = head;
    if (writtenSchema !== ownSchema) return { kind: 'foreign' };
    try {
      // As views are everywhere: nobody may change what several callers get.
      const view = fromJsonString(schema, textOf(format, bytes.subarray(whole.length)));
      Object.freeze(view);
      return { kind: 'value', version: Number(version), expiresAtMs: Number.parseInt(expiry, 36) * 1_000, view };
    } catch {
      // Somebody else wrote under our key; the row is still right.
      return { kind: 'foreign' };
    }
  }

  return {
    decode(bytes) {
      if (bytes === null) return { kind: 'absent' };
      const head = bytes.toString('latin1', 0, MAX_HEAD_BYTES);
      const value = VALUE.exec(head);
      if (value !== null) return decodeValue(value, bytes);
      if (head.startsWith('L:')) return { kind: 'lease', token: head.slice(2) };
      if (head.startsWith('W:')) return { kind: 'mark' };
      return /^N:\d{1,15}$/.test(head) ? { kind: 'negative' } : { kind: 'foreign' };
    },
    encodeValue(version, view, expiresAtMs) {
      const json = Buffer.from(toJsonString(schema, view, { useProtoFieldName: true }));
      const large = json.byteLength >= compressFromBytes;
      const expiry = Math.max(0, Math.round(expiresAtMs / 1_000)).toString(36);
      const head = Buffer.from(`V:${version}:${large ? 'z1' : 'j1'}.${ownSchema}.${expiry}:`);
      const cell = Buffer.concat([head, large ? zstdCompressSync(json, ZSTD) : json]);
      return cell.byteLength > maxBytes ? undefined : cell;
    },
    equals: (left, right) => equals(schema, left, right),
  };
}
