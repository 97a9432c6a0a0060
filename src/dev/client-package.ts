/**
 * `make client`: the client as a package of its own, dist/messaging-client, and packed beside it. Its files keep their places relative to
 * gen/, so that they need no other imports than here.
 */
import { execFileSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { basename, join, relative } from 'node:path';

const target = 'dist/messaging-client';
/** Of gen/: the contract and what it imports. */
const GENERATED = ['messaging/v1', 'google/rpc', 'grpc/health/v1', 'buf/validate'];

rmSync(target, { recursive: true, force: true });
mkdirSync(target, { recursive: true });
execFileSync('tsc', ['-p', 'src/client/tsconfig.json'], { stdio: 'inherit' });
for (const folder of GENERATED) cpSync(join('gen', folder), join(target, 'gen', folder), { recursive: true });
for (const file of ['package.json', 'README.md']) cpSync(join('src/client', file), join(target, file));
const packed = execFileSync('npm', ['pack', '--silent', '--pack-destination', '..'], { cwd: target, encoding: 'utf8' });
const { name, version } = JSON.parse(readFileSync(join(target, 'package.json'), 'utf8')) as { name: string; version: string };
console.log(`${name} ${version}: ${relative('.', target)}/ and dist/${basename(packed.trim())}`);
