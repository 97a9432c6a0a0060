/** A log in memory that behaves as test/integration/change-log.test.ts shows PostgreSQL's to do, and a clock that is moved by waiting. */
import { DomainError } from '../../src/domain/errors.ts';
import { LOG_START, type LogPlace } from '../../src/domain/log-place.ts';
import type { LogMoment, LogReader } from '../../src/domain/watch-ports.ts';
import type { WatchHubParts, WatchTools } from '../../src/services/watch-hub.ts';
import { createWatch, type Watch, type WatchItem, type WatchQuery } from '../../src/services/watch-stream.ts';

export interface MemoryEntry {
  readonly place: LogPlace;
  readonly topic: string;
  readonly bytes: number;
}

export interface MemoryLog extends LogReader<MemoryEntry> {
  /** Everything, final or not. */
  readonly entries: MemoryEntry[];
  moment: LogMoment;
  /** So many have been asked for. */
  reads: number;
  isAway: boolean;
  /** What the changes of entries to come take. */
  bytes: number;
  /** What a failover has lost. */
  readonly lost: Set<bigint>;
  /** Writes an entry, final at once unless told otherwise. */
  append(topic: string, isFinal?: boolean): MemoryEntry;
  makeFinal(): void;
}

export type Turn = () => Promise<void>;

export const breathe: Turn = () => new Promise(setImmediate);

/** `turn`: what passes before a reader is answered. */
export function createMemoryLog(turn: Turn = async () => undefined): MemoryLog {
  const entries: MemoryEntry[] = [];
  let next = 1n;
  /** Frontier and position are one number here, one more than the index. */
  const final = (from: number, limit: number) =>
    entries.slice(from, Math.min(from + limit, Math.max(from, Number(log.moment.horizon) - 1)));
  async function answer<T>(read: () => T): Promise<T> {
    log.reads += 1;
    await turn();
    if (log.isAway) throw new DomainError('storage_unavailable', 'away');
    const answered = read();
    await turn();
    return answered;
  }
  const log: MemoryLog = {
    entries,
    moment: { origin: { database: '1.1', timeline: '00000001' }, horizon: 1n, begin: LOG_START },
    reads: 0,
    isAway: false,
    bytes: 1,
    lost: new Set(),
    append(topic, isFinal = true) {
      const entry = { place: { frontier: next, position: next }, topic, bytes: log.bytes };
      next += 1n;
      entries.push(entry);
      if (isFinal) log.makeFinal();
      return entry;
    },
    makeFinal() {
      log.moment = { ...log.moment, horizon: next };
    },
    tail: () => answer(() => ({ ...log.moment, end: final(0, entries.length).at(-1)?.place ?? LOG_START })),
    read: (after, limit) =>
      answer(() => {
        const page = final(Number(after.position), limit);
        return { ...log.moment, entries: page, next: page.at(-1)?.place ?? after, isFull: page.length === limit };
      }),
    has: ({ position }) => answer(() => !log.lost.has(position)),
  };
  return log;
}

export interface WatchWorld {
  readonly log: MemoryLog;
  readonly watch: Watch<MemoryEntry, MemoryEntry>;
  /** Times that a stream fell behind. */
  fallen(): number;
  nowMs(): number;
  /** So much time passes. */
  pass(ms: number): void;
}

export interface WatchWorldOptions {
  /** Passes with every answer. */
  readonly turn?: Turn;
  /** Passes with every wait, which moves the clock; `turn` unless given. */
  readonly pause?: Turn;
  readonly maxStreams?: number;
  readonly withoutSpans?: WatchTools['withoutSpans'];
}

export function createWatchWorld({
  turn = breathe,
  pause = turn,
  maxStreams,
  withoutSpans = (work) => work(),
}: WatchWorldOptions = {}): WatchWorld {
  const log = createMemoryLog(turn);
  let now = 0;
  let fallen = 0;
  const parts: WatchHubParts<MemoryEntry, MemoryEntry> = {
    log,
    async changesOf(entries) {
      await turn();
      return entries.map((entry) => ({ place: entry.place, change: entry, bytes: entry.bytes }));
    },
    nowMs: () => now,
    async wait(ms, signal) {
      const untilMs = now + ms;
      const woken = Promise.withResolvers<void>();
      signal.addEventListener('abort', () => woken.resolve(), { once: true });
      await Promise.race([pause(), woken.promise]);
      if (signal.aborted) return;
      now = Math.max(now, untilMs);
    },
    random: () => 0.5,
    withoutSpans,
    onFallenBehind: () => {
      fallen += 1;
    },
  };
  return {
    log,
    watch: createWatch(parts, maxStreams),
    fallen: () => fallen,
    nowMs: () => now,
    pass(ms) {
      now += ms;
    },
  };
}

/** All topics unless some are named. */
export function queryOf(query: Partial<WatchQuery<MemoryEntry, MemoryEntry>> = {}, topics: readonly string[] = []) {
  const isWanted = ({ topic }: MemoryEntry): boolean => topics.length === 0 || topics.includes(topic);
  return {
    from: 'now',
    progressIntervalMs: 30_000,
    wants: isWanted,
    matches: isWanted,
    list: async () => ({ items: [] }),
    cursorOf: ({ place }) => ({ key: String(place.position), id: '' }),
    bytesOf: ({ bytes }) => bytes,
    ...query,
  } satisfies WatchQuery<MemoryEntry, MemoryEntry>;
}

/** The changes among items, by the number of their place. */
export function numbersIn(items: readonly WatchItem<MemoryEntry>[]): readonly number[] {
  return items.flatMap((item) => (item.kind === 'change' ? [Number(item.change.place.position)] : []));
}

/** Resolves when the fact holds; no time passes on the world's clock for it. */
export async function until(fact: () => boolean): Promise<void> {
  for (let turns = 0; turns < 200_000; turns += 1) {
    if (fact()) return;
    await breathe();
  }
  throw new Error('it does not come true');
}

/** A caller who reads at once. */
export function follow({ watch }: WatchWorld, query: WatchQuery<MemoryEntry, MemoryEntry>) {
  const items: WatchItem<MemoryEntry>[] = [];
  const leaving = new AbortController();
  const ended = (async () => {
    for await (const item of watch.stream(query, leaving.signal)) items.push(item);
  })().catch((error: unknown) => error);
  return { items, leave: () => leaving.abort(), ended };
}

export const begun = (items: readonly WatchItem<MemoryEntry>[]) => until(() => items.length > 0);
