/** Reads of one cached entity: by its cells while they can be trusted, by PostgreSQL on any trouble. See ARCHITECTURE.md, cache. */
import type { CachedEntity, CacheTier, Read, ReadOptions, ReadSource } from '../domain/ports.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { isRecorded, withSpan } from '../telemetry/trace.ts';
import type { Ask } from './ask.ts';
import type { Breaker } from './breaker.ts';
import type { CellCodec } from './cell.ts';
import type { CellCommands } from './cell-commands.ts';
import { createCellFills } from './cell-fills.ts';
import { type CellReader, createCellReader } from './cell-reader.ts';
import type { CellKeys } from './keys.ts';
import type { LoadQueue } from './load-queue.ts';
import type { LocalAnswer, LocalAnswers } from './local-answers.ts';
import type { Doorkeeper, Placement, PolicyOptions } from './policy.ts';
import type { SelfCheck } from './self-check.ts';
import type { CacheStatistics } from './statistics.ts';
import type { Trust, TrustTicket } from './trust.ts';

/** What an entity is to the cache. */
export interface CachedRows<View> {
  readonly name: CachedEntity;
  readonly codec: CellCodec<View>;
  versionOf(view: View): number;
  place(view: View): Placement;
}

/** What the cache needs; tests give it other clocks and another Redis. */
export interface CacheParts {
  readonly commands: CellCommands;
  readonly keys: CellKeys;
  readonly trust: Pick<Trust, 'ticket' | 'holds'>;
  readonly breaker: Breaker;
  readonly statistics: CacheStatistics;
  readonly newToken: () => string;
  /** From 0 to 1. */
  readonly random: () => number;
  /** Monotonic, in ms. */
  readonly nowMs: () => number;
  /** Unix time in ms. */
  readonly unixNowMs: () => number;
  readonly wait: (ms: number) => Promise<void>;
  /** Calls back when what is ready now has run. */
  readonly afterTurn: (work: () => void) => void;
  readonly metrics: Metrics;
  readonly log: Log;
}

export interface CellCacheParts<View> extends CacheParts {
  readonly rows: CachedRows<View>;
  readonly ask: Ask;
  readonly loads: LoadQueue<View>;
  readonly local: LocalAnswers<View>;
  readonly doorkeeper: Doorkeeper;
  readonly selfCheck: SelfCheck<View>;
  readonly policy: PolicyOptions;
}

export interface CellCache<View> {
  find(id: string, options?: ReadOptions): Promise<Read<View | undefined>>;
  findMany(ids: readonly string[], options?: ReadOptions): Promise<Read<ReadonlyMap<string, View>>>;
  /** Loads and stores what is absent, first miss or not, and counts no read. Returns how many; undefined: Redis could not be asked. */
  warm(ids: readonly string[]): Promise<number | undefined>;
  /** Resolves when nothing that nobody waits for is under way. */
  idle(): Promise<void>;
}

/** Pauses before a cell that another process is loading is looked at again; then PostgreSQL is asked. */
const LEASE_WAITS_MS = [2, 4, 8, 16, 32, 64];

const TITLE = { message: 'Message', conversation: 'Conversation' } as const satisfies Record<CachedEntity, string>;

/** `tier`: of the row, when it was there. */
interface Hit<View> {
  readonly source: 'hit' | 'hit-local';
  readonly view: View | undefined;
  readonly tier: CacheTier | undefined;
  readonly ageMs: number;
}

/** What a read came to. */
type Lookup<View> =
  | Hit<View>
  /** To be loaded under the read lease that was taken, or being loaded under one by another reader of this process. */
  | { readonly source: 'miss'; readonly load: () => Promise<View | undefined>; readonly ageMs: 0 }
  | { readonly source: 'bypass'; readonly ageMs: 0 };

/** `busy`: another process is loading it. */
type Step<View> = Lookup<View> | 'busy';

const BYPASS = { source: 'bypass', ageMs: 0 } as const;

/** From best to worst; an answer made of several is as good as its worst part. */
const SOURCES = ['hit-local', 'hit', 'miss', 'bypass'] as const satisfies readonly ReadSource[];

export function createCellCache<View>(parts: CellCacheParts<View>): CellCache<View> {
  const { rows, commands, keys, trust, breaker, ask, local, statistics, selfCheck, nowMs, log } = parts;
  const { name, codec } = rows;
  const title = TITLE[name];
  const fills = createCellFills(parts);
  const reader = createCellReader({ ask, commands, entity: name, afterTurn: parts.afterTurn });
  const keyOf = (id: string): string => keys.of(name, id);

  function hit(id: string, bytes: Buffer, { view, tier, cell }: LocalAnswer<View>): Lookup<View> {
    if (cell !== undefined && view !== undefined) {
      fills.refreshWhenDue(id, cell.expiresAtMs);
      if (selfCheck.isDue()) fills.inBackground(selfCheck.run(id, cell.version, view, bytes));
    }
    return { source: 'hit', view, tier, ageMs: 0 };
  }

  /** Takes the lease on a cell that is not there. */
  async function takeLease(id: string, ticket: TrustTicket, startedMs: number): Promise<Step<View>> {
    const token = parts.newToken();
    const inTheWay = await ask('set', name, () => commands.lease(keyOf(id), token));
    if (inTheWay === undefined || !trust.holds(ticket)) return BYPASS;
    if (inTheWay !== null) return step(id, inTheWay, startedMs);
    return { source: 'miss', load: () => fills.loadUnderLease(id, token, ticket).loading, ageMs: 0 };
  }

  function step(id: string, bytes: Buffer, startedMs: number): Step<View> {
    const known = local.find(id);
    if (known?.cell?.bytes.equals(bytes) === true) {
      // Byte by byte what was decoded before.
      if (known.knownAtMs < startedMs) known.knownAtMs = startedMs;
      return hit(id, bytes, known);
    }
    const cell = codec.decode(bytes);
    switch (cell.kind) {
      case 'value': {
        const { view, version, expiresAtMs } = cell;
        const answer = { view, tier: rows.place(view).tier, cell: { bytes, version, expiresAtMs }, knownAtMs: startedMs };
        local.remember(id, answer);
        return hit(id, bytes, answer);
      }
      case 'negative': {
        const answer = { view: undefined, tier: undefined, cell: undefined, knownAtMs: startedMs };
        local.remember(id, answer);
        return hit(id, bytes, answer);
      }
      case 'foreign':
      case 'mark':
        return BYPASS;
      case 'lease': {
        // As long as the token stands no writer has been here since that load began.
        const loading = fills.loadingUnder(cell.token);
        return loading === undefined ? 'busy' : { source: 'miss', load: () => loading, ageMs: 0 };
      }
      // Of bytes that are there it is never that.
      case 'absent':
        return BYPASS;
      default:
        return cell satisfies never;
    }
  }

  async function lookUp(id: string, startedMs: number, askFor: CellReader['ask']): Promise<Lookup<View>> {
    const key = keyOf(id);
    for (let round = 0; ; round += 1) {
      const ticket = trust.ticket();
      if (ticket === undefined || !breaker.allows()) return BYPASS;
      const { replies, place } = askFor(key);
      const bytes = (await replies)?.[place];
      if (bytes === undefined || !trust.holds(ticket)) return BYPASS;
      const found = bytes === null ? await takeLease(id, ticket, startedMs) : step(id, bytes, startedMs);
      if (found !== 'busy') return found;
      const pauseMs = LEASE_WAITS_MS[round];
      if (pauseMs === undefined) return BYPASS;
      await parts.wait(pauseMs);
    }
  }

  const tracedLookUp = (id: string, startedMs: number): Promise<Lookup<View>> =>
    withSpan('cache.get', { 'cache.entity': name }, async (span) => {
      const found = await lookUp(id, startedMs, reader.askTraced);
      span.set('cache.result', found.source);
      return found;
    });

  /** The view of a hit, at once. */
  function viewOfHit(id: string, { source, view, tier }: Hit<View>): View | undefined {
    if (source === 'hit-local') statistics.count(name, 'hit_local', tier);
    else {
      log.debug(`${title} cache hit: ${id}`);
      statistics.count(name, view === undefined ? 'negative' : 'hit', tier);
    }
    return view;
  }

  async function loaded(id: string, lookup: Exclude<Lookup<View>, Hit<View>>, startedMs: number): Promise<View | undefined> {
    if (lookup.source === 'miss') log.debug(`${title} cache miss: ${id}`);
    const view = await (lookup.source === 'miss' ? lookup.load() : fills.load(id));
    const tier = view && rows.place(view).tier;
    statistics.count(name, lookup.source, tier);
    local.remember(id, { view, tier, cell: undefined, knownAtMs: startedMs });
    return view;
  }

  const isHit = (lookup: Lookup<View>): lookup is Hit<View> => lookup.source === 'hit' || lookup.source === 'hit-local';

  function findLocally(id: string, maxStalenessMs: number, startedMs: number): Lookup<View> | undefined {
    if (maxStalenessMs <= 0) return undefined;
    const answer = local.find(id);
    if (answer === undefined) return undefined;
    const ageMs = startedMs - answer.knownAtMs;
    return ageMs > maxStalenessMs ? undefined : { source: 'hit-local', view: answer.view, tier: answer.tier, ageMs };
  }

  const look = (id: string, startedMs: number): Promise<Lookup<View>> =>
    isRecorded() ? tracedLookUp(id, startedMs) : lookUp(id, startedMs, reader.ask);

  /** False: another process had a lease before, or the row is not to be stored. */
  async function warmOne(id: string, token: string, ticket: TrustTicket): Promise<boolean> {
    // Counts as its first miss, so that the fill comes after the first.
    parts.doorkeeper.admits(id);
    const { loading, filled } = fills.loadUnderLease(id, token, ticket);
    await loading;
    return filled;
  }

  return {
    async find(id, { maxStalenessMs = 0 } = {}) {
      const startedMs = nowMs();
      const lookup = findLocally(id, maxStalenessMs, startedMs) ?? (await look(id, startedMs));
      const value = isHit(lookup) ? viewOfHit(id, lookup) : await loaded(id, lookup, startedMs);
      return { value, source: lookup.source, ageMs: lookup.ageMs };
    },

    async findMany(ids, { maxStalenessMs = 0 } = {}) {
      const startedMs = nowMs();
      const value = new Map<string, View>();
      let [rank, ageMs] = [0, 0];
      // All at once, so that their questions go to Redis together.
      await Promise.all(
        ids.map(async (id) => {
          const lookup = findLocally(id, maxStalenessMs, startedMs) ?? (await look(id, startedMs));
          rank = Math.max(rank, SOURCES.indexOf(lookup.source));
          ageMs = Math.max(ageMs, lookup.ageMs);
          const view = isHit(lookup) ? viewOfHit(id, lookup) : await loaded(id, lookup, startedMs);
          if (view !== undefined) value.set(id, view);
        }),
      );
      return { value, source: SOURCES[rank] ?? 'bypass', ageMs };
    },

    async warm(ids) {
      const ticket = trust.ticket();
      if (ticket === undefined || !breaker.allows()) return undefined;
      const asked = await Promise.all(
        ids.map(async (id) => {
          const token = parts.newToken();
          return { id, token, inTheWay: await ask('set', name, () => commands.lease(keyOf(id), token)) };
        }),
      );
      if (!trust.holds(ticket) || (ids.length > 0 && asked.every(({ inTheWay }) => inTheWay === undefined))) return undefined;
      const taken = asked.filter(({ inTheWay }) => inTheWay === null);
      const warmed = await Promise.all(taken.map(({ id, token }) => warmOne(id, token, ticket)));
      return warmed.filter(Boolean).length;
    },

    idle: fills.idle,
  };
}
