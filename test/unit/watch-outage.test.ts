/** Streams while the log cannot be read: what goes on, what ends, and what waits for how long. */
import { describe, expect, it } from 'vitest';
import { DomainError } from '../../src/domain/errors.ts';
import { begun, breathe, createWatchWorld, follow, numbersIn, queryOf, until } from '../support/memory-log.ts';

describe('a database that is away', () => {
  it.each([5_000, 25_000])('for %i ms interrupts nothing: streams go on without loss', async (awayMs) => {
    const world = createWatchWorld();
    const { items, leave } = follow(world, queryOf({ progressIntervalMs: 1_000 }));
    const behind = world.watch.stream(queryOf(), new AbortController().signal);
    await begun(items);
    await behind.next();
    world.log.append('a');
    await until(() => numbersIn(items).length === 1);
    world.log.isAway = true;
    world.log.append('a');
    const ms = world.nowMs();
    const next = behind.next();
    const told = items.length;
    await until(() => world.nowMs() > ms + awayMs);
    // It is alive, and says so.
    expect(items.length - told).toBeGreaterThan(awayMs / 1_000 - 3);
    expect(numbersIn(items)).toEqual([1]);
    world.log.isAway = false;
    await until(() => numbersIn(items).length === 2);
    expect((await next).value).toMatchObject({ kind: 'change' });
    leave();
    await behind.return(undefined);
  });

  it('for more than half a minute ends streams with storage_unavailable', async () => {
    const world = createWatchWorld();
    const streams = [follow(world, queryOf()), follow(world, queryOf({}, ['a']))];
    for (const { items } of streams) await begun(items);
    world.log.isAway = true;
    for (const { ended } of streams) expect(await ended).toMatchObject({ code: 'storage_unavailable' });
    expect(world.nowMs()).toBeGreaterThan(29_000);
    expect(world.nowMs()).toBeLessThan(40_000);
    expect(world.watch.size()).toBe(0);
  });

  it.each([
    ['live, after many slow pages', 5, 10_000],
    ['behind, after a slow read', 1, 40_000],
  ])('once, late, ends no stream: patience counts from the first failure. It is %s', async (_, failing, eachMs) => {
    const world = createWatchWorld();
    const { items, leave } = follow(world, queryOf());
    await begun(items);
    if (failing > 1) {
      world.log.append('a');
      // When it is told it is live.
      await until(() => numbersIn(items).length === 1);
    }
    const { read } = world.log;
    let reads = 0;
    world.log.read = async (...range) => {
      reads += 1;
      if (reads <= failing) world.pass(eachMs);
      if (reads === failing) throw new DomainError('storage_unavailable', 'away');
      return read(...range);
    };
    for (let count = world.log.entries.length; count < 1_100; count += 1) world.log.append('a');
    await until(() => numbersIn(items).length === 1_100);
    expect(reads).toBeGreaterThan(failing);
    leave();
  });

  it('refuses a new stream at once', async () => {
    const world = createWatchWorld();
    world.log.isAway = true;
    expect(await follow(world, queryOf()).ended).toMatchObject({ code: 'storage_unavailable' });
    expect(world.nowMs()).toBeLessThan(1_000);
  });

  it('and silent costs one read for each slot, not one for each caller who gave up waiting', async () => {
    const world = createWatchWorld();
    const silence = Promise.withResolvers<never>();
    let asked = 0;
    world.log.tail = () => {
      asked += 1;
      return silence.promise;
    };
    const streams = Array.from({ length: 50 }, () => follow(world, queryOf()));
    await until(() => asked === 4);
    for (const { leave, ended } of streams.slice(0, 40)) {
      leave();
      expect(await ended).toMatchObject({ name: 'AbortError' });
    }
    expect(world.watch.size()).toBe(10);
    silence.reject(new DomainError('storage_unavailable', 'no answer'));
    for (const { ended } of streams.slice(40)) expect(await ended).toMatchObject({ code: 'storage_unavailable' });
    expect(asked).toBe(4);
  });
});

describe('a stream that is behind', () => {
  const silence = () => new Promise<never>(() => undefined);
  const away = () => Promise.reject(new DomainError('storage_unavailable', 'away'));

  it.each([
    ['silent', silence],
    ['away', away],
  ])('gives signs of life while the database is %s', async (_, read) => {
    const world = createWatchWorld();
    world.log.read = read;
    const { items, leave } = follow(world, queryOf({ progressIntervalMs: 1_000 }));
    await begun(items);
    const { length } = items;
    const ms = world.nowMs();
    await until(() => items.length > length + 10);
    expect(world.nowMs() - ms).toBeLessThan(15_000);
    leave();
  });

  it.each([
    ['behind, and the database silent', silence, {}],
    ['behind, and the database away', away, {}],
    ['in its initial state, and the database silent', silence, { from: 'initial_state', list: silence }],
    ['in its initial state, and the database away', away, { from: 'initial_state', list: away }],
  ] as const)('hears at once that the server stops: it is %s', async (_, read, query) => {
    // No wait ends by itself.
    const world = createWatchWorld({ turn: breathe, pause: silence });
    world.log.read = read;
    const { ended } = follow(world, queryOf(query));
    for (let turns = 0; turns < 20; turns += 1) await breathe();
    expect(world.watch.size()).toBe(1);
    world.watch.close();
    expect(await ended).toMatchObject({ code: 'draining' });
    expect(world.watch.size()).toBe(0);
  });

  it('tries no more when its caller has ended it', async () => {
    const world = createWatchWorld();
    world.log.read = away;
    const stream = world.watch.stream(queryOf({ progressIntervalMs: 1_000 }), new AbortController().signal);
    for (let items = 0; items < 3; items += 1) await stream.next();
    let reads = 0;
    world.log.read = () => {
      reads += 1;
      return away();
    };
    await stream.return(undefined);
    for (let turns = 0; turns < 200; turns += 1) await breathe();
    expect(reads).toBe(0);
  });

  it('that resumes after a failover looks for its place in its turn, as all that come back do', async () => {
    const world = createWatchWorld();
    const { place } = world.log.append('a');
    const from = { origin: { database: '1.1', timeline: '00000000' }, place, listed: undefined };
    let asked = 0;
    world.log.has = () => {
      asked += 1;
      return silence();
    };
    const streams = Array.from({ length: 10 }, () => follow(world, queryOf({ from })));
    for (let turns = 0; turns < 100; turns += 1) await breathe();
    expect(asked).toBe(4);
    for (const { leave } of streams) leave();
  });

  it('looks no more often than the shared reader while it may not join it, because that hangs in front of a failover', async () => {
    // An answer takes a small part of the time between two looks.
    const pause = async () => {
      for (let turns = 0; turns < 50; turns += 1) await breathe();
    };
    const world = createWatchWorld({ turn: breathe, pause });
    const live = follow(world, queryOf());
    await begun(live.items);
    world.log.append('a');
    await until(() => numbersIn(live.items).length === 1);
    const { read } = world.log;
    const hanging = new Promise<never>(() => undefined);
    let own = 0;
    world.log.read = (after, limit) => {
      if (limit === 200) return hanging;
      own += 1;
      return read(after, limit);
    };
    world.log.moment = { ...world.log.moment, origin: { database: '1.1', timeline: '00000002' } };
    const behind = follow(world, queryOf());
    await begun(behind.items);
    await until(() => world.nowMs() > 10_000);
    expect(own).toBeGreaterThan(10);
    expect(own).toBeLessThan(world.nowMs() / 100 + 10);
    world.log.append('a');
    await until(() => numbersIn(behind.items).length === 1);
    for (const { leave } of [live, behind]) leave();
  });
});
