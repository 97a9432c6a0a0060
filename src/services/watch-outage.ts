/** What watches do while the database is away. */
import { DomainError } from '../domain/errors.ts';

/** Streams outlast a database that is away for so long; then they end with storage_unavailable. */
const OUTAGE_PATIENCE_MS = 30_000;
export const RETRY_MS = 500;

export function isAway(error: unknown): boolean {
  return error instanceof DomainError && error.code === 'storage_unavailable';
}

/** For work that is done again until it succeeds: whether to, after this error. Counts from the first; what came before may have taken long. */
export function createPatience(nowMs: () => number): (error: unknown) => boolean {
  let sinceMs: number | undefined;
  return (error) => {
    sinceMs ??= nowMs();
    return isAway(error) && nowMs() - sinceMs <= OUTAGE_PATIENCE_MS;
  };
}
