import type { DescEnum, DescExtension, DescFile, DescMessage, DescService } from '@bufbuild/protobuf';
import { toBinary } from '@bufbuild/protobuf';
import { nestedTypes } from '@bufbuild/protobuf/reflect';
import { FileDescriptorProtoSchema } from '@bufbuild/protobuf/wkt';

/** One .proto file, ready to be sent. */
export interface IndexedFile {
  /** As imports spell it, e.g. `google/protobuf/timestamp.proto`. */
  readonly name: string;
  /** The serialized google.protobuf.FileDescriptorProto. */
  readonly bytes: Uint8Array;
  readonly imports: readonly string[];
}

/** Where everything is declared, by full name without a leading dot. Holds the given files and all they import. */
export interface DescriptorIndex {
  /** Services of the given files, not of their imports. */
  readonly services: readonly string[];
  readonly files: ReadonlyMap<string, IndexedFile>;
  /** Messages, fields, oneofs, enums, enum values, extensions, services and methods. */
  readonly symbols: ReadonlyMap<string, IndexedFile>;
  readonly messages: ReadonlySet<string>;
  /** Extended message -> field number -> the file that declares the extension. */
  readonly extensions: ReadonlyMap<string, ReadonlyMap<number, IndexedFile>>;
}

const fileName = (file: DescFile): string => `${file.name}.proto`;

function withImports(files: readonly DescFile[]): readonly DescFile[] {
  const found = new Set(files);
  // A Set iterates over what is added on the way, so this ends when nothing new is imported.
  for (const file of found) for (const imported of file.dependencies) found.add(imported);
  return [...found];
}

/** Enum values are declared beside their enum, as in C++, not inside it. */
function enumValueNames(desc: DescEnum): readonly string[] {
  const scope = desc.typeName.slice(0, desc.typeName.length - desc.name.length);
  return desc.values.map((value) => scope + value.name);
}

function namesIn(desc: DescMessage | DescEnum | DescExtension | DescService): readonly string[] {
  switch (desc.kind) {
    case 'message':
      return [desc.typeName, ...[...desc.fields, ...desc.oneofs].map((member) => `${desc.typeName}.${member.name}`)];
    case 'enum':
      return [desc.typeName, ...enumValueNames(desc)];
    case 'service':
      return [desc.typeName, ...desc.methods.map((method) => `${desc.typeName}.${method.name}`)];
    case 'extension':
      return [desc.typeName];
    default:
      return desc satisfies never;
  }
}

/** Serializes every descriptor once, so that answering costs nothing but the copy. */
export function indexDescriptors(files: readonly DescFile[]): DescriptorIndex {
  const byName = new Map<string, IndexedFile>();
  const symbols = new Map<string, IndexedFile>();
  const messages = new Set<string>();
  const extensions = new Map<string, Map<number, IndexedFile>>();
  for (const file of withImports(files)) {
    const indexed: IndexedFile = {
      name: fileName(file),
      bytes: toBinary(FileDescriptorProtoSchema, file.proto),
      imports: file.dependencies.map(fileName),
    };
    byName.set(indexed.name, indexed);
    for (const desc of nestedTypes(file)) {
      for (const name of namesIn(desc)) symbols.set(name, indexed);
      if (desc.kind === 'message') messages.add(desc.typeName);
      if (desc.kind === 'extension') {
        const extendee = desc.extendee.typeName;
        extensions.set(extendee, (extensions.get(extendee) ?? new Map()).set(desc.number, indexed));
      }
    }
  }
  const services = files.flatMap((file) => file.services.map((service) => service.typeName));
  return { services: [...new Set(services)].sort(), files: byName, symbols, messages, extensions };
}
