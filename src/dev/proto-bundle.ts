/**
 * `make protos`: what clients in other languages are made from, in dist/. messaging-protos.tar.gz holds the contract and every .proto
 * file it imports, the well-known ones included; messaging.binpb is the same as one FileDescriptorSet, for `grpcurl -protoset` and tools
 * that read descriptors. Both are built, not committed: the .proto files are the source, and gen/ already shows every change.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';

const folder = 'dist/messaging-protos';
const descriptorSet = 'dist/messaging.binpb';
const bundle = 'dist/messaging-protos.tar.gz';
/** Callers speak these: messages, errors with their details, health. */
const ROOTS = ['proto/messaging', '.cache/proto-imports/google/rpc', '.cache/proto-imports/grpc/health'];
/** The well-known types, as their own package has them. */
const wellKnown = dirname(createRequire(import.meta.url).resolve('google-proto-files/package.json'));

function sourceOf(path: string): string {
  if (path.startsWith('messaging/')) return join('proto', path);
  if (path.startsWith('google/protobuf/')) return join(wellKnown, path);
  return join('.cache/proto-imports', path);
}

rmSync(folder, { recursive: true, force: true });
mkdirSync('dist', { recursive: true });
execFileSync('buf', ['build', ...ROOTS.flatMap((path) => ['--path', path]), '--as-file-descriptor-set', '--output', descriptorSet], {
  stdio: 'inherit',
});
const files = fromBinary(FileDescriptorSetSchema, readFileSync(descriptorSet)).file.map(({ name }) => name);
for (const path of files) {
  mkdirSync(dirname(join(folder, path)), { recursive: true });
  cpSync(sourceOf(path), join(folder, path));
}
cpSync('gen/api.md', join(folder, 'api.md'));
// The same content is the same archive, whenever and by whomever it is made.
const steady = ['--sort=name', '--mtime=@0', '--owner=0', '--group=0', '--numeric-owner', '--mode=u=rwX,go=rX'];
const tar = execFileSync('tar', ['-c', ...steady, '-C', 'dist', 'messaging-protos']);
writeFileSync(bundle, execFileSync('gzip', ['-n'], { input: tar }));
console.log(`${bundle} and ${descriptorSet}: ${files.length} files`);
