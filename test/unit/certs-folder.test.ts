/** The certificates of a clone: made once, kept while they are good, and good for nobody else. */
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { readConfig } from '../../src/config.ts';
import { developmentIdentity, ensureCertificates } from '../../src/dev/certs-folder.ts';
import { nameOfCertificate } from '../../src/rpc/certificate-identity.ts';

const DAY_MS = 86_400_000;
const home = process.cwd();
const now = new Date('2030-01-01T00:00:00Z');
const inDays = (days: number) => new Date(now.getTime() + days * DAY_MS);
let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'messaging-clone-'));
  process.chdir(folder);
});
afterEach(() => {
  process.chdir(home);
  rmSync(folder, { recursive: true, force: true });
});

const written = async (at: Date, ...further: readonly string[]) =>
  (await ensureCertificates(at, further)).filter(({ isNew }) => isNew).map(({ file }) => file.replace('.data/certs/', ''));
const certificate = (name: string) => new X509Certificate(readFileSync(`.data/certs/${name}.pem`));

const ALL = ['ca.pem', 'server.pem', 'caller.pem', 'gateway.pem', 'operator.pem'];

it('are made when they are missing, one for each role, all of one authority, with keys that only their owner reads', async () => {
  expect(await written(now)).toEqual(ALL);
  for (const name of ['server', 'caller', 'gateway', 'operator']) {
    expect(certificate(name).verify(certificate('ca').publicKey), name).toBe(true);
    expect(statSync(`.data/certs/${name}-key.pem`).mode & 0o777, name).toBe(0o600);
  }
  expect(certificate('server').checkHost('localhost')).toBe('localhost');
  expect(certificate('server').checkIP('127.0.0.1')).toBe('127.0.0.1');
  expect(certificate('ca').ca).toBe(true);
  expect(certificate('caller').ca).toBe(false);
});

it('name callers that `make run TLS=1` gives their roles', async () => {
  await ensureCertificates(now);
  const { auth, grpc } = readConfig({ DATABASE_URL: 'postgresql://x', ...developmentIdentity() });
  for (const file of [grpc.tls?.certFile, grpc.tls?.keyFile, grpc.tls?.clientCaFile])
    expect(readFileSync(file ?? '', 'utf8')).toContain('-----BEGIN');
  const rolesOf = (client: string) => {
    const { subject, subjectaltname } = certificate(client).toLegacyObject();
    const name = nameOfCertificate({ subject, ...(subjectaltname === undefined ? {} : { subjectaltname }) });
    const roles = auth?.certificates?.roles ?? [];
    const own = roles.filter((entry) => entry.name === name);
    return (own.length > 0 ? own : roles.filter((entry) => entry.name === '*')).map(({ role }) => role);
  };
  expect(rolesOf('caller')).toEqual(['caller']);
  expect(rolesOf('gateway')).toEqual(['gateway']);
  expect(rolesOf('operator')).toEqual(['operator', 'caller']);
});

it('are kept until a month before they expire, then made anew by the same authority', async () => {
  await ensureCertificates(now);
  expect(await written(inDays(334))).toEqual([]);
  expect(await written(inDays(336))).toEqual(ALL.filter((file) => file !== 'ca.pem'));
});

it('are all made anew with a new authority', async () => {
  await ensureCertificates(now);
  rmSync('.data/certs/ca-key.pem');
  expect(await written(now)).toEqual(ALL);
  expect(certificate('caller').verify(certificate('ca').publicKey)).toBe(true);
});

it('may be of further clients', async () => {
  await ensureCertificates(now);
  expect(await written(now, 'billing')).toEqual(['billing.pem']);
  expect(certificate('billing').subjectAltName).toBe('DNS:billing');
  expect(await written(now, 'billing')).toEqual([]);
});
