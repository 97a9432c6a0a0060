/** Certificates of a certificate authority of our own, for development and tests: nobody else trusts it. */
import { type GenerateResult, generate } from 'selfsigned';

export interface KeyPair {
  /** PEM. */
  readonly cert: string;
  /** PEM. */
  readonly key: string;
}

export interface Validity {
  readonly from: Date;
  readonly to: Date;
}

/** What a certificate says its holder is called: as URI or DNS name of its subjectAltName, or only as CN. */
export interface HolderNames {
  readonly cn: string;
  readonly uris?: readonly string[];
  readonly dns?: readonly string[];
  readonly ips?: readonly string[];
}

const ALGORITHM = { keyType: 'ec', curve: 'P-256', algorithm: 'sha256' } as const;

const pairOf = ({ cert, private: key }: GenerateResult): KeyPair => ({ cert, key });

export async function createAuthority(name: string, { from, to }: Validity): Promise<KeyPair> {
  const made = await generate([{ name: 'commonName', value: name }], {
    ...ALGORITHM,
    notBeforeDate: from,
    notAfterDate: to,
    extensions: [
      { name: 'basicConstraints', cA: true, critical: true },
      { name: 'keyUsage', keyCertSign: true, cRLSign: true, critical: true },
    ],
  });
  return pairOf(made);
}

/** For a server or a client, signed by `authority`. */
export async function issueCertificate(
  authority: KeyPair,
  use: 'server' | 'client',
  { cn, uris = [], dns = [], ips = [] }: HolderNames,
  { from, to }: Validity,
): Promise<KeyPair> {
  const altNames = [
    ...uris.map((value) => ({ type: 6, value }) as const),
    ...dns.map((value) => ({ type: 2, value }) as const),
    ...ips.map((ip) => ({ type: 7, ip }) as const),
  ];
  const made = await generate([{ name: 'commonName', value: cn }], {
    ...ALGORITHM,
    ca: authority,
    notBeforeDate: from,
    notAfterDate: to,
    extensions: [
      { name: 'basicConstraints', cA: false, critical: true },
      { name: 'keyUsage', digitalSignature: true, critical: true },
      use === 'server' ? { name: 'extKeyUsage', serverAuth: true } : { name: 'extKeyUsage', clientAuth: true },
      ...(altNames.length === 0 ? [] : [{ name: 'subjectAltName', altNames } as const]),
    ],
  });
  return pairOf(made);
}
