/**
 * What all streams of one kind in this process share: one reader at the tail of the log while there is somebody to read for, and a
 * limit to the reads of those who are not there yet. See ARCHITECTURE.md, watching.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { DomainError } from '../domain/errors.ts';
import { isAfter, type LogPlace, type Placed } from '../domain/log-place.ts';
import type { LogMoment, LogOrigin, LogReader } from '../domain/watch-ports.ts';
import { createSlots } from './slots.ts';
import { firstHeld, MAX_HELD } from './watch-held.ts';
import { createPatience, isAway, RETRY_MS } from './watch-outage.ts';
import { verifyPlace } from './watch-position.ts';
import { type HubPosition, type Interest, type Logged, WatchSubscriber } from './watch-subscriber.ts';

export interface WatchTools {
  /** Monotonic, in ms. */
  readonly nowMs: () => number;
  /** Resolves after `ms`, or at once when the signal is aborted. */
  readonly wait: (ms: number, signal: AbortSignal) => Promise<void>;
  readonly random: () => number;
  /** Runs what is done so often in one stream that its trace could not be read, or stored. */
  readonly withoutSpans: <T>(work: () => T) => T;
  /** A caller does not keep up: from now on its stream reads the log by itself. */
  readonly onFallenBehind: () => void;
}

export interface WatchHubParts<Entry, Change> extends WatchTools {
  readonly log: LogReader<Entry>;
  /** In the order of the entries, without those whose row is gone. */
  readonly changesOf: (entries: readonly Entry[]) => Promise<readonly Logged<Change>[]>;
}

/** What a stream that is behind has read by itself. */
export interface OwnPage<Change> {
  /** Those that it asked for. */
  readonly changes: readonly Logged<Change>[];
  readonly next: LogPlace;
  /** Nothing that is final was left when it was read. */
  readonly moment: LogMoment | undefined;
  readonly origin: LogOrigin;
}

/** Between two looks at the log, give or take a quarter, so that processes do not ask in step. */
export const POLL_INTERVAL_MS = 100;
/** Of the shared reader. */
const TAIL_ROWS = 200;
/** Of a stream by itself: entries, which are small. It loads the rows of MAX_HELD at most. */
const OWN_ROWS = 100;
/** Of each kind in one process: each may hold what its caller does not read. */
const MAX_STREAMS = 10_000;
/** After a restart all streams come back at once, and the database has other work too. */
const OWN_READS_AT_ONCE = 4;

const draining = () => new DomainError('draining', 'this server is shutting down; resume with another one');

function tooManyStreams(limit: number): DomainError {
  return new DomainError('too_many_streams', `${limit} watches are open here; call another server`, { metadata: { limit: String(limit) } });
}

/** Where the shared reader is. */
interface Tail extends HubPosition {
  /** Everything up to `place` has been pushed to all that are live, nothing at or behind this has. */
  readonly horizon: bigint;
}

export class WatchHub<Entry extends Placed, Change> {
  readonly #parts: WatchHubParts<Entry, Change>;
  readonly #maxStreams: number;
  readonly #all = new Set<WatchSubscriber<Entry, Change>>();
  readonly #live = new Set<WatchSubscriber<Entry, Change>>();
  /** Those that have become live since the page that is being worked on was read. */
  readonly #fresh = new Set<WatchSubscriber<Entry, Change>>();
  readonly #slots = createSlots(OWN_READS_AT_ONCE, isAway);
  readonly #closing = new AbortController();
  /** The shared reader belongs to no call: its spans must not end up in the trace of whoever came first. */
  readonly #apart = AsyncLocalStorage.snapshot();
  /** undefined while nobody is live. */
  #tail: Tail | undefined;
  #isRunning = false;
  #polling: Promise<void> | undefined;

  constructor(parts: WatchHubParts<Entry, Change>, maxStreams = MAX_STREAMS) {
    this.#parts = parts;
    this.#maxStreams = maxStreams;
  }

  /** Open streams. */
  get size(): number {
    return this.#all.size;
  }

  /** Ends every stream, those to come included. */
  close(): void {
    this.#closing.abort();
    for (const subscriber of this.#all) subscriber.fail(draining());
  }

  /**
   * Until `leave`, or `signal`: a caller who goes away while it is being written to never asks for more. Throws draining,
   * too_many_streams.
   */
  subscribe(interest: Interest<Entry, Change>, signal: AbortSignal): WatchSubscriber<Entry, Change> {
    if (this.#closing.signal.aborted) throw draining();
    signal.throwIfAborted();
    if (this.#all.size >= this.#maxStreams) throw tooManyStreams(this.#maxStreams);
    const subscriber = new WatchSubscriber(interest);
    this.#all.add(subscriber);
    signal.addEventListener('abort', () => {
      subscriber.fail(signal.reason);
      this.leave(subscriber);
    });
    if (!this.#isRunning) this.#apart(() => void this.#run());
    return subscriber;
  }

  leave(subscriber: WatchSubscriber<Entry, Change>): void {
    // What it still reads for itself is for nobody.
    subscriber.fail(new Error('the stream is over'));
    this.#all.delete(subscriber);
    this.#putBehind(subscriber);
  }

  /** For everything that a stream reads by itself. Throws what the stream is to end with, storage_unavailable in an outage. */
  async own<T>({ ended }: WatchSubscriber<Entry, Change>, work: () => Promise<T>): Promise<T> {
    return this.#slots(work, ended);
  }

  /** Reads on for a stream that is behind. Throws as verifyPlace and `own` do. */
  async readOn(subscriber: WatchSubscriber<Entry, Change>): Promise<OwnPage<Change>> {
    return this.own(subscriber, () => this.#parts.withoutSpans(() => this.#ownPage(subscriber)));
  }

  async #ownPage({ interest, place, origin }: WatchSubscriber<Entry, Change>): Promise<OwnPage<Change>> {
    const page = await this.#parts.log.read(place, OWN_ROWS);
    const verified = await verifyPlace(this.#parts.log, origin, place, page);
    const wanted = page.entries.filter((entry) => interest.wants(entry));
    const loaded = wanted.slice(0, MAX_HELD);
    const matching = (await this.#changesOf(loaded)).filter(({ change }) => interest.matches(change));
    const changes = firstHeld(matching, ({ bytes }) => bytes);
    // Where it stops before the end of the page.
    const stop = changes.length < matching.length ? changes.at(-1) : loaded.length < wanted.length ? loaded.at(-1) : undefined;
    const { origin: now, horizon, begin } = page;
    const moment = page.isFull || stop !== undefined ? undefined : { origin: now, horizon, begin };
    return { changes, next: stop?.place ?? page.next, moment, origin: verified };
  }

  /**
   * Makes a stream live that has handed out all that was final at `moment`. Returns false when the shared reader has pushed more than that,
   * or has not gone on after the same failover.
   */
  join(subscriber: WatchSubscriber<Entry, Change>, { horizon, origin }: LogMoment): boolean {
    const tail = this.#tail ?? { place: subscriber.place, horizon, origin };
    const isBehind = horizon < tail.horizon || origin.timeline !== tail.origin.timeline;
    if (isBehind || !this.#all.has(subscriber)) return false;
    this.#tail = tail;
    this.#live.add(subscriber);
    this.#fresh.add(subscriber);
    subscriber.goLive(() => this.#tail);
    return true;
  }

  #putBehind(subscriber: WatchSubscriber<Entry, Change>): void {
    subscriber.fallBehind();
    this.#live.delete(subscriber);
    this.#fresh.delete(subscriber);
    if (this.#live.size === 0) this.#tail = undefined;
  }

  async #changesOf(entries: readonly Entry[]): Promise<readonly Logged<Change>[]> {
    return entries.length === 0 ? [] : this.#parts.changesOf(entries);
  }

  async #run(): Promise<void> {
    const { nowMs, wait, random } = this.#parts;
    const { signal } = this.#closing;
    this.#isRunning = true;
    while (this.#all.size > 0 && !signal.aborted) {
      // Not waited for: streams give their signs of life also while the database does not answer.
      this.#polling ??= this.#poll().finally(() => {
        this.#polling = undefined;
      });
      await wait(POLL_INTERVAL_MS * (0.75 + random() / 2), signal);
      const now = nowMs();
      for (const subscriber of this.#all) subscriber.tick(now);
    }
    this.#isRunning = false;
  }

  async #poll(): Promise<void> {
    const { nowMs, wait } = this.#parts;
    const { signal } = this.#closing;
    let hasPatience = createPatience(nowMs);
    while (!signal.aborted) {
      try {
        const isMore = await this.#pass();
        if (!isMore) return;
        hasPatience = createPatience(nowMs);
      } catch (error) {
        if (!hasPatience(error)) {
          for (const subscriber of [...this.#live]) {
            subscriber.fail(error);
            this.leave(subscriber);
          }
          return;
        }
        await wait(RETRY_MS, signal);
      }
    }
  }

  /** Reads one page and pushes it. Returns whether there may be more. */
  async #pass(): Promise<boolean> {
    const tail = this.#tail;
    if (tail === undefined) return false;
    this.#fresh.clear();
    const { log, onFallenBehind } = this.#parts;
    const page = await log.read(tail.place, TAIL_ROWS);
    const origin = await verifyPlace(log, tail.origin, tail.place, page);
    const isWanted = (entry: Entry): boolean => {
      for (const { interest } of this.#live) if (interest.wants(entry)) return true;
      return false;
    };
    const changes = await this.#changesOf(page.entries.filter(isWanted));
    // All have left meanwhile, and maybe others have come.
    if (this.#tail !== tail) return false;
    for (const subscriber of this.#live) {
      if (this.#fresh.has(subscriber)) {
        // What it wants of this page may not be among the changes.
        if (page.entries.some(({ place }) => isAfter(place, subscriber.place))) this.#putBehind(subscriber);
      } else if (!subscriber.push(changes, tail.place)) {
        this.#putBehind(subscriber);
        onFallenBehind();
      }
    }
    if (this.#live.size > 0) this.#tail = { place: page.next, horizon: page.horizon, origin };
    return page.isFull;
  }
}
