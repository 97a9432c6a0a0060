/** What streams hold for callers who do not read, and how many there may be. */
import { create } from '@bufbuild/protobuf';
import { describe, expect, it } from 'vitest';
import { ConversationSchema } from '../../gen/messaging/v1/conversation_pb.js';
import type { PageRequest } from '../../src/domain/ports.ts';
import { createWatchConversations } from '../../src/services/watch-conversations.ts';
import { breathe, createMemoryLog, createWatchWorld, follow, numbersIn, queryOf, until, type WatchWorld } from '../support/memory-log.ts';

const MIB = 1_024 * 1_024;
const numbers = (count: number) => Array.from({ length: count }, (_, index) => index + 1);

/** A caller who is told that its stream has begun, and reads no more. */
async function slow({ watch }: WatchWorld, query = queryOf()) {
  const stream = watch.stream(query, new AbortController().signal);
  await stream.next();
  return {
    async take(count: number) {
      const told: number[] = [];
      while (told.length < count) {
        const { value } = await stream.next();
        if (value !== undefined) told.push(...numbersIn([value]));
      }
      return told;
    },
    leave: () => stream.return(undefined),
  };
}

describe('a stream whose caller does not read', () => {
  it('holds 4 MiB of what is pushed to it, and one change more, then reads by itself', async () => {
    const world = createWatchWorld();
    world.log.bytes = MIB;
    const quick = follow(world, queryOf());
    const stream = await slow(world);
    const first = stream.take(1);
    for (let turns = 0; turns < 100; turns += 1) await breathe();
    world.log.append('a');
    await first;
    const pushed = async (count: number) => {
      for (let left = count; left > 0; left -= 1) world.log.append('a');
      await until(() => numbersIn(quick.items).length === world.log.entries.length);
    };
    await pushed(4);
    expect(world.fallen()).toBe(0);
    await pushed(1);
    expect(world.fallen()).toBe(1);
    expect(await stream.take(5)).toEqual([2, 3, 4, 5, 6]);
    quick.leave();
    await stream.leave();
  });

  it.each([
    ['small', 1, 20],
    ['of 300 KiB', 300 * 1_024, 3],
    ['larger than what it may hold', 2 * MIB, 1],
  ])('holds no more than 20 changes and 1 MiB of what it has read by itself, or one change: %s', async (_, bytes, held) => {
    const world = createWatchWorld();
    world.log.bytes = bytes;
    const places: bigint[] = [];
    const { read } = world.log;
    world.log.read = (after, limit) => {
      places.push(after.position);
      return read(after, limit);
    };
    const stream = await slow(world);
    const before = places.length;
    for (let count = 0; count < 41; count += 1) world.log.append('a');
    expect(await stream.take(41)).toEqual(numbers(41));
    expect(places.slice(before, before + 3)).toEqual([0n, BigInt(held), BigInt(2 * held)]);
    await stream.leave();
  });

  it.each([
    ['small', 1, 20],
    ['of 300 KiB', 300 * 1_024, 3],
    ['larger than what it may hold', 2 * MIB, 1],
  ])('holds no more of its initial state: rows %s', async (_, bytes, held) => {
    const world = createWatchWorld();
    world.log.bytes = bytes;
    const rows = numbers(41).map(() => world.log.append('a'));
    const afters: number[] = [];
    const list = async ({ size, after }: PageRequest) => {
      const from = Number(after?.key ?? 0);
      afters.push(from);
      const items = rows.slice(from, from + size);
      const rest = from + items.length < rows.length ? { next: { key: String(from + items.length), id: '' } } : {};
      return { items, ...rest };
    };
    const { items, leave } = follow(world, queryOf({ from: 'initial_state', list }));
    await until(() => items.some((item) => item.kind === 'progress' && item.isInitialStateComplete));
    expect(numbersIn(items)).toEqual(numbers(41));
    expect(afters.slice(0, 3)).toEqual([0, held, 2 * held]);
    leave();
  });

  it.each([
    ['none', 0, 0],
    ['16 KiB', 16_000, 1],
  ])('holds less than 4 MiB of conversations, their meta_data included: 300 of them with %s', async (_, length, fallen) => {
    const memory = createMemoryLog(breathe);
    let fell = 0;
    const watch = createWatchConversations({
      nowMs: () => 0,
      wait: breathe,
      random: () => 0.5,
      withoutSpans: (work) => work(),
      onFallenBehind: () => {
        fell += 1;
      },
      log: {
        ...memory,
        async read(...range) {
          const { entries, ...page } = await memory.read(...range);
          return { ...page, entries: entries.map(({ place, topic }) => ({ place, conversationId: topic, deleted: undefined })) };
        },
      },
      reads: {
        async findConversations(ids) {
          const metaData = { text: 'x'.repeat(length) };
          return { value: new Map(ids.map((id) => [id, create(ConversationSchema, { id, metaData })])), source: 'bypass', ageMs: 0 };
        },
        listConversations: async () => ({ items: [] }),
      },
    });
    const leaving = new AbortController();
    const request = { filter: { statuses: [], unreadOnly: false }, from: 'now', progressIntervalMs: 30_000 } as const;
    const stream = watch.stream(request, leaving.signal);
    await stream.next();
    const first = stream.next();
    for (let turns = 0; turns < 100; turns += 1) await breathe();
    memory.append('0');
    await first;
    for (const number of numbers(300)) memory.append(String(number));
    for (let turns = 0; turns < 100; turns += 1) await breathe();
    expect(fell).toBe(fallen);
    leaving.abort();
  });
});

describe('streams above the limit', () => {
  it('are refused until others are over, those that have not begun included', async () => {
    const world = createWatchWorld({ maxStreams: 2 });
    const [one, other] = [await slow(world), follow(world, queryOf())];
    const { reads } = world.log;
    expect(await follow(world, queryOf()).ended).toMatchObject({ code: 'too_many_streams', metadata: { limit: '2' } });
    expect(world.log.reads).toBe(reads);
    other.leave();
    await other.ended;
    const next = await slow(world);
    expect(world.watch.size()).toBe(2);
    for (const { leave } of [one, next]) await leave();
  });

  it('are refused no more when one is over whose caller has left while it was written to', async () => {
    const world = createWatchWorld({ maxStreams: 1 });
    const leaving = new AbortController();
    await world.watch.stream(queryOf(), leaving.signal).next();
    leaving.abort();
    await (await slow(world)).leave();
  });
});
