/** Who calls, and why a caller is not believed. */
import type { ConnectError } from '@connectrpc/connect';
import { errorWith } from './errors.ts';
import type { Role } from './policy.ts';

export interface Identity {
  /** From the certificate or the token; no secret. */
  readonly name: string;
  readonly roles: ReadonlySet<Role>;
  /** Until when the credentials are good, in ms since 1970. */
  readonly expiresAtMs: number;
}

/** What callers are told is wrong with their credentials; for machines in the metadata of the error. */
export type CredentialProblem =
  | 'missing'
  | 'expired'
  | 'certificate_untrusted'
  | 'certificate_expired'
  | 'certificate_nameless'
  | 'token_malformed'
  | 'token_algorithm'
  | 'token_key_unknown'
  | 'token_signature'
  | 'token_expired'
  | 'token_not_yet_valid'
  | 'token_audience'
  | 'token_issuer'
  | 'token_claims';

/** UNAUTHENTICATED. `text` repeats nothing of the credentials. */
export function credentialsInvalid(problem: CredentialProblem, text: string): ConnectError {
  return errorWith('credentials_invalid', text, { metadata: { problem } });
}

/** What a stream is told whose credentials have expired while it was open. */
export const EXPIRED_MEANWHILE = credentialsInvalid('expired', 'the credentials of this stream have expired; go on with new ones');

const MAX_NAME_CHARACTERS = 200;

/** A name that can be stored, logged and compared without surprises: printable ASCII. undefined: it is none. */
export function asCallerName(text: unknown): string | undefined {
  return typeof text === 'string' && text.length <= MAX_NAME_CHARACTERS && /^[!-~](?:[ -~]*[!-~])?$/.test(text) ? text : undefined;
}
