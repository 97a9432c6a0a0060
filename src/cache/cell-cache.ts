/** One cached entity: reads that fall back to the database on any trouble, fills by token lease, and forgetting. */
import type { Read, RowRef } from '../domain/ports.ts';
import type { Log } from '../telemetry/log.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { withSpan } from '../telemetry/trace.ts';
import type { Breaker } from './breaker.ts';
import { type Cell, type CellCodec, encodeLease } from './cell.ts';
import { type CellCommands, isReply } from './redis.ts';

export interface CellCacheOptions {
  readonly commands: CellCommands;
  readonly breaker: Breaker;
  /** Life of a value, before jitter. */
  readonly ttlMs: number;
  readonly keyPrefix: string;
  readonly newToken: () => string;
  /** From 0 to 1. */
  readonly random: () => number;
  readonly metrics: Metrics;
  readonly log: Log;
}

export interface CachedEntity<View> {
  readonly name: RowRef['entity'];
  readonly codec: CellCodec<View>;
  versionOf(view: View): number;
  /** Reads the rows on the primary; absent ones are missing from the map. */
  load(ids: readonly string[]): Promise<ReadonlyMap<string, View>>;
}

export interface CellCache<View> {
  find(id: string): Promise<Read<View | undefined>>;
  findMany(ids: readonly string[]): Promise<Read<ReadonlyMap<string, View>>>;
  /** Drops the entry. Never throws: an entry that cannot be dropped lives until its TTL. */
  forget(id: string): Promise<void>;
  /** Resolves when no fill is under way. */
  idle(): Promise<void>;
}

/** A reader that takes longer than this to load a row may not fill it any more. */
const LEASE_MS = 2_000;
const JITTER = 0.1;

const TITLE = { message: 'Message', conversation: 'Conversation' } as const satisfies Record<RowRef['entity'], string>;

type Lookup<View> =
  | { readonly source: 'hit'; readonly view: View }
  | { readonly source: 'miss'; readonly lease: string | undefined }
  | { readonly source: 'bypass' };

interface Answer<T> {
  readonly reply: T;
  readonly seconds: number;
}

export function createCellCache<View>(entity: CachedEntity<View>, options: CellCacheOptions): CellCache<View> {
  const { commands, breaker, metrics, log } = options;
  const { name, codec } = entity;
  const title = TITLE[name];
  const fills = new Set<Promise<void>>();
  const keyOf = (id: string): string => `${options.keyPrefix}${name}:${id}`;

  /** Runs a command; undefined on any trouble, which the breaker counts when Redis did not answer at all. */
  async function ask<T>(operation: 'get' | 'set' | 'delete', command: () => Promise<T>): Promise<Answer<T> | undefined> {
    const started = performance.now();
    try {
      const reply = await command();
      breaker.succeeded();
      return { reply, seconds: (performance.now() - started) / 1_000 };
    } catch (error) {
      if (isReply(error)) breaker.succeeded();
      else breaker.failed();
      metrics.trackCacheOperation(operation, 'error', name);
      log.debug({ err: error, operation, entity: name }, 'redis command failed');
      return undefined;
    }
  }

  async function lookUp(id: string): Promise<Lookup<View>> {
    if (!breaker.allows()) {
      metrics.trackCacheOperation('get', 'bypass', name);
      return { source: 'bypass' };
    }
    return withSpan('cache.get', { 'cache.entity': name }, async (span) => {
      const found = await ask('get', () => commands.get(keyOf(id)));
      const cell: Cell<View> = found === undefined ? { kind: 'foreign' } : codec.decode(found.reply);
      const lookup = await afterGet(id, cell);
      span.set('cache.result', lookup.source);
      if (found !== undefined) metrics.trackCacheOperation('get', lookup.source, name, found.seconds);
      if (lookup.source === 'hit') log.debug(`${title} cache hit: ${id}`);
      if (lookup.source === 'miss') log.debug(`${title} cache miss: ${id}`);
      return lookup;
    });
  }

  async function afterGet(id: string, cell: Cell<View>): Promise<Lookup<View>> {
    switch (cell.kind) {
      case 'value':
        return { source: 'hit', view: cell.view };
      case 'foreign':
        return { source: 'bypass' };
      case 'lease':
        return { source: 'miss', lease: undefined };
      case 'absent': {
        const lease = encodeLease(options.newToken());
        const taken = await ask('set', () => commands.lease(keyOf(id), lease, LEASE_MS));
        return { source: 'miss', lease: taken?.reply === null ? lease : undefined };
      }
      default:
        return cell satisfies never;
    }
  }

  const load = (ids: readonly string[]): Promise<ReadonlyMap<string, View>> =>
    withSpan('cache.load', { 'cache.entity': name, 'cache.keys': ids.length }, () => entity.load(ids));

  async function fill(id: string, lease: string, view: View | undefined): Promise<void> {
    if (view === undefined) {
      await ask('delete', () => commands.release(keyOf(id), lease));
      return;
    }
    await withSpan('cache.set', { 'cache.entity': name }, async (span) => {
      const ttlMs = Math.round(options.ttlMs * (1 - JITTER + 2 * JITTER * options.random()));
      const cell = codec.encodeValue(entity.versionOf(view), view);
      const filled = await ask('set', () => commands.fill(keyOf(id), lease, cell, ttlMs));
      if (filled === undefined) return;
      const result = filled.reply ? 'ok' : 'refused';
      span.set('cache.result', result);
      metrics.trackCacheOperation('set', result, name, filled.seconds);
      if (filled.reply) log.debug(`Cached ${name}: ${id}`);
    });
  }

  /** The answer does not wait for it: the caller gains nothing from a full cache. */
  function fillLater(id: string, lookup: Lookup<View>, view: View | undefined): void {
    if (lookup.source !== 'miss' || lookup.lease === undefined) return;
    const running = fill(id, lookup.lease, view).finally(() => fills.delete(running));
    fills.add(running);
  }

  return {
    async find(id) {
      const lookup = await lookUp(id);
      if (lookup.source === 'hit') return { value: lookup.view, source: 'hit' };
      const view = (await load([id])).get(id);
      fillLater(id, lookup, view);
      return { value: view, source: lookup.source };
    },

    async findMany(ids) {
      const lookups = await Promise.all(ids.map(async (id) => ({ id, lookup: await lookUp(id) })));
      const views = new Map(lookups.flatMap(({ id, lookup }) => (lookup.source === 'hit' ? [[id, lookup.view]] : [])));
      const absent = lookups.filter(({ lookup }) => lookup.source !== 'hit');
      if (absent.length === 0) return { value: views, source: 'hit' };
      const loaded = await load(absent.map(({ id }) => id));
      for (const { id, lookup } of absent) {
        const view = loaded.get(id);
        if (view !== undefined) views.set(id, view);
        fillLater(id, lookup, view);
      }
      return { value: views, source: absent.some(({ lookup }) => lookup.source === 'miss') ? 'miss' : 'bypass' };
    },

    async forget(id) {
      // Asked even while the breaker is open: a stale entry costs more than a time-out.
      await withSpan('cache.delete', { 'cache.entity': name }, async () => {
        const dropped = await ask('delete', () => commands.delete(keyOf(id)));
        if (dropped === undefined) return;
        metrics.trackCacheOperation('delete', 'ok', name, dropped.seconds);
        log.debug(`Invalidated ${name} cache: ${id}`);
      });
    },

    async idle() {
      await Promise.allSettled(fills);
    },
  };
}
