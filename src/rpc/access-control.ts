/** Whether a call is let in: who calls, and whether that may. Decided by its headers and its connection alone, before its body is read. */
import { readFile } from 'node:fs/promises';
import { ConnectError } from '@connectrpc/connect';
import type { Log } from '../telemetry/log.ts';
import type { Call } from './call.ts';
import { type CertificateOptions, createCertificateIdentities, EXPIRED_CERTIFICATE } from './certificate-identity.ts';
import { errorWith } from './errors.ts';
import { credentialsInvalid, type Identity } from './identity.ts';
import { type Access, accessOf } from './policy.ts';
import { createTokenIdentities, type TokenIdentities, type TokenOptions } from './token-identity.ts';
import { createTokenKeys, fetchKeys, type TokenKeys } from './token-keys.ts';

export interface AccessControl {
  /** Throws for a method that no policy names. */
  accessOf(method: string): Access;
  /**
   * undefined: the call may go on, and knows who calls; otherwise why not. A promise, which never rejects, only where a token has to be
   * checked first.
   */
  admit(call: Call): ConnectError | undefined | Promise<ConnectError | undefined>;
}

export interface AccessOptions {
  /** undefined: certificates name nobody. */
  readonly certificates: CertificateOptions | undefined;
  /** undefined: tokens are not looked at. */
  readonly tokens: (TokenOptions & { readonly keys: { readonly url: string } | { readonly file: string } }) | undefined;
}

export interface AccessParts {
  readonly log: Log;
  /** Since 1970. */
  readonly unixNowMs: () => number;
  readonly nowMs: () => number;
}

/** Of development: everybody may do everything, and has no name. */
export const openAccess: AccessControl = { accessOf: () => 'known', admit: () => undefined };

function missingText({ certificates, tokens }: AccessOptions): string {
  const ways = [
    ...(tokens === undefined ? [] : ['a token in the header "authorization: Bearer …"']),
    ...(certificates === undefined ? [] : ['a client certificate']),
  ];
  return `the call has no credentials: it needs ${ways.join(' or ')}`;
}

function permissionMissing(method: string, { name, roles }: Identity, wanted: readonly string[]): ConnectError {
  const has = roles.size === 0 ? 'no role' : [...roles].join(' and ');
  return errorWith('permission_missing', `${method} needs the role ${wanted.join(' or ')}; ${name} has ${has}`, {
    metadata: { permission: wanted.join(',') },
  });
}

async function openTokens(options: NonNullable<AccessOptions['tokens']>, { log, nowMs, unixNowMs }: AccessParts): Promise<TokenIdentities> {
  const { keys: source } = options;
  const load =
    'url' in source
      ? (signal: AbortSignal) => fetchKeys(source.url, signal)
      : async (signal: AbortSignal) => JSON.parse(await readFile(source.file, { encoding: 'utf8', signal }));
  const keys: TokenKeys = createTokenKeys({ load, nowMs, log, onChange: () => tokens.forget() });
  const tokens = createTokenIdentities(options, { keys, unixNowMs, log });
  const loaded = keys.refresh();
  // A file that is not there is a mistake in the configuration; a server may come later.
  await ('file' in source ? loaded : loaded.catch(() => undefined));
  return tokens;
}

/** Throws when a file with keys cannot be read. */
export async function createAccessControl(options: AccessOptions, parts: AccessParts): Promise<AccessControl> {
  const { unixNowMs, nowMs } = parts;
  const certificates = options.certificates && createCertificateIdentities(options.certificates);
  const tokens = options.tokens && (await openTokens(options.tokens, parts));
  const missing = credentialsInvalid('missing', missingText(options));

  /** A token says more than the certificate of the connection, which may be a proxy's. */
  function identityOf({ headers, stream }: Call): Identity | ConnectError | Promise<Identity | ConnectError> {
    const { authorization } = headers;
    if (tokens !== undefined && authorization !== undefined) return tokens.of(authorization);
    if (certificates === undefined || stream.session === undefined) return missing;
    const identity = certificates.of(stream.session) ?? missing;
    if (identity instanceof ConnectError || unixNowMs() < identity.expiresAtMs) return identity;
    return EXPIRED_CERTIFICATE;
  }

  function decide(call: Call, identity: Identity | ConnectError): ConnectError | undefined {
    if (identity instanceof ConnectError) return identity;
    const { access, name, method } = call.endpoint;
    call.caller = identity.name;
    call.span.identify(identity.name);
    if (typeof access === 'object' && !access.some((role) => identity.roles.has(role))) return permissionMissing(name, identity, access);
    // A unary call that has begun ends by its deadline, soon.
    if (method?.methodKind !== 'unary') call.knownUntilMs = nowMs() + identity.expiresAtMs - unixNowMs();
    return undefined;
  }

  return {
    accessOf,
    admit(call) {
      if (call.endpoint.access === 'anyone') return undefined;
      const identity = identityOf(call);
      return identity instanceof Promise ? identity.then((known) => decide(call, known)) : decide(call, identity);
    },
  };
}
