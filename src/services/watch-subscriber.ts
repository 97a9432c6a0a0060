import { isAfter, LOG_START, type LogPlace, latestOf, type Placed } from '../domain/log-place.ts';
import type { LogOrigin } from '../domain/watch-ports.ts';

/** A change with its place in the log. Subscribers share it. */
export interface Logged<Change> extends Placed {
  readonly change: Change;
  /** About as much memory as it takes. */
  readonly bytes: number;
}

/** What a stream asks for. */
export interface Interest<Entry, Change> {
  /** Of an entry of the log, before its row has been read. */
  wants(entry: Entry): boolean;
  matches(change: Change): boolean;
}

/** Where the hub is. */
export interface HubPosition {
  readonly place: LogPlace;
  readonly origin: LogOrigin;
}

/** Of a stream that has not begun. */
const NOWHERE: LogOrigin = { database: '', timeline: '' };
/** What waits for a caller who is slower than the changes; with more than that its stream reads the log by itself. */
const MAX_WAITING = 1_000;
const MAX_WAITING_BYTES = 4 * 1_024 * 1_024;

/** One stream as the hub sees it: either live, then changes are pushed to it, or behind, then it reads the log by itself. */
export class WatchSubscriber<Entry, Change> {
  readonly interest: Interest<Entry, Change>;
  #place: LogPlace = LOG_START;
  #origin = NOWHERE;
  /** undefined while behind. */
  #live: (() => HubPosition | undefined) | undefined;
  #waiting: Logged<Change>[] = [];
  #waitingBytes = 0;
  readonly #ending = new AbortController();
  #wake: (() => void) | undefined;
  #dueMs = Number.POSITIVE_INFINITY;

  constructor(interest: Interest<Entry, Change>) {
    this.interest = interest;
  }

  /** All up to here has been handed out or was not asked for. */
  get place(): LogPlace {
    const live = this.#isDrained() ? this.#live?.() : undefined;
    return live === undefined ? this.#place : latestOf(this.#place, live.place);
  }

  /** Whose log `place` was last found in. While live that is the hub's: it may have gone on after a failover. */
  get origin(): LogOrigin {
    return this.#live?.()?.origin ?? this.#origin;
  }

  get isLive(): boolean {
    return this.#live !== undefined;
  }

  /** Aborted with what the stream is to end with. */
  get ended(): AbortSignal {
    return this.#ending.signal;
  }

  /** Throws what the stream is to end with. */
  check(): void {
    this.ended.throwIfAborted();
  }

  /** For a stream that reads by itself. */
  advanceTo(place: LogPlace, origin: LogOrigin): void {
    this.#place = place;
    this.#origin = origin;
  }

  goLive(hub: () => HubPosition | undefined): void {
    this.#live = hub;
  }

  /** Drops what waits: it will be read again. */
  fallBehind(): void {
    this.#place = this.place;
    this.#origin = this.origin;
    this.#live = undefined;
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#rouse();
  }

  /** Returns false when more waits than may. `hubPlace`: where the hub was before these changes. */
  push(changes: readonly Logged<Change>[], hubPlace: LogPlace): boolean {
    if (this.#isDrained()) this.#place = latestOf(this.#place, hubPlace);
    for (const logged of changes) {
      // A stream that has read by itself may be ahead of the hub.
      if (!isAfter(logged.place, this.#place) || !this.interest.matches(logged.change)) continue;
      if (this.#waiting.length >= MAX_WAITING || this.#waitingBytes >= MAX_WAITING_BYTES) return false;
      this.#waiting.push(logged);
      this.#waitingBytes += logged.bytes;
    }
    if (!this.#isDrained()) this.#rouse();
    return true;
  }

  /** The next change; undefined when none waits. */
  take(): Logged<Change> | undefined {
    const logged = this.#waiting.shift();
    if (logged === undefined) return undefined;
    this.#waitingBytes -= logged.bytes;
    this.#place = logged.place;
    return logged;
  }

  /** Resolves when something has come, the stream has fallen behind or failed, or it is `dueMs` on the hub's clock. */
  async arrival(dueMs: number): Promise<void> {
    if (!this.#isDrained() || this.ended.aborted) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    this.#dueMs = dueMs;
    await promise;
  }

  tick(nowMs: number): void {
    if (nowMs >= this.#dueMs) this.#rouse();
  }

  fail(error: unknown): void {
    this.#ending.abort(error);
    this.#rouse();
  }

  #isDrained(): boolean {
    return this.#waiting.length === 0;
  }

  #rouse(): void {
    this.#dueMs = Number.POSITIVE_INFINITY;
    this.#wake?.();
    this.#wake = undefined;
  }
}
