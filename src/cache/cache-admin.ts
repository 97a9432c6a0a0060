/** What operators may see of the cache and do to it. */
import { DomainError } from '../domain/errors.ts';
import type { CacheAdmin, CacheEntry, CoherenceCounts, Outbox } from '../domain/ports.ts';
import { withoutSpans } from '../telemetry/trace.ts';
import { cacheWarnings } from './cache-warnings.ts';
import { ANY_VERSION, LEASE_MS, MARK_MS } from './cell-commands.ts';
import type { CellKeys } from './keys.ts';
import { isReply, type RedisConnection } from './redis.ts';
import { dropCells } from './relay.ts';
import type { CacheStatistics } from './statistics.ts';
import type { Trust } from './trust.ts';
import type { Cached } from './with-cache.ts';

export interface CacheAdminParts {
  readonly connection: Pick<RedisConnection, 'commands' | 'scan' | 'ttlMs' | 'memory'>;
  readonly keys: CellKeys;
  readonly trust: Pick<Trust, 'ticket'>;
  readonly statistics: Pick<CacheStatistics, 'read'>;
  readonly coherence: () => CoherenceCounts;
  readonly cached: Pick<Cached, 'recentIds' | 'warm' | 'compare'>;
  readonly outbox: Pick<Outbox, 'backlog'>;
  /** Monotonic, in ms. */
  readonly nowMs: () => number;
  /** Resolves after `ms`, or at once when the signal is aborted. */
  readonly wait: (ms: number, signal?: AbortSignal) => Promise<void>;
}

/** For whoever else uses this Redis while everything is dropped. */
const MAX_KEYS_PER_MS = 50;
/** An entry that changes between the looks at it is looked at again; of one that always does, the last look counts. */
const MAX_LOOKS = 3;
/** In place of a key of another type, which cannot be read. */
const UNREADABLE = Buffer.from('?');
const LIFE_MS: Partial<Record<CacheEntry['kind'], number>> = { lease: LEASE_MS, mark: MARK_MS };

function unavailable(cause: unknown): DomainError {
  return new DomainError('cache_unavailable', 'Redis does not answer, refuses, or is not trusted yet', { cause });
}

async function asked<T>(command: () => Promise<T>): Promise<T> {
  try {
    return await command();
  } catch (error) {
    throw unavailable(error);
  }
}

export function createCacheAdmin(parts: CacheAdminParts): CacheAdmin {
  const { connection, keys, trust, statistics, coherence, cached, outbox, nowMs, wait } = parts;
  const { commands } = connection;
  const otherwise = () => undefined;

  async function bytesOf(key: string): Promise<Buffer | null> {
    try {
      return await commands.get(key);
    } catch (error) {
      if (isReply(error) && String(error).includes('WRONGTYPE')) return UNREADABLE;
      throw unavailable(error);
    }
  }

  /** At most so many keys per time, counted from when it was made. */
  function pacer(signal: AbortSignal): (count: number) => Promise<void> {
    let freeAtMs = nowMs();
    return async (count) => {
      freeAtMs = Math.max(freeAtMs + count / MAX_KEYS_PER_MS, nowMs());
      await wait(freeAtMs - nowMs(), signal);
      signal.throwIfAborted();
    };
  }

  return {
    async state(windowsMs) {
      const [backlog, memory] = await Promise.all([outbox.backlog().catch(otherwise), connection.memory().catch(otherwise)]);
      const known = { trusted: trust.ticket() !== undefined, backlog, memory };
      const windows = windowsMs.map((windowMs) => ({ windowMs, ...statistics.read(windowMs) }));
      return { total: statistics.read(), windows, coherence: coherence(), ...known, warnings: cacheWarnings(known) };
    },

    async inspect(entity, id) {
      const key = keys.of(entity, id);
      let bytes = await bytesOf(key);
      for (let looks = 1; ; looks += 1) {
        const [ttlMs, compared] = await Promise.all([asked(() => connection.ttlMs(key)), cached.compare(entity, id, bytes)]);
        const again = await bytesOf(key);
        if (looks < MAX_LOOKS && (bytes === null ? again !== null : !again?.equals(bytes))) {
          bytes = again;
          continue;
        }
        const lifeMs = LIFE_MS[compared.kind];
        return {
          ...compared,
          key,
          bytes: bytes === UNREADABLE ? 0 : (bytes?.byteLength ?? 0),
          ttlMs: ttlMs < 0 ? undefined : ttlMs,
          ageMs: lifeMs === undefined || ttlMs < 0 ? undefined : Math.max(0, lifeMs - ttlMs),
        };
      }
    },

    async invalidate(entity, ids) {
      const dropped = await asked(() => Promise.all(ids.map((id) => commands.bump(keys.of(entity, id), ANY_VERSION))));
      return dropped.filter(Boolean).length;
    },

    async invalidateAll(entity, signal) {
      const pace = pacer(signal);
      try {
        return await withoutSpans(() => dropCells(connection, keys.patternOf(entity), pace));
      } catch (error) {
        signal.throwIfAborted();
        throw unavailable(error);
      }
    },

    recentIds: cached.recentIds,

    async warm(entity, ids) {
      const loaded = await withoutSpans(() => cached.warm(entity, ids));
      if (loaded === undefined) throw unavailable(undefined);
      return loaded;
    },
  };
}
