/** The public keys that tokens are checked with: fetched, kept while their source is away, and fetched again when an unknown one is asked for. */
import { createLocalJWKSet, errors, type JSONWebKeySet, type JWTVerifyGetKey } from 'jose';
import type { Log } from '../telemetry/log.ts';

export interface TokenKeyParts {
  /** Throws when it cannot be had. */
  readonly load: (signal: AbortSignal) => Promise<unknown>;
  readonly nowMs: () => number;
  readonly log: Log;
  /** What was signed with the earlier keys may not be good any more. */
  readonly onChange: () => void;
}

export interface TokenKeys {
  /** For jose. Throws KeysUnavailable when there are none, or none that are new enough to know of this one. */
  readonly keyFor: JWTVerifyGetKey;
  /** Resolves when they are there; throws when they cannot be had. */
  refresh(): Promise<void>;
}

/** Nobody's fault but ours: a token could not be checked. */
export class KeysUnavailable extends Error {
  override readonly name = 'KeysUnavailable';
}

/** After this the next token has them fetched again, in the background. */
const REFRESH_MS = 300_000;
/** Between two attempts; strangers can ask for unknown keys as often as they like. */
const PAUSE_MS = 10_000;
/** A source that is away for longer may have taken keys back that are believed here. */
const MAX_AGE_MS = 86_400_000;
const LOAD_TIMEOUT_MS = 3_000;

type LocalKeys = ReturnType<typeof createLocalJWKSet>;

export function createTokenKeys({ load, nowMs, log, onChange }: TokenKeyParts): TokenKeys {
  let keys: LocalKeys | undefined;
  let text = '';
  let loadedAtMs = Number.NEGATIVE_INFINITY;
  let triedAtMs = Number.NEGATIVE_INFINITY;
  let failing = false;
  let loading: Promise<void> | undefined;

  async function loadOnce(): Promise<void> {
    triedAtMs = nowMs();
    try {
      const loaded = (await load(AbortSignal.timeout(LOAD_TIMEOUT_MS))) as JSONWebKeySet;
      const made = createLocalJWKSet(loaded);
      const nextText = JSON.stringify(loaded);
      loadedAtMs = nowMs();
      // The first ones replace none.
      const isNew = keys !== undefined && nextText !== text;
      [keys, text] = [made, nextText];
      if (failing) log.info('the keys of tokens can be had again');
      failing = false;
      if (isNew) onChange();
    } catch (error) {
      if (!failing) log.warn({ err: error }, 'the keys of tokens cannot be had; going on with those that are known');
      failing = true;
      throw new KeysUnavailable('the keys of tokens cannot be had', { cause: error });
    } finally {
      loading = undefined;
    }
  }
  const refresh = (): Promise<void> => {
    loading ??= loadOnce();
    return loading;
  };
  const mayTry = (): boolean => loading !== undefined || nowMs() - triedAtMs >= PAUSE_MS;

  async function current(): Promise<LocalKeys> {
    const ageMs = nowMs() - loadedAtMs;
    if (keys === undefined || ageMs > MAX_AGE_MS) {
      if (!mayTry()) throw new KeysUnavailable('the keys of tokens cannot be had');
      await refresh();
    } else if (ageMs > REFRESH_MS && mayTry()) refresh().catch(() => undefined);
    if (keys === undefined) throw new KeysUnavailable('the keys of tokens cannot be had');
    return keys;
  }

  return {
    refresh,
    async keyFor(header, token) {
      const known = await current();
      try {
        return await known(header, token);
      } catch (error) {
        if (!(error instanceof errors.JWKSNoMatchingKey)) throw error;
        if (mayTry()) {
          await refresh();
          return (await current())(header, token);
        }
        // Whether it is a new one is not known.
        if (failing) throw new KeysUnavailable('the keys of tokens cannot be had', { cause: error });
        throw error;
      }
    },
  };
}

const MAX_KEYS_BYTES = 1_048_576;

/** Throws for everything but a JSON document of a reasonable size. */
export async function fetchKeys(url: string, signal: AbortSignal): Promise<unknown> {
  const response = await fetch(url, { signal, redirect: 'error', headers: { accept: 'application/json' } });
  if (!response.ok) throw new Error(`the keys of tokens were answered ${response.status}`);
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength;
    if (bytes > MAX_KEYS_BYTES) throw new Error(`the keys of tokens have more than ${MAX_KEYS_BYTES} bytes`);
    chunks.push(chunk);
  }
  return JSON.parse(Buffer.concat(chunks).toString('utf8'));
}
