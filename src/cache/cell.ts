/** What one Redis key holds. See ARCHITECTURE.md, cache. */
import { createHash } from 'node:crypto';
import { type DescMessage, fromJsonString, type MessageShape, toBinary, toJsonString } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';

export type Cell<View> =
  | { readonly kind: 'absent' }
  /** The row at this version. */
  | { readonly kind: 'value'; readonly version: number; readonly view: View }
  /** A reader is loading it. */
  | { readonly kind: 'lease' }
  /** Written by a build with another schema, or not by this service at all. */
  | { readonly kind: 'foreign' };

export interface CellCodec<View> {
  decode(text: string | null): Cell<View>;
  encodeValue(version: number, view: View): string;
}

/** Protobuf-JSON under the contract's own field names; zero values are left out, as protobuf-JSON does. */
const JSON_FORMAT = 'j1';
const VALUE = /^V:(\d{1,15}):([a-z0-9.]{1,32}):/;

export function encodeLease(token: string): string {
  return `L:${token}`;
}

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

export function cellCodec<Desc extends DescMessage>(schema: Desc): CellCodec<MessageShape<Desc>> {
  const format = `${JSON_FORMAT}.${schemaId(schema)}`;
  return {
    decode(text) {
      if (text === null) return { kind: 'absent' };
      if (text.startsWith('L:')) return { kind: 'lease' };
      const head = VALUE.exec(text);
      if (head === null || head[2] !== format) return { kind: 'foreign' };
      try {
        return { kind: 'value', version: Number(head[1]), view: fromJsonString(schema, text.slice(head[0].length)) };
      } catch {
        // Somebody else wrote under our key; the row is still right.
        return { kind: 'foreign' };
      }
    },
    encodeValue: (version, view) => `V:${version}:${format}:${toJsonString(schema, view, { useProtoFieldName: true })}`,
  };
}
