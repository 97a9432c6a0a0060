import { describe, expect, test } from 'vitest';
import { type CacheAdminParts, createCacheAdmin } from '../../src/cache/cache-admin.ts';
import { ANY_VERSION } from '../../src/cache/cell-commands.ts';
import { cellKeys } from '../../src/cache/keys.ts';

const BATCH = 1_000;
const signal = new AbortController().signal;

interface World {
  /** Batches of keys that SCAN finds. */
  readonly batches?: number;
  /** What each GET answers, the last one from then on. */
  readonly cells?: readonly (string | null)[];
  readonly ttlMs?: number;
  readonly onBatch?: (number: number) => void;
}

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0');
const rowId = (batch: number, index: number): string => `01900000-0000-7000-${hex(batch, 4)}-${hex(index, 12)}`;

function administering({ batches = 0, cells = [null], ttlMs = -2, onBatch }: World) {
  let timeMs = 0;
  let gets = 0;
  const bumped: { readonly key: string; readonly version: number; readonly atMs: number }[] = [];
  const compared: (string | undefined)[] = [];
  const connection = {
    commands: {
      async get() {
        const cell = cells[Math.min(gets, cells.length - 1)] ?? null;
        gets += 1;
        return cell === null ? null : Buffer.from(cell);
      },
      async bump(key: string, version: number) {
        bumped.push({ key, version, atMs: timeMs });
        return true;
      },
    },
    async *scan(pattern: string) {
      for (let batch = 0; batch < batches; batch += 1) {
        onBatch?.(batch);
        yield Array.from({ length: BATCH }, (_, index) => pattern.replace('*', rowId(batch, index)));
      }
    },
    ttlMs: async () => ttlMs,
    memory: async () => ({ usedBytes: 1, maxBytes: 2, evictionPolicy: 'allkeys-lfu' }),
  } as unknown as CacheAdminParts['connection'];
  const admin = createCacheAdmin({
    connection,
    keys: cellKeys('p:'),
    trust: { ticket: () => 1 },
    statistics: { read: () => ({ entities: new Map(), tiers: new Map() }) },
    coherence: () => ({
      settled: { stored: 0, dropped: 0, left: 0, failed: 0 },
      marksFailed: 0,
      verified: { match: 0, mismatch: 0, superseded: 0 },
      flushes: 0,
    }),
    cached: {
      recentIds: () => [],
      warm: async () => undefined,
      async compare(_entity, _id, bytes) {
        compared.push(bytes?.toString());
        return { kind: bytes?.toString().startsWith('L:') ? 'lease' : 'value', cachedVersion: 1, rowVersion: 1, equal: true };
      },
    },
    outbox: {
      async backlog() {
        throw new Error('no PostgreSQL');
      },
    },
    nowMs: () => timeMs,
    async wait(ms) {
      timeMs += ms;
    },
  });
  return { admin, bumped, compared };
}

describe('dropping everything', () => {
  test('drops at any version, at most 50,000 keys a second', async () => {
    const { admin, bumped } = administering({ batches: 100 });
    expect(await admin.invalidateAll('message', signal)).toBe(100 * BATCH);
    expect(bumped[0]).toEqual({ key: `p:message:${rowId(0, 0)}`, version: ANY_VERSION, atMs: 0 });
    for (const [index, { atMs }] of bumped.entries()) {
      // The first batch is free.
      expect(Math.floor(index / BATCH) * BATCH).toBeLessThanOrEqual(atMs * 50 + 1e-6);
    }
  });

  test('stops within one batch, with the reason of the signal', async () => {
    const stopping = new AbortController();
    const onBatch = (number: number): void => {
      if (number === 3) stopping.abort(new Error('gone'));
    };
    const { admin, bumped } = administering({ batches: 100, onBatch });
    await expect(admin.invalidateAll('message', stopping.signal)).rejects.toThrow('gone');
    expect(bumped).toHaveLength(4 * BATCH);
  });

  test('that Redis does not let finish is no success', async () => {
    const onBatch = (number: number): void => {
      if (number === 3) throw new Error('connection lost');
    };
    const { admin } = administering({ batches: 100, onBatch });
    await expect(admin.invalidateAll('message', signal)).rejects.toEqual(expect.objectContaining({ code: 'cache_unavailable' }));
  });
});

describe('an entry', () => {
  test('that changes while it is looked at is looked at again', async () => {
    const { admin, compared } = administering({ cells: ['V:1', 'V:2'], ttlMs: 5_000 });
    expect(await admin.inspect('message', 'id')).toMatchObject({ key: 'p:message:id', bytes: 3, ttlMs: 5_000, ageMs: undefined });
    expect(compared).toEqual(['V:1', 'V:2']);
  });

  test('that changes all the time is looked at three times', async () => {
    const { admin, compared } = administering({ cells: [null, 'V:2', null, 'V:4', null, 'V:6'] });
    expect(await admin.inspect('message', 'id')).toMatchObject({ bytes: 0, ttlMs: undefined });
    expect(compared).toHaveLength(3);
  });

  test('of a reader tells since when', async () => {
    const { admin } = administering({ cells: ['L:token'], ttlMs: 1_700 });
    expect(await admin.inspect('message', 'id')).toMatchObject({ kind: 'lease', ttlMs: 1_700, ageMs: 300 });
  });
});

test('the state is told without PostgreSQL, with a warning', async () => {
  const { admin } = administering({});
  expect(await admin.state([60_000])).toMatchObject({
    windows: [{ windowMs: 60_000 }],
    backlog: undefined,
    warnings: [expect.stringMatching(/^PostgreSQL cannot be reached/)],
  });
});

test('warming that could ask Redis for nothing is no success', async () => {
  const { admin } = administering({});
  await expect(admin.warm('message', ['id'])).rejects.toEqual(expect.objectContaining({ code: 'cache_unavailable' }));
});
