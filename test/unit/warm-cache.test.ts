import { describe, expect, test } from 'vitest';
import { DomainError } from '../../src/domain/errors.ts';
import type { CacheAdmin, Cursor, PageRequest } from '../../src/domain/ports.ts';
import { createWarmCache, type WarmPosition, type WarmProgress } from '../../src/services/warm-cache.ts';

interface World {
  /** Rows, the newest first. */
  readonly rows?: readonly string[];
  readonly recent?: readonly string[];
  /** There already. */
  readonly cached?: readonly string[];
  /** Time that each batch takes. */
  readonly batchMs?: number;
}

const names = (prefix: string, count: number): readonly string[] => Array.from({ length: count }, (_, index) => `${prefix}${index}`);
const signal = new AbortController().signal;

/** Time passes only while something is waited for. */
function fakeClock() {
  let timeMs = 0;
  const sleepers = new Set<{ readonly atMs: number; wake(): void }>();
  const nowMs = () => timeMs;
  function wait(ms: number, aborted?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const sleeper = {
        atMs: timeMs + ms,
        wake() {
          sleepers.delete(sleeper);
          resolve();
        },
      };
      if (aborted?.aborted === true) return resolve();
      sleepers.add(sleeper);
      aborted?.addEventListener('abort', sleeper.wake, { once: true });
      setImmediate(tick);
    });
  }
  function tick(): void {
    const [next] = [...sleepers].toSorted((left, right) => left.atMs - right.atMs);
    if (next === undefined) return;
    timeMs = Math.max(timeMs, next.atMs);
    next.wake();
    setImmediate(tick);
  }
  return { nowMs, wait, clock: { now: () => new Date(timeMs) } };
}

function warming({ rows = [], recent = [], cached = [], batchMs = 0 }: World) {
  const time = fakeClock();
  const batches: { readonly atMs: number; readonly ids: readonly string[] }[] = [];
  const there = new Set(cached);
  let onBatch = (_number: number): void => undefined;
  const cache = {
    recentIds: () => recent,
    async warm(_entity: string, ids: readonly string[]) {
      batches.push({ atMs: time.nowMs(), ids });
      onBatch(batches.length);
      if (batchMs > 0) await time.wait(batchMs);
      const loaded = ids.filter((id) => !there.has(id));
      for (const id of loaded) there.add(id);
      return loaded.length;
    },
  } as unknown as CacheAdmin;
  const list = async (_filter: unknown, { size, after }: PageRequest) => {
    const from = after === undefined ? 0 : rows.indexOf(after.id) + 1;
    const ids = rows.slice(from, from + size);
    const last = ids.at(-1);
    const next: Cursor | undefined = last !== undefined && from + size < rows.length ? { key: 'k', id: last } : undefined;
    return { items: ids.map((id) => ({ id })), ...(next && { next }) };
  };
  const reads = { listMessages: list, listConversations: list } as unknown as Parameters<typeof createWarmCache>[0]['reads'];
  const warm = createWarmCache({ reads, cache, ...time });
  return {
    batches,
    there,
    nowMs: time.nowMs,
    onBatch(listener: (number: number) => void) {
      onBatch = listener;
    },
    start: (count: number, rate = 1_000, from?: WarmPosition, stop: AbortSignal = signal) =>
      warm({ entity: 'message', count, rate, from }, stop),
    /** Everything it yields. */
    async run(count: number, rate = 1_000, from?: WarmPosition): Promise<readonly WarmProgress[]> {
      return Array.fromAsync(warm({ entity: 'message', count, rate, from }, signal));
    },
  };
}

describe('warming', () => {
  test('takes what was read lately, most recent first, then the newest rows, no row twice', async () => {
    const world = warming({ rows: names('row', 250), recent: ['row7', 'gone', 'row200'] });
    const progress = await world.run(250);
    const ids = world.batches.flatMap((batch) => batch.ids);
    expect(ids.slice(0, 5)).toEqual(['row7', 'gone', 'row200', 'row0', 'row1']);
    expect(new Set(ids).size).toBe(ids.length);
    expect(progress.at(-1)).toMatchObject({ examined: 250, total: 250, next: undefined });
  });

  test('asks for 100 at once at most, and for count in all', async () => {
    const world = warming({ rows: names('row', 1_000) });
    await world.run(250);
    expect(world.batches.map(({ ids }) => ids.length)).toEqual([100, 100, 50]);
  });

  test('tells how many were looked at and how many were loaded, and ends when there are no more rows', async () => {
    const world = warming({ rows: names('row', 30), cached: names('row', 10) });
    expect(await world.run(1_000)).toEqual([{ examined: 30, loaded: 20, total: 30, doneAt: new Date(world.nowMs()), next: undefined }]);
  });

  test('of nothing is done at once', async () => {
    expect((await warming({}).run(10)).at(-1)).toMatchObject({ examined: 0, loaded: 0, total: 0, next: undefined });
  });

  test.each([7, 100, 350, 1_000])('looks at %i rows a second at most', async (rate) => {
    const world = warming({ rows: names('row', rate * 3), batchMs: 10 });
    await world.run(rate * 3, rate);
    let examined = 0;
    for (const { atMs, ids } of world.batches) {
      // The first batch is free.
      expect(examined).toBeLessThanOrEqual((atMs / 1_000) * rate + 1e-6);
      examined += ids.length;
    }
    expect(world.nowMs()).toBeGreaterThan(1_500);
  });

  test('does not make up for time that a slow batch took', async () => {
    const world = warming({ rows: names('row', 400), batchMs: 5_000 });
    await world.run(400, 100);
    const starts = world.batches.map(({ atMs }) => atMs);
    expect(starts.slice(1).every((atMs, index) => atMs - (starts[index] ?? 0) >= 1_000)).toBe(true);
  });

  test.each([0, 10, 3_500])('tells how far it is at least once a second, when a batch takes %i ms', async (batchMs) => {
    const world = warming({ rows: names('row', 500), batchMs });
    let toldAtMs = 0;
    for await (const _progress of world.start(500, 70)) {
      expect(world.nowMs() - toldAtMs).toBeLessThanOrEqual(1_001 + Math.min(batchMs, 10));
      toldAtMs = world.nowMs();
    }
    expect(world.nowMs()).toBeGreaterThan(5_000);
  });

  test('estimates the end from its rate so far', async () => {
    const world = warming({ rows: names('row', 1_000) });
    const progress = await world.run(1_000, 100);
    const estimates = progress.slice(2, -1).map(({ doneAt }) => doneAt?.getTime() ?? 0);
    for (const estimate of estimates) expect(Math.abs(estimate - world.nowMs())).toBeLessThan(3_000);
    expect(estimates.length).toBeGreaterThan(3);
  });

  test.each([0, 1, 2, 3, 4, 5, 6, 7])('that was interrupted after progress %i goes on from there', async (interruptedAt) => {
    const world = warming({ rows: names('row', 500), recent: names('old', 120) });
    let last: WarmProgress | undefined;
    let told = 0;
    for await (const progress of world.start(500, 50)) {
      last = progress;
      if (told === interruptedAt) break;
      told += 1;
    }
    const before = world.batches.length;
    const toldOf = world.batches.flatMap(({ ids }) => ids).slice(0, last?.examined);
    const rest = await world.run(500, 1_000, last?.next);
    expect(rest.at(-1)).toMatchObject({ examined: 500, total: 500, next: undefined });
    const after = world.batches.slice(before).flatMap(({ ids }) => ids);
    expect([...toldOf, ...after]).toEqual([...names('old', 120), ...names('row', 380)]);
  });

  test('that is resumed in the list leaves what was read lately alone', async () => {
    const world = warming({ rows: names('row', 300), recent: ['hot'] });
    const after = { key: 'k', id: 'row99' };
    await world.run(300, 1_000, { examined: 101, loaded: 101, recent: 1, after });
    expect(world.batches.flatMap(({ ids }) => ids)).toEqual(names('row', 300).slice(100, 299));
  });

  test('stops within one batch, with the reason of the signal', async () => {
    const stopping = new AbortController();
    const world = warming({ rows: names('row', 1_000), batchMs: 10 });
    const reason = new Error('gone');
    world.onBatch((number) => {
      if (number === 3) stopping.abort(reason);
    });
    await expect(Array.fromAsync(world.start(1_000, 1_000, undefined, stopping.signal))).rejects.toBe(reason);
    expect(world.batches).toHaveLength(3);
  });

  test('stops at once while it waits for its rate', async () => {
    const stopping = new AbortController();
    const world = warming({ rows: names('row', 1_000) });
    const iterator = world.start(1_000, 1, undefined, stopping.signal);
    await iterator.next();
    stopping.abort();
    await expect(iterator.next()).rejects.toBe(stopping.signal.reason);
    expect(world.batches.length).toBeLessThanOrEqual(2);
  });

  test('without a cache is refused', async () => {
    const { nowMs, wait, clock } = fakeClock();
    const warm = createWarmCache({ reads: {} as never, cache: undefined, nowMs, wait, clock });
    const refused = warm({ entity: 'message', count: 1, rate: 1, from: undefined }, signal).next();
    await expect(refused).rejects.toEqual(expect.objectContaining({ code: 'cache_off' }));
    await expect(refused).rejects.toBeInstanceOf(DomainError);
  });
});
