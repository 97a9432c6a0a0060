/** Loads of rows that the cache does not have, and what is made of them there. Nobody waits for a fill. */
import type { CachedEntity } from '../domain/ports.ts';
import { withSpan } from '../telemetry/trace.ts';
import { NEGATIVE_CELL } from './cell.ts';
import type { CellCacheParts } from './cell-cache.ts';
import { isRefreshDue, withJitter } from './policy.ts';
import type { TrustTicket } from './trust.ts';

export interface CellFills<View> {
  load(id: string): Promise<View | undefined>;
  /** Loads, and fills what the lease is for. `filled`: false when the row was not stored. */
  loadUnderLease(id: string, token: string, ticket: TrustTicket): { loading: Promise<View | undefined>; filled: Promise<boolean> };
  /** The load under a lease of this process, until it is given up. */
  loadingUnder(token: string): Promise<View | undefined> | undefined;
  /** Loads the row ahead of time, the likelier the nearer its end. */
  refreshWhenDue(id: string, expiresAtMs: number): void;
  inBackground(work: Promise<unknown>): void;
  /** Resolves when nothing is in the background. */
  idle(): Promise<void>;
}

export function createCellFills<View>(parts: CellCacheParts<View>): CellFills<View> {
  const { rows, commands, keys, trust, ask, loads, policy, statistics, log } = parts;
  const { codec } = rows;
  const name: CachedEntity = rows.name;
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

  async function refresh(id: string): Promise<void> {
    const ticket = trust.ticket();
    const view = await load(id);
    if (view === undefined || ticket === undefined || !trust.holds(ticket)) return;
    const version = rows.versionOf(view);
    const lifeMs = withJitter(rows.place(view).ttlMs, parts.random());
    const cell = codec.encodeValue(version, view, parts.unixNowMs() + lifeMs);
    if (cell !== undefined) await ask('set', name, () => commands.refresh(keyOf(id), version, cell, lifeMs));
  }

  return {
    load,

    loadUnderLease(id, token, ticket) {
      const loading = load(id);
      leased.set(token, loading);
      const settled = loading.then(
        (view) => fill(id, token, ticket, view),
        () => ask('set', name, () => commands.release(keyOf(id), token)).then(() => false),
      );
      const filled = settled.finally(() => leased.delete(token));
      inBackground(filled);
      return { loading, filled };
    },

    loadingUnder: (token) => leased.get(token),

    refreshWhenDue(id, expiresAtMs) {
      const dueIn = expiresAtMs - parts.unixNowMs();
      if (!isRefreshDue(dueIn, loads.meanMs(), policy.refreshBeta, parts.random()) || refreshing.has(id)) return;
      refreshing.add(id);
      inBackground(refresh(id).finally(() => refreshing.delete(id)));
    },

    inBackground,

    async idle() {
      while (background.size > 0) await Promise.allSettled(background);
    },
  };
}
