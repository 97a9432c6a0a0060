/** Certificates of an authority of a test's own, in a folder that goes with it. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createAuthority, type HolderNames, issueCertificate, type KeyPair, type Validity } from '../../src/dev/certificates.ts';

export interface TestAuthority extends Disposable {
  /** For clients: whom to trust. */
  readonly ca: string;
  /** For the service: its own certificate, and whose clients it knows. */
  readonly env: Readonly<Record<string, string>>;
  issue(names: HolderNames, validity?: Validity): Promise<KeyPair>;
}

const DAY_MS = 86_400_000;
const around = (ms: number): Validity => ({ from: new Date(ms - DAY_MS), to: new Date(ms + DAY_MS) });

export async function createTestAuthority(): Promise<TestAuthority> {
  const folder = mkdtempSync(join(tmpdir(), 'messaging-certificates-'));
  const now = around(Date.now());
  const authority = await createAuthority('test authority', now);
  const server = await issueCertificate(authority, 'server', { cn: 'localhost', dns: ['localhost'], ips: ['127.0.0.1'] }, now);
  const write = (name: string, text: string): string => {
    const file = join(folder, name);
    writeFileSync(file, text);
    return file;
  };
  return {
    ca: authority.cert,
    env: {
      TLS_CERT_FILE: write('server.pem', server.cert),
      TLS_KEY_FILE: write('server-key.pem', server.key),
      TLS_CLIENT_CA_FILE: write('ca.pem', authority.cert),
    },
    issue: (names, validity = now) => issueCertificate(authority, 'client', names, validity),
    [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }),
  };
}
