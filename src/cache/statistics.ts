/** Counts of what the cache did, since the start and over the last minutes. */
import type { CacheCounts, CacheCountsBy, CachedEntity, CacheTier } from '../domain/ports.ts';
import type { Metrics } from '../telemetry/metrics.ts';

const cacheEvents = ['hit', 'hit_local', 'negative', 'miss', 'bypass', 'set', 'refused', 'invalidation'] as const;
type CacheEvent = (typeof cacheEvents)[number];

export interface CacheStatistics {
  /** `tier`: where the row belongs, when it is known. */
  count(entity: CachedEntity, event: CacheEvent, tier?: CacheTier): void;
  /** `windowMs` undefined: since the start; otherwise at most an hour, and up to 10 s more. */
  read(windowMs?: number): CacheCountsBy;
}

const ENTITIES = ['message', 'conversation'] as const satisfies readonly CachedEntity[];
const TIERS = ['in_flight', 'terminal', 'busy', 'quiet'] as const satisfies readonly CacheTier[];
const GROUPS = [...ENTITIES, ...TIERS] as const;
type Group = (typeof GROUPS)[number];

const SLOT_MS = 10_000;
/** An hour, and the one that is being counted. */
const SLOTS = 361;

const LABELS = {
  hit: ['get', 'hit'],
  hit_local: ['get', 'hit_local'],
  negative: ['get', 'negative'],
  miss: ['get', 'miss'],
  bypass: ['get', 'bypass'],
  set: ['set', 'ok'],
  refused: ['set', 'refused'],
  invalidation: ['delete', 'ok'],
} as const satisfies Record<CacheEvent, readonly [string, string]>;

const WIDTH = GROUPS.length * cacheEvents.length;
const cellOf = (group: Group, event: CacheEvent): number => GROUPS.indexOf(group) * cacheEvents.length + cacheEvents.indexOf(event);

type PerGroup<Names extends string, Value> = Readonly<Record<Names, Readonly<Record<CacheEvent, Value>>>>;

/** Made once: strings put together for every count would be most of its cost. */
function forEach<Names extends string, Value>(groups: readonly Names[], make: (group: Names, event: CacheEvent) => Value) {
  const entries = groups.map((group) => [group, Object.fromEntries(cacheEvents.map((event) => [event, make(group, event)]))] as const);
  return Object.fromEntries(entries) as PerGroup<Names, Value>;
}

const CELLS = forEach(GROUPS, cellOf);

interface Slot {
  /** Number of the ten seconds that it counts. */
  at: number;
  readonly counts: Float64Array;
}

export function createCacheStatistics(metrics: Metrics, nowMs: () => number): CacheStatistics {
  const operations = forEach(ENTITIES, (entity, event) => {
    const [operation, result] = LABELS[event];
    return metrics.cacheOperations(operation, result, entity);
  });
  const total = new Float64Array(WIDTH);
  const slots = Array.from({ length: SLOTS }, (): Slot => ({ at: -1, counts: new Float64Array(WIDTH) }));

  function currentSlot(): Slot | undefined {
    const at = Math.trunc(nowMs() / SLOT_MS);
    const slot = slots[at % SLOTS];
    if (slot !== undefined && slot.at !== at) {
      slot.at = at;
      slot.counts.fill(0);
    }
    return slot;
  }

  function add(slot: Slot | undefined, cell: number): void {
    total[cell] = (total[cell] ?? 0) + 1;
    if (slot !== undefined) slot.counts[cell] = (slot.counts[cell] ?? 0) + 1;
  }

  return {
    count(entity, event, tier) {
      operations[entity][event].inc();
      const slot = currentSlot();
      add(slot, CELLS[entity][event]);
      if (tier !== undefined) add(slot, CELLS[tier][event]);
    },

    read(windowMs) {
      const oldest = windowMs === undefined ? 0 : Math.trunc(nowMs() / SLOT_MS) - Math.ceil(windowMs / SLOT_MS);
      const counted = windowMs === undefined ? [total] : slots.filter(({ at }) => at >= oldest && at >= 0).map(({ counts }) => counts);
      const countsOf = (group: Group): CacheCounts => {
        const sum = (event: CacheEvent): number => counted.reduce((all, counts) => all + (counts[cellOf(group, event)] ?? 0), 0);
        return {
          hits: sum('hit'),
          localHits: sum('hit_local'),
          negativeHits: sum('negative'),
          misses: sum('miss'),
          bypasses: sum('bypass'),
          sets: sum('set'),
          invalidations: sum('invalidation'),
        };
      };
      return {
        entities: new Map(ENTITIES.map((entity) => [entity, countsOf(entity)] as const)),
        tiers: new Map(TIERS.map((tier) => [tier, countsOf(tier)] as const)),
      };
    },
  };
}
