/** The certificates of this clone, `.data/certs/`: made when they are missing or about to expire, kept otherwise. */
import { X509Certificate } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { join } from 'node:path';
import { createAuthority, type HolderNames, issueCertificate, type KeyPair } from './certificates.ts';

/** Relative to the clone. */
export const CERTS_FOLDER = '.data/certs';

const DAY_MS = 86_400_000;
const AUTHORITY_DAYS = 3_650;
const HOLDER_DAYS = 365;
const RENEW_DAYS = 30;

/** The clients of `make run TLS=1`, by what they may do. */
const DEVELOPMENT_CLIENTS = ['caller', 'gateway', 'operator'] as const;
const clientName = (client: string): string => `dev-${client}`;

/** `make demo` is one client and shows everything; whoever else this authority knows may send and read. */
const ROLES = 'dev-gateway=gateway,dev-operator=operator,dev-operator=caller,*=caller';

/** What makes a service ask for these certificates. */
export const developmentIdentity = (): Readonly<Record<string, string>> => ({
  TLS_CERT_FILE: certFile('server'),
  TLS_KEY_FILE: keyFile('server'),
  TLS_CLIENT_CA_FILE: certFile('ca'),
  AUTH_CERT_ROLES: ROLES,
});

export interface CertificateFile {
  readonly file: string;
  readonly isNew: boolean;
}

const certFile = (name: string): string => join(CERTS_FOLDER, `${name}.pem`);
const keyFile = (name: string): string => join(CERTS_FOLDER, `${name}-key.pem`);

function read(name: string): KeyPair | undefined {
  if (!existsSync(certFile(name)) || !existsSync(keyFile(name))) return undefined;
  return { cert: readFileSync(certFile(name), 'utf8'), key: readFileSync(keyFile(name), 'utf8') };
}

function write(name: string, { cert, key }: KeyPair): void {
  writeFileSync(keyFile(name), key, { mode: 0o600 });
  // The mode above counts only for a file that is new.
  chmodSync(keyFile(name), 0o600);
  writeFileSync(certFile(name), cert);
}

function isGood({ cert }: KeyPair, authority: X509Certificate | undefined, now: Date): boolean {
  const parsed = new X509Certificate(cert);
  const lasts = parsed.validToDate.getTime() - now.getTime() > RENEW_DAYS * DAY_MS;
  return lasts && (authority === undefined || parsed.verify(authority.publicKey));
}

/** Clocks of containers and machines differ a little. */
const validity = (now: Date, days: number) => ({ from: new Date(now.getTime() - DAY_MS), to: new Date(now.getTime() + days * DAY_MS) });

/** For a client in `client`'s name, of the service that developmentIdentity() is about. */
export const clientTls = (client: (typeof DEVELOPMENT_CLIENTS)[number]) => ({
  ca: readFileSync(certFile('ca')),
  cert: readFileSync(certFile(client)),
  key: readFileSync(keyFile(client)),
});

/** `further`: names of clients beside those of development. The working folder is the clone's root. */
export async function ensureCertificates(now: Date, further: readonly string[] = []): Promise<readonly CertificateFile[]> {
  mkdirSync(CERTS_FOLDER, { recursive: true, mode: 0o755 });
  const files: CertificateFile[] = [];
  const ensure = async (name: string, authority: X509Certificate | undefined, make: () => Promise<KeyPair>): Promise<KeyPair> => {
    const kept = read(name);
    const isNew = kept === undefined || !isGood(kept, authority, now);
    const pair = isNew ? await make() : kept;
    if (isNew) write(name, pair);
    files.push({ file: certFile(name), isNew });
    return pair;
  };
  const authority = await ensure('ca', undefined, () => createAuthority('messaging development CA', validity(now, AUTHORITY_DAYS)));
  const parsed = new X509Certificate(authority.cert);
  const issue = (name: string, use: 'server' | 'client', names: HolderNames) =>
    ensure(name, parsed, () => issueCertificate(authority, use, names, validity(now, HOLDER_DAYS)));
  const dns = [...new Set(['localhost', 'messaging', hostname()])];
  await issue('server', 'server', { cn: 'localhost', dns, ips: ['127.0.0.1', '::1'] });
  for (const client of DEVELOPMENT_CLIENTS) await issue(client, 'client', { cn: clientName(client), dns: [clientName(client)] });
  for (const name of further) await issue(name, 'client', { cn: name, dns: [name] });
  return files;
}
