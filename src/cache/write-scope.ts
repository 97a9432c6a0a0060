/** What every transaction that changes cached rows does around COMMIT: mark, commit, settle. See ARCHITECTURE.md, cache. */
import type { AroundCommit, CachedEntity, RowChange, Tx } from '../domain/ports.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { withSpan } from '../telemetry/trace.ts';
import type { Ask } from './ask.ts';
import { type CellCommands, markToken, type SettleOutcome } from './cell-commands.ts';
import type { CellKeys } from './keys.ts';
import type { CacheStatistics } from './statistics.ts';

export interface StoredValue {
  readonly version: number;
  readonly cell: Buffer;
  readonly ttlMs: number;
}

export interface WriteScopeParts {
  readonly commands: CellCommands;
  readonly keys: CellKeys;
  readonly ask: Ask;
  /** The row as the transaction sees it, as a cell; undefined: too large, or writes are not written through. */
  readonly cellFor: (change: RowChange, tx: Tx) => Promise<StoredValue | undefined>;
  readonly statistics: CacheStatistics;
  readonly newToken: () => string;
  /** Monotonic, in ms. */
  readonly nowMs: () => number;
  readonly wait: (ms: number) => Promise<void>;
  readonly metrics: Metrics;
  readonly log: Log;
}

/** Keys at once; a conversation may be deleted with very many messages. */
const MAX_KEYS = 1_000;
/** A write that cannot be settled waits this long for Redis before it is acknowledged all the same. */
const SETTLE_PATIENCE_MS = 250;
const SETTLE_RETRY_MS = 50;

interface Marked {
  readonly change: RowChange;
  readonly acknowledged: boolean;
  readonly value: StoredValue | undefined;
}

async function inBatches<Item, Result>(items: readonly Item[], work: (item: Item) => Promise<Result>): Promise<readonly Result[]> {
  const results: Result[] = [];
  for (let from = 0; from < items.length; from += MAX_KEYS)
    results.push(...(await Promise.all(items.slice(from, from + MAX_KEYS).map(work))));
  return results;
}

export function createWriteScope(parts: WriteScopeParts): AroundCommit {
  const { commands, keys, ask, statistics, nowMs, wait, metrics, log } = parts;
  const keyOf = ({ entity, id }: { readonly entity: CachedEntity; readonly id: string }): string => keys.of(entity, id);

  /** Written through only where readers have been asking, and only under a mark that Redis has confirmed: see settle(). */
  async function valuesFor(changed: readonly RowChange[], wanted: readonly (boolean | undefined)[], tx: Tx): Promise<readonly Marked[]> {
    const marked: Marked[] = [];
    for (const [index, change] of changed.entries()) {
      const isWanted = wanted[index];
      const value = isWanted === true && !change.deleted ? await parts.cellFor(change, tx) : undefined;
      // A row that was deleted and made anew in one transaction counts from 1 again, below the version that its mark tells.
      marked.push({ change, acknowledged: isWanted !== undefined, value: value?.version === change.version ? value : undefined });
    }
    return marked;
  }

  async function settleOnce(token: string, { change, acknowledged, value }: Marked): Promise<SettleOutcome | undefined> {
    // A value may travel only when the mark was confirmed: one that comes late, after its settle was given up, could find its own late
    // mark and put this value over a newer row.
    const carried = acknowledged ? value : undefined;
    const { entity, version } = change;
    return ask('delete', entity, () => commands.settle(keyOf(change), markToken(version, token), version, carried));
  }

  function told(outcome: SettleOutcome, { change: { entity, id }, value }: Marked): void {
    metrics.cacheSettled(outcome);
    statistics.count(entity, 'invalidation');
    log.debug(`Invalidated ${entity} cache: ${id}`);
    if (outcome !== 'stored') return;
    statistics.count(entity, 'set');
    metrics.cacheStored(entity, value?.cell.byteLength ?? 0);
    log.debug(`Cached ${entity}: ${id}`);
  }

  async function settle(token: string, marked: Marked): Promise<void> {
    const beganMs = nowMs();
    for (;;) {
      const outcome = await settleOnce(token, marked);
      if (outcome !== undefined) return told(outcome, marked);
      // What is left then: its mark, if it is still there, hides the row, and the relay comes.
      if (nowMs() - beganMs >= SETTLE_PATIENCE_MS) break;
      await wait(SETTLE_RETRY_MS);
    }
    metrics.cacheSettled('failed');
  }

  return async (changed, tx) => {
    const token = parts.newToken();
    const attributes = { 'cache.keys': changed.length };
    const marked = await withSpan('cache.mark', attributes, async () => {
      const wanted = await inBatches(changed, (change) =>
        ask('set', change.entity, () => commands.mark(keyOf(change), markToken(change.version, token))),
      );
      const failed = wanted.filter((answer) => answer === undefined).length;
      if (failed > 0) metrics.cacheMarksFailed(failed);
      return valuesFor(changed, wanted, tx);
    });
    return () =>
      withSpan('cache.settle', attributes, async () => {
        await inBatches(marked, (one) => settle(token, one));
      });
  };
}
