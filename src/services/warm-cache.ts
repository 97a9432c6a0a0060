/** Loads rows into the cache ahead of reads: what was read lately, then the newest, at a bounded rate, with progress. */
import type { CacheAdmin, CachedEntity, Clock, Cursor, Page, Reads } from '../domain/ports.ts';
import { existing } from './administer-cache.ts';

/** Where a run of warming is; what an interrupted one goes on from. */
export interface WarmPosition {
  readonly examined: number;
  readonly loaded: number;
  /** Of the ids read lately, how many are done. */
  readonly recent: number;
  /** The last row that was listed; undefined: still before the list. */
  readonly after: Cursor | undefined;
}

export interface WarmProgress {
  readonly examined: number;
  readonly loaded: number;
  readonly total: number;
  /** undefined: not known yet. */
  readonly doneAt: Date | undefined;
  /** undefined: done. */
  readonly next: WarmPosition | undefined;
}

export interface WarmRequest {
  readonly entity: CachedEntity;
  readonly count: number;
  /** Entries per second. */
  readonly rate: number;
  readonly from: WarmPosition | undefined;
}

export interface WarmCacheParts {
  readonly reads: Pick<Reads, 'listMessages' | 'listConversations'>;
  readonly cache: CacheAdmin | undefined;
  readonly clock: Clock;
  /** Monotonic, in ms. */
  readonly nowMs: () => number;
  /** Resolves after `ms`, or at once when the signal is aborted. */
  readonly wait: (ms: number, signal: AbortSignal) => Promise<void>;
}

const MAX_BATCH = 100;
const PROGRESS_INTERVAL_MS = 1_000;
const START: WarmPosition = { examined: 0, loaded: 0, recent: 0, after: undefined };

/** Ids to look at, and where the run is when that is done. */
type Batch = { readonly ids: readonly string[]; readonly recent: number; readonly after: Cursor | undefined };

function take<T>(items: Iterable<T>, from: number, to: number): readonly T[] {
  const taken: T[] = [];
  let index = 0;
  for (const item of items) {
    if (index >= to) break;
    if (index >= from) taken.push(item);
    index += 1;
  }
  return taken;
}

/**
 * Yields how far it is at least once a second and at the end. Throws cache_off, cache_unavailable, storage_unavailable, and the reason
 * of `signal` when that is aborted, at the latest after one batch.
 */
export function createWarmCache({ reads, cache, clock, nowMs, wait }: WarmCacheParts) {
  const list = (entity: CachedEntity, size: number, after: Cursor | undefined): Promise<Page<{ readonly id: string }>> => {
    const page = after === undefined ? { size } : { size, after };
    if (entity === 'conversation') return reads.listConversations({ statuses: [], unreadOnly: false }, page);
    return reads.listMessages({ conversationIds: [], statuses: [], messageTypes: [], failureReasons: [] }, page);
  };

  /** Gives the batch that comes after a position; undefined: there is none. */
  function batches(admin: CacheAdmin, { entity, count, from = START }: WarmRequest) {
    const recent = from.after === undefined ? take(admin.recentIds(entity), from.recent, from.recent + count) : [];
    const seen = new Set(recent);
    let ended = false;
    return async (position: WarmPosition, size: number): Promise<Batch | undefined> => {
      const done = position.recent - from.recent;
      if (position.after === undefined && done < recent.length) {
        const ids = recent.slice(done, done + size);
        return { ids, recent: position.recent + ids.length, after: undefined };
      }
      if (ended) return undefined;
      const page = await list(entity, size, position.after);
      ended = page.next === undefined;
      const ids = page.items.map(({ id }) => id).filter((id) => !seen.has(id));
      return { ids, recent: position.recent, after: page.next ?? position.after };
    };
  }

  return async function* warmCache(request: WarmRequest, signal: AbortSignal): AsyncGenerator<WarmProgress> {
    const admin = existing(cache);
    const { entity, count, rate, from = START } = request;
    const nextBatch = batches(admin, request);
    const maxBatch = Math.max(1, Math.min(MAX_BATCH, rate));
    const startedMs = nowMs();
    let freeAtMs = startedMs;
    let toldAtMs = startedMs;
    let position = from;

    async function step(): Promise<boolean> {
      const size = Math.min(maxBatch, count - position.examined);
      if (size <= 0) return false;
      await wait(Math.max(0, freeAtMs - nowMs()), signal);
      signal.throwIfAborted();
      const batch = await nextBatch(position, size);
      if (batch === undefined) return false;
      signal.throwIfAborted();
      freeAtMs = Math.max(freeAtMs, nowMs()) + (batch.ids.length * 1_000) / rate;
      const { ids, recent, after } = batch;
      const loaded = await admin.warm(entity, ids);
      position = { examined: position.examined + ids.length, loaded: position.loaded + loaded, recent, after };
      return true;
    }

    function progress(): WarmProgress {
      toldAtMs = nowMs();
      const { examined, loaded } = position;
      const perMs = (examined - from.examined) / (toldAtMs - startedMs);
      const leftMs = (count - examined) / perMs;
      const doneAt = Number.isFinite(leftMs) ? new Date(clock.now().getTime() + leftMs) : undefined;
      return { examined, loaded, total: count, doneAt, next: position };
    }

    /** False when it is time to tell before the step is done: a step may take long. */
    async function isDoneInTime(stepping: Promise<unknown>): Promise<boolean> {
      const over = new AbortController();
      const due = wait(Math.max(0, toldAtMs + PROGRESS_INTERVAL_MS - nowMs()), over.signal).then(() => false);
      return Promise.race([stepping.then(() => true), due]).finally(() => over.abort());
    }

    let goesOn = true;
    while (goesOn) {
      const stepping = step();
      // When the caller leaves meanwhile, nobody is left to hear how it ends.
      stepping.catch(() => undefined);
      while (!(await isDoneInTime(stepping))) yield progress();
      goesOn = await stepping;
      if (goesOn && nowMs() - toldAtMs >= PROGRESS_INTERVAL_MS) yield progress();
    }
    const { examined, loaded } = position;
    yield { examined, loaded, total: examined, doneAt: clock.now(), next: undefined };
  };
}
