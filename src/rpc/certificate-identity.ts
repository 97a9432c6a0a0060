/** Who calls by the client certificate of a connection: read once, when its first call comes. */
import type { Http2Session } from 'node:http2';
import type { PeerCertificate, TLSSocket } from 'node:tls';
import type { ConnectError } from '@connectrpc/connect';
import { asCallerName, credentialsInvalid, type Identity } from './identity.ts';
import type { Role } from './policy.ts';

export interface CertificateOptions {
  /** By name; `*`: of every name that has no entry. */
  readonly roles: readonly { readonly name: string; readonly role: Role }[];
}

export interface CertificateIdentities {
  /** undefined: the connection has no certificate. */
  of(session: Http2Session): Identity | ConnectError | undefined;
}

/** What Node writes between names that need no quotes; one that does may pretend to be several. */
const ALT_NAME = /^(DNS|URI):([^",\s]+)$/;

/** The first URI of the subjectAltName, else its first DNS name, else the CN. undefined: there is none, or none that can be used. */
export function nameOfCertificate({ subject, subjectaltname }: Pick<PeerCertificate, 'subject' | 'subjectaltname'>): string | undefined {
  if (subjectaltname?.includes('"')) return undefined;
  const altNames = (subjectaltname ?? '').split(', ').map((part) => ALT_NAME.exec(part));
  const first = (kind: string): string | undefined => altNames.find((match) => match?.[1] === kind)?.[2];
  const found: unknown = first('URI') ?? first('DNS') ?? subject?.CN;
  return asCallerName(found);
}

const UNTRUSTED = credentialsInvalid(
  'certificate_untrusted',
  'the client certificate is not from an authority that this server trusts, or is not valid now',
);
const NAMELESS = credentialsInvalid(
  'certificate_nameless',
  'the client certificate names nobody: it needs a URI or DNS name as subjectAltName, or a CN, of at most 200 printable ASCII characters',
);
export const EXPIRED_CERTIFICATE = credentialsInvalid(
  'certificate_expired',
  'the client certificate has expired; connect again with a new one',
);

export function createCertificateIdentities({ roles }: CertificateOptions): CertificateIdentities {
  const known = new WeakMap<Http2Session, { readonly identity: Identity | ConnectError | undefined }>();
  const rolesOf = (name: string): ReadonlySet<Role> => {
    const own = roles.filter((entry) => entry.name === name);
    return new Set((own.length > 0 ? own : roles.filter((entry) => entry.name === '*')).map(({ role }) => role));
  };
  function read(session: Http2Session): Identity | ConnectError | undefined {
    if (session.encrypted !== true) return undefined;
    const socket = session.socket as TLSSocket;
    const certificate = socket.getPeerCertificate();
    // Node gives an empty one when there is none.
    if (certificate === null || certificate.raw === undefined) return undefined;
    if (!socket.authorized) return UNTRUSTED;
    const name = nameOfCertificate(certificate);
    return name === undefined ? NAMELESS : { name, roles: rolesOf(name), expiresAtMs: Date.parse(certificate.valid_to) };
  }
  return {
    of(session) {
      const entry = known.get(session) ?? { identity: read(session) };
      known.set(session, entry);
      return entry.identity;
    },
  };
}
