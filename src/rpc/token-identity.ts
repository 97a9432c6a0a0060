/** Who calls by a bearer token: a signed JWT, checked when it is first seen and remembered until it expires. */
import { hash } from 'node:crypto';
import type { ConnectError } from '@connectrpc/connect';
import { errors, type JWTPayload, jwtVerify } from 'jose';
import type { Log } from '../telemetry/log.ts';
import { errorWith } from './errors.ts';
import { asCallerName, type CredentialProblem, credentialsInvalid, type Identity } from './identity.ts';
import type { Role } from './policy.ts';
import { KeysUnavailable, type TokenKeys } from './token-keys.ts';

export interface TokenOptions {
  readonly issuers: readonly string[];
  readonly audiences: readonly string[];
  /** Asymmetric ones. */
  readonly algorithms: readonly string[];
  /** Names the caller. */
  readonly callerClaim: string;
  /** A list of roles, or words; `a.b`: within another claim. */
  readonly rolesClaim: string;
  /** Between the issuer's clock and ours. */
  readonly toleranceMs: number;
}

export interface TokenParts {
  readonly keys: TokenKeys;
  /** Since 1970. */
  readonly unixNowMs: () => number;
  readonly log: Log;
}

export interface TokenIdentities {
  /** Of a value of the header `authorization`. A promise only for a token that is not known yet; it never rejects. */
  of(authorization: string): Identity | ConnectError | Promise<Identity | ConnectError>;
  /** Checks all of them again. */
  forget(): void;
}

const MAX_REMEMBERED = 10_000;

const ROLES: readonly string[] = ['caller', 'gateway', 'operator'] satisfies readonly Role[];

const NO_TOKEN = credentialsInvalid('token_malformed', 'the header authorization must be "Bearer " and a token');
const EXPIRED = credentialsInvalid('token_expired', 'the token has expired; get a new one');
const UNAVAILABLE = errorWith('identity_unavailable', 'the keys that tokens are checked with cannot be had; try again');

const CLAIM_PROBLEMS: Readonly<Record<string, readonly [CredentialProblem, string]>> = {
  nbf: ['token_not_yet_valid', 'the token is not valid yet'],
  aud: ['token_audience', 'the token is for somebody else: its audience (aud) is not this service'],
  iss: ['token_issuer', 'the issuer (iss) of the token is not trusted here'],
};

/** Says what is wrong and repeats nothing of the token. undefined: it is nothing that the token could do about. */
function refusalOf(error: unknown): ConnectError | undefined {
  if (error instanceof KeysUnavailable) return UNAVAILABLE;
  if (error instanceof errors.JWTExpired) return EXPIRED;
  if (error instanceof errors.JWTClaimValidationFailed) {
    const [problem, text] = CLAIM_PROBLEMS[error.claim] ?? ['token_claims', `the claim ${error.claim} of the token is missing or wrong`];
    return credentialsInvalid(problem, text);
  }
  if (error instanceof errors.JOSEAlgNotAllowed)
    return credentialsInvalid('token_algorithm', 'the token is signed with an algorithm that is not allowed here');
  if (error instanceof errors.JWKSNoMatchingKey)
    return credentialsInvalid('token_key_unknown', 'the key (kid) that the token is signed with is not known here');
  if (error instanceof errors.JWKSMultipleMatchingKeys)
    return credentialsInvalid('token_key_unknown', 'the token does not say which key it is signed with (kid)');
  if (error instanceof errors.JWSSignatureVerificationFailed)
    return credentialsInvalid('token_signature', 'the signature of the token is wrong');
  return error instanceof errors.JOSEError ? credentialsInvalid('token_malformed', 'the token is no signed JWT') : undefined;
}

/** Names with dots may be claims of their own. */
function claimOf(claims: JWTPayload, path: string): unknown {
  if (Object.hasOwn(claims, path)) return claims[path];
  const step = (value: unknown, name: string): unknown =>
    typeof value === 'object' && value !== null && Object.hasOwn(value, name)
      ? (value as Readonly<Record<string, unknown>>)[name]
      : undefined;
  return path.split('.').reduce<unknown>(step, claims);
}

function rolesOf(claim: unknown): ReadonlySet<Role> {
  const words: readonly unknown[] = typeof claim === 'string' ? claim.split(/[\s,]+/) : Array.isArray(claim) ? claim : [];
  return new Set(words.filter((word): word is Role => typeof word === 'string' && ROLES.includes(word)));
}

export function createTokenIdentities(options: TokenOptions, { keys, unixNowMs, log }: TokenParts): TokenIdentities {
  const known = new Map<string, Identity>();
  const beingChecked = new Map<string, Promise<Identity | ConnectError>>();
  let generation = 0;
  const { callerClaim, rolesClaim, toleranceMs } = options;

  async function check(token: string): Promise<Identity> {
    const { payload } = await jwtVerify(token, keys.keyFor, {
      algorithms: [...options.algorithms],
      issuer: [...options.issuers],
      audience: [...options.audiences],
      clockTolerance: toleranceMs / 1_000,
      requiredClaims: ['exp'],
      currentDate: new Date(unixNowMs()),
    });
    const name = asCallerName(claimOf(payload, callerClaim));
    if (name === undefined) throw new errors.JWTClaimValidationFailed('names nobody', payload, callerClaim, 'invalid');
    return { name, roles: rolesOf(claimOf(payload, rolesClaim)), expiresAtMs: (payload.exp ?? 0) * 1_000 + toleranceMs };
  }

  function remember(digest: string, identity: Identity): void {
    // The oldest: one that is still used is soon known again.
    const [oldest] = known.keys();
    if (known.size >= MAX_REMEMBERED && oldest !== undefined) known.delete(oldest);
    known.set(digest, identity);
  }

  async function learn(token: string, digest: string): Promise<Identity | ConnectError> {
    const begunIn = generation;
    try {
      const identity = await check(token);
      // Otherwise it may have been checked with earlier keys.
      if (begunIn === generation) remember(digest, identity);
      return identity;
    } catch (error) {
      const refusal = refusalOf(error);
      if (refusal === undefined) log.error({ err: error }, 'a token could not be checked by a bug');
      return refusal ?? errorWith('internal', 'internal error');
    } finally {
      beingChecked.delete(digest);
    }
  }

  return {
    of(authorization) {
      if (!/^bearer /i.test(authorization)) return NO_TOKEN;
      const token = authorization.slice('bearer '.length).trim();
      // Tokens themselves are not kept: who sees the memory of this process would have them.
      const digest = hash('sha256', token, 'base64');
      const identity = known.get(digest);
      if (identity !== undefined) {
        if (unixNowMs() < identity.expiresAtMs) return identity;
        known.delete(digest);
        return EXPIRED;
      }
      const running = beingChecked.get(digest);
      if (running !== undefined) return running;
      const begun = learn(token, digest);
      beingChecked.set(digest, begun);
      return begun;
    },
    forget() {
      generation += 1;
      known.clear();
    },
  };
}
