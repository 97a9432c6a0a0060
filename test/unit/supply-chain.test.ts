/** What `make check` refuses of the lock, of licences, of the Dockerfile and of what is committed. */
import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it, onTestFinished } from 'vitest';
import { baseImagesOf, imageProblems, pinned, unpinned } from '../../src/dev/image-pins.ts';
import { licenceProblems } from '../../src/dev/licences.ts';
import { type Lock, type LockedPackage, lockProblems } from '../../src/dev/lock-check.ts';
import { secretsIn } from '../../src/dev/secret-scan.ts';

const good: LockedPackage = { version: '1.2.3', integrity: 'sha512-abc', license: 'MIT' };
const wanted = { dependencies: { 'left-pad': '1.2.3' }, devDependencies: {} };
const lockOf = (entry: LockedPackage, path = 'node_modules/left-pad'): Lock => ({
  packages: { '': { dependencies: { 'left-pad': '1.2.3' } }, 'node_modules/left-pad': good, [path]: entry },
});

describe('the lock', () => {
  it('of this repository is whole, and all licences are allowed', () => {
    const lock: Lock = JSON.parse(readFileSync('package-lock.json', 'utf8'));
    expect(lockProblems(lock, JSON.parse(readFileSync('package.json', 'utf8')))).toEqual([]);
    expect(licenceProblems(lock)).toEqual([]);
  });

  it('that is good is let through', () => expect(lockProblems(lockOf(good), wanted)).toEqual([]));

  it.each<[string, LockedPackage, RegExp]>([
    ['no digest', { version: '1.2.3' }, /has no digest/],
    ['no digest, though optional', { version: '1.2.3', optional: true, os: ['darwin'] }, /has no digest/],
    ['a weak digest', { ...good, integrity: 'sha1-abc' }, /weaker/],
    ['an address of its own', { ...good, resolved: 'https://elsewhere.example.com/left-pad.tgz' }, /not from the registry/],
    ['a folder', { link: true }, /link/],
  ])('that has %s is refused', (_what, entry, problem) => {
    expect(lockProblems(lockOf(entry, 'node_modules/other'), wanted)).toEqual([expect.stringMatching(problem)]);
  });

  it('may lack the digest of what is optional, for development, and of another platform', () => {
    expect(lockProblems(lockOf({ version: '1.2.3', optional: true, dev: true, os: ['darwin'] }, 'node_modules/other'), wanted)).toEqual([]);
  });

  it('that is not in step with package.json is refused', () => {
    const lock = lockOf(good);
    expect(lockProblems(lock, { dependencies: { 'left-pad': '1.2.4' }, devDependencies: {} })).toHaveLength(1);
    expect(lockProblems(lock, { dependencies: { 'left-pad': '^1.2.3' }, devDependencies: {} })).toEqual([expect.stringContaining('exact')]);
    expect(lockProblems(lock, { dependencies: {}, devDependencies: {} })).toEqual([expect.stringContaining('not in dependencies')]);
  });
});

it.each<[string, Partial<LockedPackage>, boolean]>([
  ['a permissive one', { license: 'Apache-2.0' }, true],
  ['a choice with one', { license: '(MIT OR GPL-3.0-only)' }, true],
  ['both of which only one is', { license: 'MIT AND GPL-3.0-only' }, false],
  ['one that binds', { license: 'AGPL-3.0-only' }, false],
  ['a weak one in what is shipped', { license: 'MPL-2.0' }, false],
  ['a weak one in a tool', { license: 'MPL-2.0', dev: true }, true],
])('a licence: %s', (_what, entry, isAllowed) => {
  expect(licenceProblems(lockOf({ ...good, ...entry }))).toHaveLength(isAllowed ? 0 : 1);
});

describe('base images', () => {
  const digest = `sha256:${'a1'.repeat(32)}`;
  const dockerfile = readFileSync('Dockerfile', 'utf8');

  it('are pinned wherever they are used, and pinned again', () => {
    const [tag = ''] = baseImagesOf(dockerfile).map((image) => image.split('@')[0] ?? '');
    const once = pinned(dockerfile, tag, digest);
    expect([unpinned(once), imageProblems(once), baseImagesOf(once)]).toEqual([[], [], [`${tag}@${digest}`]]);
    expect(pinned(pinned(dockerfile, tag, `sha256:${'b2'.repeat(32)}`), tag, digest)).toBe(once);
    expect(imageProblems(once.replace(`${tag}@${digest}`, tag))).toHaveLength(1);
    expect(imageProblems(`FROM ${tag}@sha256:abc`)).toHaveLength(1);
  });

  /** `make pin-image` in a folder of its own, against a registry that answers like Docker Hub. */
  async function pinImage(answer: RequestListener): Promise<{ readonly dockerfile: string; readonly failed: string | undefined }> {
    const folder = mkdtempSync(join(tmpdir(), 'pin-image-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    cpSync('Dockerfile', join(folder, 'Dockerfile'));
    const server = createServer(answer).listen(0, '127.0.0.1');
    await new Promise((listening) => server.once('listening', listening));
    onTestFinished(() => void server.close());
    const env = { ...process.env, REGISTRY: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
    const run = promisify(execFile)(process.execPath, [resolve('src/dev/pin-image.ts')], { cwd: folder, env });
    const failed = await run.then(
      () => undefined,
      (error: { stderr: string }) => error.stderr,
    );
    return { dockerfile: readFileSync(join(folder, 'Dockerfile'), 'utf8'), failed };
  }

  it('get the digest that the registry names, once it has given a token', async () => {
    const { dockerfile: written, failed } = await pinImage((request, response) => {
      const realm = `http://${request.headers.host}/token`;
      if (request.url?.startsWith('/token')) response.end(JSON.stringify({ token: new URL(request.url, realm).searchParams.get('scope') }));
      else if (request.headers.authorization === 'Bearer pull')
        response.writeHead(request.url?.startsWith('/v2/library/node/manifests/') ? 200 : 404, { 'docker-content-digest': digest }).end();
      else response.writeHead(401, { 'www-authenticate': `Bearer realm="${realm}",service="registry",scope="pull"` }).end();
    });
    expect(failed).toBeUndefined();
    expect(unpinned(written)).toEqual([]);
    expect(written).toContain(`@${digest} AS packages`);
  });

  it('stay as they are when the registry does not know them', async () => {
    const { dockerfile: written, failed } = await pinImage((_request, response) => response.writeHead(404).end());
    expect(failed).toContain('Nothing was changed');
    expect(written).toBe(dockerfile);
  });
});

it.each([
  ['a private key', `-----BEGIN ${'PRIVATE'} KEY-----\n${'Ab1/'.repeat(16)}`],
  ['an AWS key', `AKIA${'ABCD1234'.repeat(2)}`],
  ['a GitHub token', `ghp_${'aB3'.repeat(12)}`],
  ['a SendGrid key', `SG.${'a'.repeat(22)}.${'b'.repeat(43)}`],
])('%s is found', (shape, text) => {
  expect(secretsIn(`x = "${text}"`)).toEqual([shape]);
  expect(secretsIn(text.slice(0, 12))).toEqual([]);
});
