import { DomainError } from '../domain/errors.ts';
import type { CacheAdmin } from '../domain/ports.ts';

/** Throws cache_off when there is none. */
export function existing(cache: CacheAdmin | undefined): CacheAdmin {
  if (cache === undefined) throw new DomainError('cache_off', 'this service runs without a cache: no Redis is configured');
  return cache;
}

/** What "recently" means in the statistics. */
export const RECENT_MS = 300_000;
const WINDOWS_MS = [60_000, RECENT_MS, 3_600_000];

/** Every method throws cache_off when there is none. */
export function createAdministerCache({ cache }: { readonly cache: CacheAdmin | undefined }) {
  return {
    state: async () => existing(cache).state(WINDOWS_MS),
    inspect: async (...entry: Parameters<CacheAdmin['inspect']>) => existing(cache).inspect(...entry),
    invalidate: async (...entries: Parameters<CacheAdmin['invalidate']>) => existing(cache).invalidate(...entries),
    invalidateAll: async (...entries: Parameters<CacheAdmin['invalidateAll']>) => existing(cache).invalidateAll(...entries),
  };
}
