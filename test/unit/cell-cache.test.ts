/** The real cache code over cells in memory, under a scheduler that lets every command and every load take its time. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createBreaker } from '../../src/cache/breaker.ts';
import { type CellCache, createCellCache } from '../../src/cache/cell-cache.ts';
import type { CellCommands } from '../../src/cache/redis.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';

interface Row {
  readonly id: string;
  readonly version: number;
}

/** What a step has to wait for before it is done. */
type Pause = (label: string) => Promise<unknown>;

function cellsInMemory(cells: Map<string, string>, pause: Pause): CellCommands {
  const swap = (key: string, own: string, next: string | undefined): boolean => {
    if (cells.get(key) !== own) return false;
    if (next === undefined) cells.delete(key);
    else cells.set(key, next);
    return true;
  };
  const later = async <T>(label: string, step: () => T): Promise<T> => {
    await pause(`${label} on its way`);
    const reply = step();
    await pause(`${label} on its way back`);
    return reply;
  };
  return {
    get: (key) => later('get', () => cells.get(key) ?? null),
    lease: (key, cell) =>
      later('lease', () => {
        const old = cells.get(key) ?? null;
        if (old === null) cells.set(key, cell);
        return old;
      }),
    fill: (key, own, value) => later('fill', () => swap(key, own, value)),
    release: (key, own) => later('release', () => swap(key, own, undefined)),
    delete: (key) => later('delete', () => cells.delete(key)),
  };
}

interface World {
  readonly cells: Map<string, string>;
  readonly rows: Map<string, number>;
  readonly cache: CellCache<Row>;
  /** A writer: the row changes, then the entry is dropped. */
  write(id: string): Promise<void>;
}

interface WorldOptions {
  readonly pause?: Pause;
  /** In place of the commands of a sound Redis. */
  readonly broken?: (sound: CellCommands) => Partial<CellCommands>;
}

function newWorld({ pause = async () => {}, broken = () => ({}) }: WorldOptions = {}): World {
  const cells = new Map<string, string>();
  const rows = new Map<string, number>();
  const sound = cellsInMemory(cells, pause);
  let tokens = 0;
  const cache = createCellCache<Row>(
    {
      name: 'message',
      codec: {
        decode: (text) => {
          if (text === null) return { kind: 'absent' };
          if (text.startsWith('L:')) return { kind: 'lease' };
          return { kind: 'value', version: Number(text), view: { id: 'a', version: Number(text) } };
        },
        encodeValue: (version) => String(version),
      },
      versionOf: ({ version }) => version,
      load: async (ids) => {
        await pause('select on its way');
        const found = ids.flatMap((id) => (rows.has(id) ? [[id, { id, version: rows.get(id) ?? 0 }] as const] : []));
        await pause('select on its way back');
        return new Map(found);
      },
    },
    {
      commands: { ...sound, ...broken(sound) },
      breaker: createBreaker({ failuresToOpen: 2, pauseMs: 1_000, nowMs: () => 0, onChange: () => {} }),
      ttlMs: 1_000,
      keyPrefix: '',
      newToken: () => {
        tokens += 1;
        return String(tokens);
      },
      random: () => 0.5,
      metrics: createMetrics(),
      log: createLog({ level: 'silent' }),
    },
  );
  return {
    cells,
    rows,
    cache,
    async write(id) {
      await pause('commit');
      rows.set(id, (rows.get(id) ?? 0) + 1);
      await cache.forget(id);
    },
  };
}

const KEY = 'message:a';

describe('at rest, the cache', () => {
  /** Readers, writers and evictions of one row in every order that the scheduler finds. Rejects when an old version stays cached. */
  const neverOld = (broken?: WorldOptions['broken']) =>
    fc.asyncProperty(
      fc.scheduler(),
      fc.array(fc.constantFrom('read', 'batch', 'write', 'evict'), { maxLength: 6 }),
      async (scheduler, steps) => {
        const pause: Pause = (label) => scheduler.schedule(Promise.resolve(), label);
        const { cells, rows, cache, write } = newWorld({ pause, ...(broken && { broken }) });
        rows.set('a', 1);
        const running = steps.map(async (step) => {
          await pause(step);
          if (step === 'read') await cache.find('a');
          if (step === 'batch') await cache.findMany(['a', 'b']);
          if (step === 'write') await write('a');
          // An eviction, or a lease that ran out.
          if (step === 'evict') cells.delete(KEY);
        });
        await scheduler.waitFor(Promise.all(running).then(() => cache.idle()));
        if (cells.has(KEY)) expect(cells.get(KEY)).toBe(String(rows.get('a')));
        expect(cells.has('message:b')).toBe(false);
      },
    );

  it('never holds an old version', async () => {
    await fc.assert(neverOld(), { numRuns: 300 });
  }, 60_000);

  it('would, if a fill did not ask for its lease', async () => {
    const overwriting = (sound: CellCommands): Partial<CellCommands> => ({
      fill: async (key, _own, value, ttlMs) => {
        await sound.delete(key);
        await sound.lease(key, value, ttlMs);
        return true;
      },
    });
    const { failed } = await fc.check(neverOld(overwriting), { numRuns: 2_000 });
    expect(failed).toBe(true);
  }, 60_000);
});

describe('the cache', () => {
  it('misses, fills, hits', async () => {
    const { cells, rows, cache } = newWorld();
    rows.set('a', 1);
    expect(await cache.find('a')).toEqual({ source: 'miss', value: { id: 'a', version: 1 } });
    await cache.idle();
    expect([...cells]).toEqual([[KEY, '1']]);
    expect(await cache.find('a')).toEqual({ source: 'hit', value: { id: 'a', version: 1 } });
  });

  it('does not store that a row is missing', async () => {
    const { cells, cache } = newWorld();
    expect(await cache.find('a')).toEqual({ source: 'miss', value: undefined });
    await cache.idle();
    expect(cells.size).toBe(0);
  });

  it('lets one of many readers fill', async () => {
    const fills: string[] = [];
    const counting = (sound: CellCommands): Partial<CellCommands> => ({
      fill: (key, own, value, ttlMs) => {
        fills.push(key);
        return sound.fill(key, own, value, ttlMs);
      },
    });
    const { rows, cache } = newWorld({ broken: counting });
    rows.set('a', 1);
    await Promise.all(Array.from({ length: 10 }, () => cache.find('a')));
    await cache.idle();
    expect(fills).toEqual([KEY]);
  });

  it('asks Redis no more once it has not answered twice, and still tries to drop what changed', async () => {
    const asked: string[] = [];
    const dead = (name: string) => async (): Promise<never> => {
      asked.push(name);
      throw new Error('Command timed out');
    };
    const { rows, cache, write } = newWorld({ broken: () => ({ get: dead('get'), delete: dead('delete') }) });
    rows.set('a', 1);
    for (let reads = 0; reads < 5; reads += 1) {
      expect(await cache.find('a')).toEqual({ source: 'bypass', value: { id: 'a', version: 1 } });
    }
    await write('a');
    expect(asked).toEqual(['get', 'get', 'delete']);
  });

  it('passes on that the database failed', async () => {
    const { cache } = newWorld({
      pause: async (label) => {
        if (label.startsWith('select')) throw new Error('gone');
      },
    });
    await expect(cache.find('a')).rejects.toThrow('gone');
  });
});
