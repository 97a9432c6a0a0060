/** Reads of one cached entity: by its cells while they can be trusted, by PostgreSQL on any trouble. See ARCHITECTURE.md, cache. */
import type { CachedEntity, Read, ReadOptions, ReadSource } from '../domain/ports.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { withSpan } from '../telemetry/trace.ts';
import type { Ask } from './ask.ts';
import type { Breaker } from './breaker.ts';
import { type Cell, type CellCodec, NEGATIVE_CELL } from './cell.ts';
import type { CellCommands } from './cell-commands.ts';
import type { CellKeys } from './keys.ts';
import type { LoadQueue } from './load-queue.ts';
import type { LocalAnswers } from './local-answers.ts';
import { type Doorkeeper, isRefreshDue, type Placement, type PolicyOptions, withJitter } from './policy.ts';
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

type Lookup<View> =
  | { readonly source: 'hit'; readonly view: View | undefined }
  /** To be loaded under the read lease that was taken, or being loaded under one by another reader of this process. */
  | { readonly source: 'miss'; readonly load: () => Promise<View | undefined> }
  | { readonly source: 'bypass' };

/** `busy`: another process is loading it. */
type Step<View> = Lookup<View> | 'busy';

/** From best to worst; an answer made of several is as good as its worst part. */
const SOURCES = ['hit-local', 'hit', 'miss', 'bypass'] as const satisfies readonly ReadSource[];

export function createCellCache<View>(parts: CellCacheParts<View>): CellCache<View> {
  const { rows, commands, keys, trust, breaker, ask, loads, local, policy, statistics, nowMs, log } = parts;
  const { name, codec } = rows;
  const title = TITLE[name];
  /** Loads under leases of this process, by token, until the lease is given up. */
  const leased = new Map<string, Promise<View | undefined>>();
  const refreshing = new Set<string>();
  const background = new Set<Promise<unknown>>();
  const keyOf = (id: string): string => keys.of(name, id);

  function inBackground(work: Promise<unknown>): void {
    const running = work
      .catch((error: unknown) => log.debug({ err: error, entity: name }, 'cache work failed'))
      .finally(() => background.delete(running));
    background.add(running);
  }

  const load = (id: string): Promise<View | undefined> => withSpan('cache.load', { 'cache.entity': name }, () => loads.load(id));

  async function fill(id: string, token: string, ticket: TrustTicket, view: View | undefined): Promise<boolean> {
    const { ttlMs } = view === undefined ? { ttlMs: policy.negativeTtlMs } : rows.place(view);
    const lifeMs = withJitter(ttlMs, parts.random());
    const cell = view === undefined ? NEGATIVE_CELL : codec.encodeValue(rows.versionOf(view), view, parts.unixNowMs() + lifeMs);
    // A lease of a Redis that was lost since says nothing about the present one.
    if (!trust.holds(ticket)) return false;
    if (cell === undefined || !parts.doorkeeper.admits(id)) {
      await ask('set', name, () => commands.release(keyOf(id), token));
      return false;
    }
    return withSpan('cache.set', { 'cache.entity': name }, async (span) => {
      const filled = await ask('set', name, () => commands.fill(keyOf(id), token, cell, lifeMs));
      if (filled === undefined) return false;
      const result = filled ? 'ok' : 'refused';
      span.set('cache.result', result);
      statistics.count(name, filled ? 'set' : 'refused');
      if (!filled) return false;
      parts.metrics.cacheStored(name, cell.byteLength);
      log.debug(`Cached ${name}: ${id}`);
      return true;
    });
  }

  /** The answer does not wait for the fill: the caller gains nothing from a full cache. */
  function loadUnderLease(id: string, token: string, ticket: TrustTicket) {
    const loading = load(id);
    leased.set(token, loading);
    const settled = loading.then(
      (view) => fill(id, token, ticket, view),
      () => ask('set', name, () => commands.release(keyOf(id), token)).then(() => false),
    );
    const filled = settled.finally(() => leased.delete(token));
    inBackground(filled);
    return { loading, filled };
  }

  function refreshWhenDue(id: string, expiresAtMs: number): void {
    const dueIn = expiresAtMs - parts.unixNowMs();
    if (refreshing.has(id) || !isRefreshDue(dueIn, loads.meanMs(), policy.refreshBeta, parts.random())) return;
    refreshing.add(id);
    inBackground(refresh(id).finally(() => refreshing.delete(id)));
  }

  async function refresh(id: string): Promise<void> {
    const ticket = trust.ticket();
    const view = await load(id);
    if (view === undefined || ticket === undefined || !trust.holds(ticket)) return;
    const version = rows.versionOf(view);
    const lifeMs = withJitter(rows.place(view).ttlMs, parts.random());
    const cell = codec.encodeValue(version, view, parts.unixNowMs() + lifeMs);
    if (cell !== undefined) await ask('set', name, () => commands.refresh(keyOf(id), version, cell, lifeMs));
  }

  /** Decodes, unless it is byte by byte what was decoded before. */
  function decode(id: string, bytes: Buffer | null): Cell<View> {
    const known = bytes === null ? undefined : local.find(id);
    if (bytes !== null && known?.cell !== undefined && known.view !== undefined && known.cell.bytes.equals(bytes)) {
      return { kind: 'value', version: known.cell.version, expiresAtMs: known.cell.expiresAtMs, view: known.view };
    }
    return codec.decode(bytes);
  }

  function hit(id: string, cell: Cell<View> & { readonly kind: 'value' }, bytes: Buffer, startedMs: number): Lookup<View> {
    const { view, version, expiresAtMs } = cell;
    const known = local.find(id);
    // A copy of its own: the reply is a slice of a larger buffer, which it would keep.
    const own = known?.view === view && known.cell !== undefined ? known.cell.bytes : Buffer.from(bytes);
    local.remember(id, { view, cell: { bytes: own, version, expiresAtMs }, knownAtMs: startedMs });
    refreshWhenDue(id, expiresAtMs);
    if (parts.selfCheck.isDue()) inBackground(parts.selfCheck.run(id, version, view, bytes));
    return { source: 'hit', view };
  }

  async function step(id: string, bytes: Buffer | null, ticket: TrustTicket, startedMs: number): Promise<Step<View>> {
    const cell = decode(id, bytes);
    switch (cell.kind) {
      case 'value':
        return bytes === null ? { source: 'bypass' } : hit(id, cell, bytes, startedMs);
      case 'negative':
        local.remember(id, { view: undefined, cell: undefined, knownAtMs: startedMs });
        return { source: 'hit', view: undefined };
      case 'foreign':
      case 'mark':
        return { source: 'bypass' };
      case 'lease': {
        // As long as the token stands no writer has been here since that load began.
        const loading = leased.get(cell.token);
        return loading === undefined ? 'busy' : { source: 'miss', load: () => loading };
      }
      case 'absent': {
        const token = parts.newToken();
        const inTheWay = await ask('set', name, () => commands.lease(keyOf(id), token));
        if (inTheWay === undefined || !trust.holds(ticket)) return { source: 'bypass' };
        if (inTheWay !== null) return step(id, inTheWay, ticket, startedMs);
        return { source: 'miss', load: () => loadUnderLease(id, token, ticket).loading };
      }
      default:
        return cell satisfies never;
    }
  }

  async function lookUp(id: string, startedMs: number): Promise<Lookup<View>> {
    for (const pauseMs of [0, ...LEASE_WAITS_MS]) {
      if (pauseMs > 0) await parts.wait(pauseMs);
      const ticket = trust.ticket();
      if (ticket === undefined || !breaker.allows()) return { source: 'bypass' };
      const bytes = await ask('get', name, () => commands.get(keyOf(id)));
      if (bytes === undefined || !trust.holds(ticket)) return { source: 'bypass' };
      const next = await step(id, bytes, ticket, startedMs);
      if (next !== 'busy') return next;
    }
    return { source: 'bypass' };
  }

  async function tracedLookUp(id: string, startedMs: number): Promise<Lookup<View>> {
    const lookup = await withSpan('cache.get', { 'cache.entity': name }, async (span) => {
      const found = await lookUp(id, startedMs);
      span.set('cache.result', found.source);
      return found;
    });
    if (lookup.source === 'hit') {
      log.debug(`${title} cache hit: ${id}`);
      if (lookup.view === undefined) statistics.count(name, 'negative');
      else statistics.count(name, 'hit', rows.place(lookup.view).tier);
    }
    if (lookup.source === 'miss') log.debug(`${title} cache miss: ${id}`);
    return lookup;
  }

  async function viewOf(id: string, lookup: Lookup<View>, startedMs: number): Promise<View | undefined> {
    if (lookup.source === 'hit') return lookup.view;
    const view = await (lookup.source === 'miss' ? lookup.load() : load(id));
    statistics.count(name, lookup.source, view && rows.place(view).tier);
    local.remember(id, { view, cell: undefined, knownAtMs: startedMs });
    return view;
  }

  function findLocally(id: string, maxStalenessMs: number, startedMs: number) {
    if (maxStalenessMs <= 0) return undefined;
    const answer = local.find(id);
    if (answer === undefined || startedMs - answer.knownAtMs > maxStalenessMs) return undefined;
    statistics.count(name, 'hit_local', answer.view && rows.place(answer.view).tier);
    return { view: answer.view, ageMs: startedMs - answer.knownAtMs };
  }

  /** False: another process had a lease before, or the row is not to be stored. */
  async function warmOne(id: string, token: string, ticket: TrustTicket): Promise<boolean> {
    // Counts as its first miss, so that the fill comes after the first.
    parts.doorkeeper.admits(id);
    const { loading, filled } = loadUnderLease(id, token, ticket);
    await loading;
    return filled;
  }

  return {
    async find(id, { maxStalenessMs = 0 } = {}) {
      const startedMs = nowMs();
      const answer = findLocally(id, maxStalenessMs, startedMs);
      if (answer !== undefined) return { value: answer.view, source: 'hit-local', ageMs: answer.ageMs };
      const lookup = await tracedLookUp(id, startedMs);
      return { value: await viewOf(id, lookup, startedMs), source: lookup.source, ageMs: 0 };
    },

    async findMany(ids, { maxStalenessMs = 0 } = {}) {
      const startedMs = nowMs();
      const answers = await Promise.all(
        ids.map(async (id) => ({ id, answer: findLocally(id, maxStalenessMs, startedMs) ?? (await tracedLookUp(id, startedMs)) })),
      );
      const found = await Promise.all(
        answers.map(async ({ id, answer }) => [id, 'ageMs' in answer ? answer.view : await viewOf(id, answer, startedMs)] as const),
      );
      const value = new Map(found.flatMap(([id, view]) => (view === undefined ? [] : [[id, view] as const])));
      const ranks = answers.map(({ answer }) => SOURCES.indexOf('ageMs' in answer ? 'hit-local' : answer.source));
      const ages = answers.map(({ answer }) => ('ageMs' in answer ? answer.ageMs : 0));
      return { value, source: SOURCES[Math.max(0, ...ranks)] ?? 'bypass', ageMs: Math.max(0, ...ages) };
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

    async idle() {
      while (background.size > 0) await Promise.allSettled(background);
    },
  };
}
