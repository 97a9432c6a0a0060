/** What other languages are given: a descriptor set that is enough to call by, and .proto files that need nothing beside themselves. */
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { createFileRegistry, type DescService, fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { CacheService } from '../../gen/messaging/v1/cache_service_pb.js';
import { ConversationService } from '../../gen/messaging/v1/conversation_service_pb.js';
import { MessageService } from '../../gen/messaging/v1/message_service_pb.js';
import { ProviderEventService } from '../../gen/messaging/v1/provider_event_service_pb.js';
import { SuppressionService } from '../../gen/messaging/v1/suppression_service_pb.js';
import { createDatabase } from '../support/database.ts';
import { startService } from '../support/processes.ts';

const services: readonly DescService[] = [MessageService, ConversationService, ProviderEventService, SuppressionService, CacheService];
const folder = mkdtempSync(join(tmpdir(), 'messaging-protos-'));
const env = { ...process.env, PATH: `${resolve('node_modules/.bin')}:${process.env['PATH']}` };
const run = (command: string, args: readonly string[]) => promisify(execFile)(command, args, { env });

beforeAll(() => run('node', ['src/dev/proto-bundle.ts']));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

it('the descriptor set holds every service, complete', () => {
  const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, readFileSync('dist/messaging.binpb')));
  for (const { typeName, methods } of services) {
    expect(registry.getService(typeName)?.methods.map(({ name }) => name)).toEqual(methods.map(({ name }) => name));
  }
});

it('a tool can call the service by the descriptor set alone', async () => {
  await using database = await createDatabase();
  await using service = await startService({ DATABASE_URL: database.url });
  const method = `http://127.0.0.1:${service.grpcPort}/messaging.v1.MessageService/ListMessages`;
  const options = ['curl', '--schema', 'dist/messaging.binpb', '--protocol', 'grpc', '--http2-prior-knowledge', '--verbose', '-d', '{}'];
  const { stdout, stderr } = await run('buf', [...options, method]);
  expect([JSON.parse(stdout), stderr.includes('grpc.reflection')]).toEqual([{}, false]);
});

it('the .proto files compile by themselves, with the comments of the contract', async () => {
  await run('tar', ['-xzf', 'dist/messaging-protos.tar.gz', '-C', folder, '--strip-components=1']);
  expect(readFileSync(join(folder, 'messaging/v1/message_service.proto'))).toEqual(
    readFileSync('proto/messaging/v1/message_service.proto'),
  );
  expect(existsSync(join(folder, 'google/protobuf/timestamp.proto'))).toBe(true);
  // As a module of its own: what is imported must be in it.
  const { stdout } = await run('buf', ['build', folder, '--as-file-descriptor-set', '--output', '-#format=json']);
  const names = (JSON.parse(stdout) as { file: { name: string }[] }).file.map(({ name }) => name);
  expect(names).toEqual(expect.arrayContaining(['messaging/v1/message_service.proto', 'google/rpc/error_details.proto']));
});

it('the archive is the same each time it is made', async () => {
  const first = readFileSync('dist/messaging-protos.tar.gz');
  await run('node', ['src/dev/proto-bundle.ts']);
  expect(readFileSync('dist/messaging-protos.tar.gz').equals(first)).toBe(true);
});
