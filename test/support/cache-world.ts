/** Processes of the real cache code over one PostgreSQL and one Redis in memory, and a look at what they promise. */
import { createBreaker } from '../../src/cache/breaker.ts';
import type { CellCommands } from '../../src/cache/cell-commands.ts';
import { cellKeys } from '../../src/cache/keys.ts';
import { relayPass } from '../../src/cache/relay.ts';
import { createCacheStatistics } from '../../src/cache/statistics.ts';
import { type Cached, type CacheOptions, withCache } from '../../src/cache/with-cache.ts';
import type { Store } from '../../src/domain/ports.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createMetrics } from '../../src/telemetry/metrics.ts';
import { createMemoryDatabase } from './memory-database.ts';
import { createMemoryRedis, type MemoryRedis, type Pause } from './memory-redis.ts';
import { conversationFields } from './message-fields.ts';

export type Action =
  | 'read'
  | 'read batch'
  | 'write'
  /** The process ends between COMMIT and settle. */
  | 'write and die'
  | 'update outside'
  | 'delete outside'
  | 'insert outside'
  | 'relay'
  /** Or the end of a cell's life. */
  | 'evict'
  /** The next command gets lost before it has its effect, or its answer after it. */
  | 'lose command'
  | 'lose answer'
  /** The same, of the next question of a reader. */
  | 'lose get'
  /** Redis begins again with the cells it had at the start of the run. */
  | 'restart';

export interface CacheWorld {
  /** Rejects when an answer breaks the promise. */
  act(action: Action, process: number): Promise<void>;
  /** Lets everything end that nobody waits for, then relays what was committed. */
  rest(): Promise<void>;
  /** What is wrong then: a cached value that is not the row. */
  wrongAtRest(): string | undefined;
}

export interface CacheWorldOptions {
  readonly pause?: Pause;
  /** In place of the commands of a sound Redis, over its cells. */
  readonly broken?: (sound: CellCommands, redis: MemoryRedis) => Partial<CellCommands>;
  readonly options?: Partial<CacheOptions>;
  /**
   * `linearizable`: no read misses what was acknowledged, or returned by another read, before it began. `acknowledged`: the first half.
   * `relayed`: no read misses what was committed before a pass of the relay that ended before it. `none`: only the rest state counts.
   */
  readonly promise: 'linearizable' | 'acknowledged' | 'relayed' | 'none';
}

const ROW_ID = '01900000-0000-7000-8000-00000000000a';
const ROW_KEY = `conversation:${ROW_ID}`;

const cacheOptions: CacheOptions = {
  ttlMs: 300_000,
  terminalTtlMs: 300_000,
  inFlightTtlMs: 300_000,
  negativeTtlMs: 30_000,
  doorkeeperMs: 0,
  refreshBeta: 0,
  compressFromBytes: 4_096,
  maxValueBytes: 262_144,
  localBytes: 1_048_576,
  writeThrough: true,
  loadConcurrency: 2,
  verifyRatio: 0,
};

const log = createLog({ level: 'silent' });
const metrics = createMetrics();

/** How many writes the row has seen is its title, so that an answer tells its age. */
const countOf = (title: string): number => Number(title || 0);

/** The row is there, and the cache is trusted. */
export async function createCacheWorld({
  pause = async () => undefined,
  broken,
  promise,
  options,
}: CacheWorldOptions): Promise<CacheWorld> {
  let scheduled = false;
  const step: Pause = async (label) => void (scheduled && (await pause(label)));
  const redis = createMemoryRedis(step);
  const database = createMemoryDatabase(step);
  const { connection } = redis;
  const losses: ('command' | 'answer')[] = [];
  let lostGets = 0;

  const mayGetLost = <Parameters extends readonly unknown[], Reply>(command: (...parameters: Parameters) => Promise<Reply>) => {
    return async (...parameters: Parameters): Promise<Reply> => {
      const lost = losses.shift();
      if (lost === 'command') throw new Error('Command timed out');
      const reply = await command(...parameters);
      if (lost === 'answer') throw new Error('Command timed out');
      return reply;
    };
  };
  const sound = connection.commands;
  const wanted = { ...sound, ...broken?.(sound, redis) };
  const get = mayGetLost(async (key: string) => {
    if (lostGets === 0) return wanted.get(key);
    lostGets -= 1;
    throw new Error('Command timed out');
  });
  const commands = {
    ...wanted,
    get,
    // There is one row.
    getMany: async (keys: readonly string[]) => Promise.all(keys.map(get)),
    lease: mayGetLost(wanted.lease),
    fill: mayGetLost(wanted.fill),
    mark: mayGetLost(wanted.mark),
    settle: mayGetLost(wanted.settle),
    bump: mayGetLost(wanted.bump),
  };

  let clockMs = 0;
  let tokens = 0;
  const nowMs = (): number => {
    clockMs += 10;
    return clockMs;
  };
  const openProcess = (store: Store): Cached =>
    withCache(
      { reads: database.reads, store },
      { ...cacheOptions, ...options },
      {
        commands,
        keys: cellKeys(''),
        trust: {
          ticket: () => (redis.isTrusted() ? connection.generation() : undefined),
          holds: (ticket) => ticket === connection.generation(),
        },
        breaker: createBreaker({ failuresToOpen: 1_000, pauseMs: 1_000, nowMs, onChange: () => undefined }),
        statistics: createCacheStatistics(metrics, nowMs),
        afterTurn: queueMicrotask,
        newToken() {
          tokens += 1;
          return `token-${tokens}`;
        },
        random: () => 0.5,
        nowMs,
        unixNowMs: () => 1_764_000_000_000,
        wait: async () => void (await step('wait')),
        metrics,
        log,
      },
    );
  const processes = [openProcess(database.store), openProcess(database.store)] as const;

  /** No read that begins now may return less. */
  let floor = 0;
  const raise = (to: number): void => {
    floor = Math.max(floor, to);
  };

  async function check(look: () => Promise<string | undefined>): Promise<void> {
    const atLeast = floor;
    const title = await look();
    if (promise === 'none') return;
    if (title === undefined) throw new Error('a read did not find the row');
    if (countOf(title) < atLeast) throw new Error(`a read that began after ${atLeast} returned ${countOf(title)}`);
    if (promise === 'linearizable') raise(countOf(title));
  }

  async function increment(store: Store): Promise<number> {
    return store.transaction(async (tx) => {
      const row = await tx.lockConversation(ROW_ID);
      if (row === undefined) return 0;
      row.title = String(countOf(row.title) + 1);
      return Number(row.title);
    });
  }

  /** Ends when its transaction is committed; what comes after COMMIT never happens. */
  async function incrementAndDie(): Promise<void> {
    const died = Promise.withResolvers<void>();
    const mortal: Store = {
      transaction: (work, aroundCommit) =>
        database.store.transaction(work, async (changed, tx) => {
          await aroundCommit?.(changed, tx);
          return () => {
            died.resolve();
            return new Promise(() => undefined);
          };
        }),
    };
    await Promise.race([died.promise, increment(openProcess(mortal).store)]);
  }

  let relaying = false;
  let knownRunIds: string | undefined;
  async function relay(): Promise<void> {
    if (relaying) return;
    relaying = true;
    const committed = countOf(database.find(ROW_ID)?.title ?? '');
    const lease = await database.outbox.tryLease();
    try {
      if (lease === undefined) return;
      const parts = { outbox: database.outbox, connection: { ...connection, commands }, keys: cellKeys(''), metrics, log };
      knownRunIds = await relayPass(lease, { ...parts, wait: async () => undefined, random: () => 0 }, knownRunIds);
      if (promise !== 'none') raise(committed);
    } catch {
      // Redis was lost; another pass will do.
      knownRunIds = undefined;
    } finally {
      await lease?.[Symbol.asyncDispose]();
      relaying = false;
    }
  }

  const actions: Record<Action, (process: Cached) => Promise<void>> = {
    read: ({ reads }) => check(async () => (await reads.findConversation(ROW_ID)).value?.title),
    'read batch': ({ reads }) => check(async () => (await reads.findConversations([ROW_ID])).value.get(ROW_ID)?.title),
    async write({ store }) {
      const written = await increment(store);
      if (promise === 'linearizable' || promise === 'acknowledged') raise(written);
    },
    'write and die': incrementAndDie,
    async 'update outside'() {
      await increment(database.store);
    },
    'delete outside': () =>
      database.store.transaction(async (tx) => {
        const row = await tx.lockConversation(ROW_ID);
        if (row !== undefined) await tx.deleteConversation(row);
      }),
    'insert outside': () =>
      database.store.transaction(async (tx) => {
        if (database.find(ROW_ID) === undefined) tx.addConversation(conversationFields({ id: ROW_ID, title: '' }));
      }),
    relay,
    async evict() {
      redis.cells.delete(ROW_KEY);
    },
    'lose command': async () => void losses.push('command'),
    'lose answer': async () => void losses.push('answer'),
    async 'lose get'() {
      lostGets += 1;
    },
    restart: async () => redis.restart(atStart),
  };

  await actions['insert outside'](processes[0]);
  await relay();
  await processes[0].reads.findConversation(ROW_ID);
  await processes[0][Symbol.asyncDispose]();
  const atStart = new Map(redis.cells);
  scheduled = true;

  return {
    act: (action, process) => actions[action](processes[process % 2 === 0 ? 0 : 1]),
    async rest() {
      await Promise.all(processes.map((process) => process[Symbol.asyncDispose]()));
      losses.length = 0;
      scheduled = false;
      await relay();
    },
    wrongAtRest() {
      const cell = redis.cells.get(ROW_KEY);
      const row = database.find(ROW_ID);
      // Marks and leases hide the row until they end.
      if (cell === undefined || /^[WL]:/.test(cell)) return undefined;
      if (cell.startsWith('N:')) return row === undefined ? undefined : 'the row is cached as missing';
      if (row === undefined) return 'a value is cached of a row that is gone';
      const [, version, payload = '{}'] = /^V:(\d+):[^:]+:(.*)$/.exec(cell) ?? [];
      const { title = '' } = JSON.parse(payload) as { readonly title?: string };
      return `v${version}` === row.etag && title === row.title
        ? undefined
        : `v${version} (${title}) is cached of ${row.etag} (${row.title})`;
    },
  };
}
