import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { fromBinary } from '@bufbuild/protobuf';
import { type DescriptorProto, type FileDescriptorProto, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { expect, it } from 'vitest';
import { file_buf_validate_validate } from '../../gen/buf/validate/validate_pb.js';
import { file_google_rpc_status } from '../../gen/google/rpc/status_pb.js';
import { printProtoFile } from '../../src/dev/proto-printer.ts';

const run = promisify(execFile);

async function compiled(source: string, path: string): Promise<FileDescriptorProto | undefined> {
  const folder = await mkdtemp(join(tmpdir(), 'proto-printer-'));
  try {
    await writeFile(join(folder, path), source);
    const arguments_ = ['build', folder, '--exclude-source-info', '-o', '-#format=binpb'];
    const { stdout } = await run('node_modules/.bin/buf', arguments_, { encoding: 'buffer' });
    return fromBinary(FileDescriptorSetSchema, stdout).file.find(({ name }) => name === path);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** What the printed text has to carry: everything on the wire, and the names that options refer to. */
function shapeOf(message: DescriptorProto): unknown {
  return {
    name: message.name,
    fields: message.field
      .map(({ name, number, type, typeName, label, defaultValue, proto3Optional }) => [
        number,
        { name, type, typeName, label, defaultValue, proto3Optional },
      ])
      .sort(([left], [right]) => Number(left) - Number(right)),
    oneofs: message.oneofDecl.map(({ name }) => name).filter((name) => !name.startsWith('_')),
    ranges: message.extensionRange.map(({ start, end }) => [start, end]),
    extensions: message.extension.map(({ name, number, extendee }) => [name, number, extendee]),
    enums: message.enumType.map(({ name, value }) => [name, value.map((item) => [item.name, item.number])]),
    nested: message.nestedType.map(shapeOf),
  };
}

function fileShapeOf(file: FileDescriptorProto | undefined): unknown {
  return {
    package: file?.package,
    messages: file?.messageType.map(shapeOf),
    enums: file?.enumType.map(({ name, value }) => [name, value.map((item) => [item.name, item.number])]),
    extensions: file?.extension.map(({ name, number, extendee }) => [name, number, extendee]),
  };
}

it.each([
  ['validate.proto', file_buf_validate_validate],
  ['status.proto', file_google_rpc_status],
])('a printed file, here %s, compiles to the descriptor it was printed from', async (path, { proto }) => {
  expect(fileShapeOf(await compiled(printProtoFile(proto), path))).toEqual(fileShapeOf(proto));
});
