import type { MessageInitShape } from '@bufbuild/protobuf';
import { durationFromMs, timestampFromDate } from '@bufbuild/protobuf/wkt';
import type { ServiceImpl } from '@connectrpc/connect';
import {
  CachedEntity as CachedEntityProto,
  type CacheService,
  CacheTier as CacheTierProto,
  type GetCacheStatisticsResponse_EntityCountsSchema,
  type GetCacheStatisticsResponse_TierCountsSchema,
  InspectCacheEntryResponse_Kind as Kind,
} from '../../gen/messaging/v1/cache_service_pb.js';
import { fieldInvalid } from '../domain/errors.ts';
import type { CacheCounts, CacheCountsBy, CachedEntity, CacheEntry, CacheTier } from '../domain/ports.ts';
import { type createAdministerCache, RECENT_MS } from '../services/administer-cache.ts';
import type { createWarmCache } from '../services/warm-cache.ts';
import { idOf } from './requests.ts';
import { resumeToken, warmPositionOf } from './resume-token.ts';

export interface CacheServiceOptions {
  readonly administerCache: ReturnType<typeof createAdministerCache>;
  readonly warmCache: ReturnType<typeof createWarmCache>;
}

const ENTITIES = { message: CachedEntityProto.MESSAGE, conversation: CachedEntityProto.CONVERSATION } satisfies Record<
  CachedEntity,
  CachedEntityProto
>;
const TIERS = {
  in_flight: CacheTierProto.IN_FLIGHT,
  terminal: CacheTierProto.TERMINAL,
  busy: CacheTierProto.BUSY,
  quiet: CacheTierProto.QUIET,
} satisfies Record<CacheTier, CacheTierProto>;
const KINDS = {
  absent: Kind.ABSENT,
  value: Kind.VALUE,
  negative: Kind.NEGATIVE,
  lease: Kind.READ_LEASE,
  mark: Kind.WRITE_MARK,
  foreign: Kind.FOREIGN,
} satisfies Record<CacheEntry['kind'], Kind>;
const DEFAULT_WARM_RATE = 1_000;

function entityOf(entity: CachedEntityProto): CachedEntity {
  switch (entity) {
    case CachedEntityProto.MESSAGE:
      return 'message';
    case CachedEntityProto.CONVERSATION:
      return 'conversation';
    case CachedEntityProto.UNSPECIFIED:
      throw fieldInvalid('entity', 'is not a value of this enum');
    default:
      return entity satisfies never;
  }
}

function hitRatioOf(counts: readonly CacheCounts[]): number {
  const sum = (...names: readonly (keyof CacheCounts)[]): number =>
    counts.reduce((all, one) => all + names.reduce((count, name) => count + one[name], 0), 0);
  const hits = sum('hits', 'localHits', 'negativeHits');
  const reads = hits + sum('misses', 'bypasses');
  return reads === 0 ? 0 : hits / reads;
}

const entityCounts = ({ entities }: CacheCountsBy) =>
  Array.from(entities, ([entity, counts]): MessageInitShape<typeof GetCacheStatisticsResponse_EntityCountsSchema> => {
    return {
      entity: ENTITIES[entity],
      hits: BigInt(counts.hits),
      localHits: BigInt(counts.localHits),
      misses: BigInt(counts.misses),
      bypasses: BigInt(counts.bypasses),
      negativeHits: BigInt(counts.negativeHits),
      sets: BigInt(counts.sets),
      invalidations: BigInt(counts.invalidations),
      hitRatio: hitRatioOf([counts]),
    };
  });

const tierCounts = ({ tiers }: CacheCountsBy) =>
  Array.from(tiers, ([tier, counts]): MessageInitShape<typeof GetCacheStatisticsResponse_TierCountsSchema> => {
    return {
      tier: TIERS[tier],
      hits: BigInt(counts.hits),
      localHits: BigInt(counts.localHits),
      misses: BigInt(counts.misses),
      bypasses: BigInt(counts.bypasses),
      hitRatio: hitRatioOf([counts]),
    };
  });

const overall = ({ entities }: CacheCountsBy): number => hitRatioOf([...entities.values()]);

const toBigInts = <Name extends string>(counts: Readonly<Record<Name, number>>): Record<Name, bigint> =>
  Object.fromEntries(Object.entries<number>(counts).map(([name, count]) => [name, BigInt(count)])) as Record<Name, bigint>;

export function cacheService({ administerCache, warmCache }: CacheServiceOptions): ServiceImpl<typeof CacheService> {
  return {
    async getCacheStatistics() {
      const { total, windows, coherence, trusted, backlog, memory, warnings } = await administerCache.state();
      const { match, mismatch, superseded } = toBigInts(coherence.verified);
      return {
        total: entityCounts(total),
        recent: windows.filter(({ windowMs }) => windowMs === RECENT_MS).flatMap(entityCounts),
        trusted,
        ...(backlog === undefined ? {} : { relayLag: durationFromMs(Math.round(backlog.oldestMs)) }),
        outboxRows: BigInt(backlog?.rows ?? 0),
        confirmedMismatches: mismatch,
        redisUsedBytes: BigInt(memory?.usedBytes ?? 0),
        redisMaxBytes: BigInt(memory?.maxBytes ?? 0),
        redisEvictionPolicy: memory?.evictionPolicy ?? '',
        warnings: [...warnings],
        tiers: tierCounts(total),
        hitRatio: overall(total),
        windows: windows.map(({ windowMs, ...counts }) => {
          const window = durationFromMs(windowMs);
          return { window, entities: entityCounts(counts), tiers: tierCounts(counts), hitRatio: overall(counts) };
        }),
        settles: toBigInts(coherence.settled),
        markFailures: BigInt(coherence.marksFailed),
        verified: { matches: match, mismatches: mismatch, superseded },
        epochFlushes: BigInt(coherence.flushes),
      };
    },

    async inspectCacheEntry({ entity, id }) {
      const entry = await administerCache.inspect(entityOf(entity), idOf(id));
      return {
        kind: KINDS[entry.kind],
        key: entry.key,
        cachedVersion: BigInt(entry.cachedVersion),
        rowVersion: BigInt(entry.rowVersion),
        bytes: BigInt(entry.bytes),
        ...(entry.ttlMs === undefined ? {} : { ttl: durationFromMs(entry.ttlMs) }),
        equal: entry.equal,
        ...(entry.ageMs === undefined ? {} : { age: durationFromMs(entry.ageMs) }),
      };
    },

    async invalidateCache({ entity, ids, all }, { signal }) {
      const dropped = all
        ? await administerCache.invalidateAll(entityOf(entity), signal)
        : await administerCache.invalidate(entityOf(entity), ids.map(idOf));
      return { dropped: BigInt(dropped) };
    },

    async *warmCache(request, { signal }) {
      const entity = entityOf(request.entity);
      const { count, rate } = request;
      const from = warmPositionOf(request.resumeToken, entity);
      for await (const progress of warmCache({ entity, count, rate: rate === 0 ? DEFAULT_WARM_RATE : rate, from }, signal)) {
        const { examined, loaded, total, doneAt, next } = progress;
        yield {
          examined: BigInt(examined),
          loaded: BigInt(loaded),
          total: BigInt(total),
          ...(doneAt === undefined ? {} : { doneAt: timestampFromDate(doneAt) }),
          resumeToken: resumeToken(next, entity),
        };
      }
    },
  };
}
