/**
 * Fills `.cache/proto-imports` with the .proto files that the contract imports or that the server speaks, all of them from
 * installed npm packages: no schema registry is needed to build.
 *
 * `buf/validate/validate.proto` is in no npm package as text, so it is printed from the descriptor that protovalidate embeds.
 */
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { DescFile } from '@bufbuild/protobuf';
import { printProtoFile } from './proto-printer.ts';

const require = createRequire(import.meta.url);
const target = '.cache/proto-imports';

function packageFolder(name: string, ...inside: string[]): string {
  const folder = require.resolve.paths(name)?.map((path) => join(path, name)) ?? [];
  const found = folder.find((path) => {
    try {
      readFileSync(join(path, 'package.json'));
      return true;
    } catch {
      return false;
    }
  });
  if (found === undefined) throw new Error(`package ${name} is not installed; run: make install`);
  return join(found, ...inside);
}

function put(path: string, text: string): void {
  mkdirSync(dirname(join(target, path)), { recursive: true });
  writeFileSync(join(target, path), text);
}

/** The published npm text of the health service lacks List, which grpc.health.v1 gained later. */
function withHealthList(text: string): string {
  if (text.includes('rpc List(')) return text;
  return text
    .replace(/(rpc Watch\([^;]*;)/, '$1\n  rpc List(HealthListRequest) returns (HealthListResponse);')
    .concat('\nmessage HealthListRequest {}\n\nmessage HealthListResponse {\n  map<string, HealthCheckResponse> statuses = 1;\n}\n');
}

rmSync(target, { recursive: true, force: true });
for (const name of ['code', 'error_details', 'status']) {
  put(`google/rpc/${name}.proto`, readFileSync(packageFolder('google-proto-files', `google/rpc/${name}.proto`), 'utf8'));
}
for (const version of ['v1', 'v1alpha']) {
  const folder = `grpc/reflection/${version}`;
  cpSync(packageFolder('@grpc/reflection', 'build/proto', folder), join(target, folder), { recursive: true });
}
put(
  'grpc/health/v1/health.proto',
  withHealthList(readFileSync(packageFolder('grpc-health-check', 'proto/health/v1/health.proto'), 'utf8')),
);

const validate: { file_buf_validate_validate: DescFile } = await import(
  pathToFileURL(packageFolder('@bufbuild/protovalidate', 'dist/esm/gen/buf/validate/validate_pb.js')).href
);
put('buf/validate/validate.proto', printProtoFile(validate.file_buf_validate_validate.proto));
