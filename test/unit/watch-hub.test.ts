/** Streams over a log in memory: what they tell whatever comes in between, and what they cost. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { describe, expect, it } from 'vitest';
import type { WatchPosition } from '../../src/services/watch-position.ts';
import { begun, breathe, createWatchWorld, follow, numbersIn, queryOf, until, type WatchWorld } from '../support/memory-log.ts';
import { between, pick, type Random, seededRandom } from '../support/seeded-random.ts';

describe('a stream', () => {
  it('costs nothing while there is none, and as much as one when there are many', async () => {
    const world = createWatchWorld();
    const rate = async () => {
      const [reads, ms] = [world.log.reads, world.nowMs()];
      await until(() => world.nowMs() > ms + 10_000);
      return (world.log.reads - reads) / ((world.nowMs() - ms) / 1_000);
    };
    const one = follow(world, queryOf());
    await begun(one.items);
    const alone = await rate();
    expect(alone).toBeGreaterThan(2);
    const others = Array.from({ length: 200 }, () => follow(world, queryOf()));
    for (const { items } of others) await begun(items);
    // Each looks by itself until it has come to where the others are.
    await rate();
    expect(await rate()).toBeLessThan(alone * 1.2);
    for (const { leave, ended } of [one, ...others]) {
      leave();
      await ended;
    }
    expect(world.watch.size()).toBe(0);
    const { reads } = world.log;
    for (let turns = 0; turns < 1_000; turns += 1) await breathe();
    expect(world.log.reads).toBeLessThanOrEqual(reads + 1);
  });

  it("is pushed to by a reader that runs in nobody's name, or its statements would be in the trace of whoever came first", async () => {
    const callers = new AsyncLocalStorage<string>();
    const world = createWatchWorld();
    const readers: (string | undefined)[] = [];
    const { read } = world.log;
    world.log.read = (...range) => {
      readers.push(callers.getStore());
      return read(...range);
    };
    const { items, leave } = callers.run('a call', () => follow(world, queryOf()));
    await begun(items);
    world.log.append('a');
    await until(() => readers.length > 10);
    // What it read by itself was its own.
    expect(readers.slice(0, 1)).toEqual(['a call']);
    expect(new Set(readers.slice(5))).toEqual(new Set([undefined]));
    leave();
  });

  it('reads its pages without spans: a trace of all that it catches up with would have no end', async () => {
    const [callers, quiet] = [new AsyncLocalStorage<string>(), new AsyncLocalStorage<boolean>()];
    const world = createWatchWorld({ withoutSpans: (work) => quiet.run(true, work) });
    const pages: (boolean | undefined)[] = [];
    const note = () => {
      if (callers.getStore() === 'a call') pages.push(quiet.getStore());
    };
    const { read } = world.log;
    world.log.read = (...range) => {
      note();
      return read(...range);
    };
    const list = async () => {
      note();
      return { items: [] };
    };
    const { items, leave } = callers.run('a call', () => follow(world, queryOf({ from: 'initial_state', list })));
    await begun(items);
    world.log.append('a');
    await until(() => numbersIn(items).length === 1);
    expect(pages.length).toBeGreaterThan(1);
    expect(new Set(pages)).toEqual(new Set([true]));
    leave();
  });

  it('is over when its caller leaves while it is written to, though nobody asks for more', async () => {
    const world = createWatchWorld();
    const leaving = new AbortController();
    const stream = world.watch.stream(queryOf(), leaving.signal);
    await stream.next();
    expect(world.watch.size()).toBe(1);
    leaving.abort();
    expect(world.watch.size()).toBe(0);
    await expect(stream.next()).rejects.toBe(leaving.signal.reason);
  });

  it('that nobody reads holds a thousand changes, then none, and tells all of them when it is read', async () => {
    const world = createWatchWorld();
    const quick = follow(world, queryOf());
    const slow = world.watch.stream(queryOf(), new AbortController().signal);
    await slow.next();
    // Waits for one, so that it is live, and does not come back for more.
    const next = slow.next();
    for (let turns = 0; turns < 100; turns += 1) await breathe();
    world.log.append('a');
    const told = [await next];
    for (let count = 0; count < 1_500; count += 1) world.log.append('a');
    await until(() => numbersIn(quick.items).length === 1_501);
    expect(world.fallen()).toBe(1);
    while (told.length < 1_501) told.push(await slow.next());
    const numbers = numbersIn(told.flatMap(({ value }) => (value === undefined ? [] : [value])));
    expect(numbers).toEqual(Array.from({ length: 1_501 }, (_, index) => index + 1));
    // It has come to where the others are.
    world.log.append('a');
    const [{ value }] = [await slow.next()];
    expect(numbersIn(value === undefined ? [] : [value])).toEqual([1_502]);
    expect(world.fallen()).toBe(1);
    quick.leave();
    await slow.return(undefined);
  });

  it('gives a sign of life at once and then at its interval, with the place of what it was not told', async () => {
    const world = createWatchWorld();
    const { items, leave } = follow(world, queryOf({ progressIntervalMs: 10_000 }, ['a']));
    await begun(items);
    expect(items[0]).toMatchObject({ kind: 'progress', isInitialStateComplete: false });
    for (let count = 0; count < 5; count += 1) world.log.append('b');
    const ms = world.nowMs();
    await until(() => items.length === 2);
    expect(world.nowMs() - ms).toBeGreaterThan(9_000);
    expect(world.nowMs() - ms).toBeLessThan(11_000);
    expect(items[1]).toMatchObject({ kind: 'progress', position: { place: { position: 5n } } });
    leave();
  });

  it('ends with draining when the server stops, and so does one that comes later', async () => {
    const world = createWatchWorld();
    const streams = [follow(world, queryOf()), follow(world, queryOf({}, ['a']))];
    for (const { items } of streams) await begun(items);
    world.watch.close();
    for (const { ended } of [...streams, follow(world, queryOf())]) expect(await ended).toMatchObject({ code: 'draining' });
    expect(world.watch.size()).toBe(0);
  });
});

describe('a resumed stream', () => {
  async function positions(world: WatchWorld, count: number): Promise<readonly WatchPosition[]> {
    const { items, leave } = follow(world, queryOf());
    await begun(items);
    for (let index = 0; index < count; index += 1) world.log.append('a');
    await until(() => numbersIn(items).length === count);
    leave();
    return items.flatMap((item) => (item.kind === 'change' ? [item.position] : []));
  }

  it('tells exactly the rest', async () => {
    const world = createWatchWorld();
    for (const [index, from] of (await positions(world, 8)).entries()) {
      const { items, leave } = follow(world, queryOf({ from }));
      await until(() => numbersIn(items).length === 7 - index && items.length > 0);
      expect(numbersIn(items)).toEqual(Array.from({ length: 7 - index }, (_, more) => index + 2 + more));
      leave();
    }
  });

  const moved = { origin: { database: '1.1', timeline: '00000002' } };
  it.each([
    ['from another database', { origin: { database: '2.1', timeline: '00000001' } }, [], 'resume_token_invalid'],
    ['from the future', { horizon: 2n }, [], 'resume_token_invalid'],
    ['that is older than what is kept', { begin: { frontier: 3n, position: 3n } }, [], 'resume_token_expired'],
    ['from before a failover that lost it', moved, [2n], 'resume_token_expired'],
  ] as const)('is refused with a place %s', async (_, change, lost, code) => {
    const world = createWatchWorld();
    const from = (await positions(world, 4))[1];
    if (from === undefined) throw new Error('there are four');
    world.log.moment = { ...world.log.moment, ...change };
    for (const position of lost) world.log.lost.add(position);
    expect(await follow(world, queryOf({ from })).ended).toMatchObject({ code });
  });

  it.each([
    ['goes on after a failover that kept its place', false],
    ['ends with one that lost it', true],
  ])('%s', async (_, isLost) => {
    const world = createWatchWorld();
    const { items, ended, leave } = follow(world, queryOf());
    await begun(items);
    world.log.append('a');
    await until(() => numbersIn(items).length === 1);
    if (isLost) world.log.lost.add(1n);
    world.log.moment = { ...world.log.moment, ...moved };
    world.log.append('a');
    if (isLost) expect(await ended).toMatchObject({ code: 'resume_token_expired' });
    else await until(() => numbersIn(items).length === 2);
    leave();
  });

  it('gives tokens of the new timeline for what is told after a failover that it outlasts', async () => {
    const world = createWatchWorld();
    const { items, leave } = follow(world, queryOf({ progressIntervalMs: 1_000 }));
    await begun(items);
    const told = async () => {
      const { length } = world.log.entries;
      world.log.append('a');
      await until(() => numbersIn(items).length > length);
      return items.at(-1)?.position.origin.timeline;
    };
    expect(await told()).toBe('00000001');
    world.log.moment = { ...world.log.moment, ...moved };
    expect(await told()).toBe('00000002');
    const { length } = items;
    await until(() => items.length > length);
    expect(items.at(-1)).toMatchObject({ kind: 'progress', position: { origin: moved.origin, place: { position: 2n } } });
    leave();
  });
});

describe('in any order of events', () => {
  /** A caller who reads in fits and starts, is cut off now and then, and goes on from the last item. */
  async function caller(world: WatchWorld, random: Random, topics: readonly string[], isLast: () => boolean): Promise<void> {
    const told: number[] = [];
    let from: 'now' | WatchPosition = 'now';
    let start: bigint | undefined;
    const { matches } = queryOf({}, topics);
    const due = () => world.log.entries.filter((entry) => entry.place.position > (start ?? 0n) && matches(entry));
    let last: number | undefined;
    const isDone = (): boolean => {
      if (!isLast()) return false;
      last ??= due().length;
      return told.length >= last;
    };
    while (!isDone()) {
      const leaving = new AbortController();
      const cut = between(random, 1, 60);
      let items = 0;
      try {
        for await (const item of world.watch.stream(queryOf({ from, progressIntervalMs: 500 }, topics), leaving.signal)) {
          from = item.position;
          start ??= item.position.place.position;
          told.push(...numbersIn([item]));
          items += 1;
          if (random() < 0.2) for (let turns = between(random, 1, 80); turns > 0; turns -= 1) await breathe();
          if (isDone()) break;
          if (items === cut) leaving.abort();
        }
      } catch (error) {
        if (error !== leaving.signal.reason) throw error;
      }
    }
    expect(told).toEqual(due().map(({ place }) => Number(place.position)));
  }

  it.each(Array.from({ length: 30 }, (_, seed) => seed + 1))('every caller is told everything once and in order, seed %i', async (seed) => {
    const random = seededRandom(seed);
    const turns = (most: number) => async () => {
      for (let left = between(random, 0, most); left > 0; left -= 1) await breathe();
    };
    const world = createWatchWorld({ turn: turns(6), pause: turns(pick(random, [6, 60])) });
    let isLast = false;
    // What nobody who is live asks for is not even loaded, so who asks for what matters.
    const interests = pick(random, [
      [['a'], ['b']],
      [['a'], ['b'], ['c', 'd']],
      [[], ['a'], ['b', 'c'], ['a'], [], ['d'], ['b'], []],
    ]);
    const callers = interests.map((topics) => caller(world, random, topics, () => isLast));
    for (let round = 0; round < 120; round += 1) {
      for (let count = random() < 0.05 ? 400 : between(random, 0, 3); count > 0; count -= 1) {
        world.log.append(pick(random, ['a', 'b', 'c', 'd']), random() < 0.5);
      }
      await turns(10)();
    }
    world.log.makeFinal();
    isLast = true;
    await Promise.all(callers);
    expect(world.watch.size()).toBe(0);
  });
});
