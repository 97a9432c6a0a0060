/** Streams of changes: the initial state if it is asked for, then what was missed, then what happens. See ARCHITECTURE.md, watching. */
import type { Placed } from '../domain/log-place.ts';
import type { Cursor, Page, PageRequest } from '../domain/ports.ts';
import { firstHeld, MAX_HELD } from './watch-held.ts';
import { type OwnPage, POLL_INTERVAL_MS, WatchHub, type WatchHubParts } from './watch-hub.ts';
import { createPatience, RETRY_MS } from './watch-outage.ts';
import { verifyPlace, type WatchPosition } from './watch-position.ts';
import type { Interest, WatchSubscriber } from './watch-subscriber.ts';

export interface WatchRequest<Filter> {
  readonly filter: Filter;
  /** Where to begin: with what happens from now on, with all that match now, or after what an earlier stream told last. */
  readonly from: 'now' | 'initial_state' | WatchPosition;
  /** A stream that has nothing to tell says so this often, in ms. */
  readonly progressIntervalMs: number;
}

/** `progress`: nothing matched since the last item, or the initial state is complete. `position`: to go on after this item. */
export type WatchItem<Change> = { readonly position: WatchPosition } & (
  | { readonly kind: 'change'; readonly change: Change }
  | { readonly kind: 'progress'; readonly isInitialStateComplete: boolean }
);

/** What one stream asks for. */
export interface WatchQuery<Entry, Change> extends Interest<Entry, Change>, Omit<WatchRequest<unknown>, 'filter'> {
  /** The rows that match now. */
  list(page: PageRequest): Promise<Page<Change>>;
  /** Where the list goes on after this row. */
  cursorOf(change: Change): Cursor;
  /** About as much memory as it takes. */
  bytesOf(change: Change): number;
}

export interface Watch<Entry, Change> {
  /** Open streams. */
  size(): number;
  /** Ends all streams with draining. */
  close(): void;
  /**
   * Never ends by itself. Throws draining, too_many_streams, resume_token_invalid, resume_token_expired, storage_unavailable when PostgreSQL cannot be
   * reached at first or later on for half a minute, and the reason of `signal`.
   */
  stream(query: WatchQuery<Entry, Change>, signal: AbortSignal): AsyncGenerator<WatchItem<Change>>;
}

const progress = (position: WatchPosition, isInitialStateComplete: boolean) =>
  ({ kind: 'progress', isInitialStateComplete, position }) as const;

/** `maxStreams`: open at once. */
export function createWatch<Entry extends Placed, Change>(parts: WatchHubParts<Entry, Change>, maxStreams?: number): Watch<Entry, Change> {
  const { log, nowMs, wait, withoutSpans } = parts;
  const hub = new WatchHub(parts, maxStreams);

  /** Throws what the stream is to end with, as soon as that is known. */
  async function patiently<T>({ ended }: WatchSubscriber<Entry, Change>, work: () => Promise<T>): Promise<T> {
    const hasPatience = createPatience(nowMs);
    for (;;) {
      try {
        return await work();
      } catch (error) {
        if (!hasPatience(error)) throw error;
      }
      await wait(RETRY_MS, ended);
      ended.throwIfAborted();
    }
  }

  async function beginningOf(from: WatchQuery<Entry, Change>['from'], subscriber: WatchSubscriber<Entry, Change>): Promise<WatchPosition> {
    return hub.own(subscriber, async () => {
      const tail = await log.tail();
      if (typeof from === 'string') return { origin: tail.origin, place: tail.end, listed: undefined };
      return { ...from, origin: await verifyPlace(log, from.origin, from.place, tail) };
    });
  }

  /** As many of the rows that match now as may be held. */
  async function listed({ list, cursorOf, bytesOf }: WatchQuery<Entry, Change>, after: Cursor | undefined): Promise<Page<Change>> {
    const page = await list({ size: MAX_HELD, ...(after === undefined ? {} : { after }) });
    const items = firstHeld(page.items, bytesOf);
    const last = items.at(-1);
    return last === undefined || items.length === page.items.length ? page : { items, next: cursorOf(last) };
  }

  /** What changes meanwhile comes afterwards, because the place was taken before. */
  async function* initialState(
    query: WatchQuery<Entry, Change>,
    begun: WatchPosition,
    subscriber: WatchSubscriber<Entry, Change>,
  ): AsyncGenerator<WatchItem<Change>> {
    let after = begun.listed;
    do {
      const from = after;
      const page = await patiently(subscriber, () => hub.own(subscriber, () => withoutSpans(() => listed(query, from))));
      for (const change of page.items) {
        subscriber.check();
        yield { kind: 'change', change, position: { ...begun, listed: query.cursorOf(change) } };
      }
      after = page.next;
    } while (after !== undefined);
    subscriber.check();
    yield progress({ ...begun, listed: undefined }, true);
  }

  async function* changes(
    { progressIntervalMs }: WatchQuery<Entry, Change>,
    subscriber: WatchSubscriber<Entry, Change>,
    beganMs: number,
  ): AsyncGenerator<WatchItem<Change>> {
    let toldMs = beganMs;
    let reading: Promise<OwnPage<Change>> | undefined;
    const here = (): WatchPosition => ({ origin: subscriber.origin, place: subscriber.place, listed: undefined });
    for (;;) {
      subscriber.check();
      const waiting = subscriber.take();
      if (waiting !== undefined) {
        yield { kind: 'change', change: waiting.change, position: here() };
        toldMs = nowMs();
      } else if (nowMs() - toldMs >= progressIntervalMs) {
        yield progress(here(), false);
        toldMs = nowMs();
      } else if (subscriber.isLive) {
        await subscriber.arrival(toldMs + progressIntervalMs);
      } else {
        reading ??= patiently(subscriber, () => hub.readOn(subscriber));
        const page = await Promise.race([reading, subscriber.arrival(toldMs + progressIntervalMs)]);
        // It takes long, and a sign of life is due, or the stream is to end.
        if (page === undefined) continue;
        reading = undefined;
        for (const { change, place } of page.changes) {
          subscriber.check();
          subscriber.advanceTo(place, page.origin);
          yield { kind: 'change', change, position: here() };
          toldMs = nowMs();
        }
        subscriber.advanceTo(page.next, page.origin);
        const goesOn = page.moment === undefined || hub.join(subscriber, page.moment) || page.changes.length > 0;
        // Read again at once, all would be as it is.
        if (!goesOn) await wait(POLL_INTERVAL_MS, subscriber.ended);
      }
    }
  }

  return {
    size: () => hub.size,
    close: () => hub.close(),
    async *stream(query, signal) {
      const subscriber = hub.subscribe(query, signal);
      try {
        const begun = await beginningOf(query.from, subscriber);
        subscriber.advanceTo(begun.place, begun.origin);
        const isInitial = query.from === 'initial_state' || begun.listed !== undefined;
        if (isInitial) yield* initialState(query, begun, subscriber);
        // Without one, a first sign of life is due at once: the caller learns that the stream has begun, and gets a token.
        yield* changes(query, subscriber, isInitial ? nowMs() : Number.NEGATIVE_INFINITY);
      } finally {
        hub.leave(subscriber);
      }
    },
  };
}
