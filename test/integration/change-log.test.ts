/** The order of the logs that watchers read, under transactions that commit late, wait, stay open and fail. */
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { type Database, openDatabase } from '../../src/db/database.ts';
import { LOG_START, type LogPlace } from '../../src/domain/log-place.ts';
import type { MessageLogEntry } from '../../src/domain/watch-ports.ts';
import { createDatabase } from '../support/database.ts';
import { createLogWorld, type LogWorld, type LogWriter, lockWaits } from '../support/log-writers.ts';
import { between, pick, seededRandom } from '../support/seeded-random.ts';
import { until } from '../support/until.ts';

const opened = new AsyncDisposableStack();
let database: Database;
let world: LogWorld;

beforeAll(async () => {
  const { url } = opened.use(await createDatabase());
  database = opened.use(await openDatabase({ url, poolMax: 4, statementTimeoutMs: 60_000, connectTimeoutMs: 60_000 }));
  world = opened.use(await createLogWorld(url, 40));
});
afterAll(() => opened.disposeAsync());
afterEach(() => world.endWriters());

const log = () => database.changeLog.messages;
const told = (entries: readonly MessageLogEntry[]) => entries.map(({ conversationId, event }) => [conversationId, Number(event.sequence)]);
const behind = async (place: LogPlace) => told((await log().read(place, 1_000)).entries);
let conversations = 0;
/** One that no other test writes to. */
function freshConversation(): string {
  conversations += 1;
  return world.conversationIds[conversations] ?? '';
}
async function writers<Count extends number>(count: Count): Promise<readonly LogWriter[]> {
  return Promise.all(Array.from({ length: count }, () => world.writer()));
}
async function three(): Promise<readonly [LogWriter, LogWriter, LogWriter]> {
  const [a, b, c] = await writers(3);
  if (a === undefined || b === undefined || c === undefined) throw new Error('three were asked for');
  return [a, b, c];
}
/** Other tests of this server may keep transactions open for a while. */
const allFinal = (place: LogPlace, count: number) =>
  until('all is final', async () => (await log().read(place, 1_000)).entries.length >= count, 30_000);

describe('the log of messages', () => {
  it('keeps back what is committed until nothing before it can come any more', async () => {
    const [early, late] = await three();
    const [one, two] = [freshConversation(), freshConversation()];
    const { end } = await log().tail();
    await early.begin();
    await early.write(one);
    await late.writeAlone(two);
    expect(await behind(end)).toEqual([]);
    await early.commit();
    await allFinal(end, 2);
    expect(await behind(end)).toEqual(
      expect.arrayContaining([
        [one, 1],
        [two, 1],
      ]),
    );
  });

  it('does not wait for what failed', async () => {
    const [failing, other] = await three();
    const [one, two] = [freshConversation(), freshConversation()];
    const { end } = await log().tail();
    await failing.begin();
    await failing.write(one);
    await other.writeAlone(two);
    await failing.rollback();
    await failing.writeAlone(one);
    await allFinal(end, 2);
    expect(await behind(end)).toEqual([
      [two, 1],
      [one, 1],
    ]);
  });

  it('orders a conversation by its lock, whoever got a transaction id first and whoever is open beside it', async () => {
    const [early, first, beside] = await three();
    const conversation = freshConversation();
    const { end } = await log().tail();
    // Its id is the lowest, and it writes last: a reader that is told "all below this id" must not meet the second event alone.
    await early.begin();
    await beside.begin();
    await first.begin();
    expect(await first.write(conversation)).toBe(1);
    const waiting = early.write(conversation);
    await until('it waits for the lock', async () => (await lockWaits(beside.client)) === 1);
    await first.commit();
    expect(await waiting).toBe(2);
    await early.commit();
    // The first event has a higher transaction id than the one that is open, the second a lower one.
    expect(await behind(end)).toEqual([]);
    await beside.commit();
    await allFinal(end, 2);
    expect(await behind(end)).toEqual([
      [conversation, 1],
      [conversation, 2],
    ]);
  });

  it('orders it as well when one statement takes the lock and writes', async () => {
    const [early, first, beside] = await three();
    const conversation = freshConversation();
    const { end } = await log().tail();
    await early.begin();
    await beside.begin();
    await first.begin();
    await first.write(conversation);
    const waiting = early.client.query(
      `with locked as (update conversations set last_sequence = last_sequence + 1 where id = $1 returning id, last_sequence)
      insert into message_events (id, message_id, conversation_id, sequence, type, status_after)
      select $2, messages.id, locked.id, locked.last_sequence, 'created', 'pending' from locked join messages on conversation_id = locked.id`,
      [conversation, randomUUID()],
    );
    await until('it waits for the lock', async () => (await lockWaits(beside.client)) === 1);
    await first.commit();
    await waiting;
    await early.commit();
    await beside.commit();
    await allFinal(end, 2);
    expect(await behind(end)).toEqual([
      [conversation, 1],
      [conversation, 2],
    ]);
  });

  it('goes on exactly after any entry, by pages of any size', async () => {
    const [writer] = await three();
    const { end } = await log().tail();
    const chosen = [freshConversation(), freshConversation(), freshConversation()];
    for (let index = 0; index < 12; index += 1) await writer.writeAlone(pick(seededRandom(index), chosen));
    await allFinal(end, 12);
    const { entries, next, isFull } = await log().read(end, 1_000);
    expect(entries).toHaveLength(12);
    expect([next, isFull]).toEqual([entries.at(-1)?.place, false]);
    for (const [index, { place }] of entries.entries()) {
      expect((await log().read(place, 1_000)).entries).toEqual(entries.slice(index + 1));
      const page = await log().read(place, 3);
      expect(page.entries).toEqual(entries.slice(index + 1, index + 4));
      expect(page.isFull).toBe(index + 4 <= entries.length);
    }
  });

  it.each([1, 2, 3])('loses nothing, repeats nothing and keeps every conversation in order, seed %i', async (seed) => {
    const random = seededRandom(seed);
    const { end } = await log().tail();
    const chosen = world.conversationIds.slice(-6);
    const committed: [string, number][] = [];
    let running = true;
    async function write(writer: LogWriter): Promise<void> {
      for (let round = 0; round < 25; round += 1) {
        // Locked in one order, or they would wait for each other in a circle.
        const ids = [...new Set(Array.from({ length: between(random, 1, 2) }, () => pick(random, chosen)))].sort();
        await (random() < 0.5 ? writer.begin() : writer.client.query('begin'));
        if (random() < 0.3) await writer.client.query('savepoint before');
        const written: [string, number][] = [];
        for (const id of ids) written.push([id, await writer.write(id)]);
        if (random() < 0.2) await writer.client.query('select pg_sleep($1)', [random() / 20]);
        if (random() < 0.2) await writer.rollback();
        else {
          await writer.commit();
          committed.push(...written);
        }
      }
    }
    const seen: (readonly [string, number])[] = [];
    async function follow(): Promise<void> {
      let place = end;
      for (;;) {
        const isLast = !running;
        const page = await log().read(place, between(random, 1, 8));
        seen.push(...page.entries.map(({ conversationId, event }) => [conversationId, Number(event.sequence)] as const));
        place = page.next;
        if (isLast && seen.length >= committed.length) return;
      }
    }
    const following = follow();
    await Promise.all((await writers(8)).map(write));
    running = false;
    await following;
    for (const id of chosen) {
      const inOrder = committed.filter(([conversation]) => conversation === id).map(([, sequence]) => sequence);
      const sequences = seen.filter(([conversation]) => conversation === id).map(([, sequence]) => sequence);
      expect(sequences).toEqual(inOrder.toSorted((a, b) => a - b));
    }
  });

  it('knows whether it has a place', async () => {
    const [writer] = await three();
    const { end } = await log().tail();
    await writer.writeAlone(freshConversation());
    await allFinal(end, 1);
    const { next } = await log().read(end, 1);
    expect(await log().has(next)).toBe(true);
    expect(await log().has(LOG_START)).toBe(true);
    expect(await log().has({ ...next, position: next.position + 1_000n })).toBe(false);
  });
});
