/** Webhooks that come many times, in any order and at the same time: everything happens once. */
import fc from 'fast-check';
import { v7 as uuidv7 } from 'uuid';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { MessageStatus } from '../../gen/messaging/v1/message_pb.js';
import type { WebhookContent } from '../../src/domain/webhook-ports.ts';
import { expectConsistent } from '../contract/recount.ts';
import { twilioPost, twilioStatus } from '../support/signed-webhooks.ts';
import { draftBetween, newPair } from '../support/use-cases.ts';
import { contentOf, emailDraft, eventsContent, openWebhookCases, type WebhookCases } from '../support/webhook-cases.ts';

let on: WebhookCases;
beforeAll(async () => {
  on = await openWebhookCases();
});
afterAll(() => on?.[Symbol.asyncDispose]());
beforeEach(() => {
  on.told.length = 0;
});

const times = <T>(count: number, make: (index: number) => T): readonly T[] => Array.from({ length: count }, (_, index) => make(index));
const shuffled = <T>(items: readonly T[]): fc.Arbitrary<T[]> => fc.shuffledSubarray([...items], { minLength: items.length });
const eventsOf = async (messageId: string) => (await on.reads.listMessageEvents(messageId, { size: 200 })).items.slice(1);
const counted = (kind: string) => on.told.filter((told) => told === kind).length;

/** Each report between 1 and 46 times, in one order. */
const repeatedly = (words: readonly string[]) =>
  fc
    .tuple(...words.map((word) => fc.integer({ min: 1, max: 46 }).map((count) => times(count, () => word))))
    .chain((repeated) => shuffled(repeated.flat()));

describe('reports that come 1 to 46 times, at once and in any order', () => {
  it.each([
    ['delivered', MessageStatus.DELIVERED],
    ['undelivered', MessageStatus.FAILED],
    ['failed', MessageStatus.FAILED],
  ])('by Twilio, the last of them %s, count once each', async (last, status) => {
    await fc.assert(
      fc.asyncProperty(repeatedly(['queued', 'sending', 'sent', last]), async (words) => {
        const { id, conversationId } = (await on.cases.send(draftBetween(newPair()))).message;
        on.told.length = 0;
        await Promise.all(words.map((word) => on.ingest(contentOf(twilioStatus(id, 1, word)))));
        expect([counted('applied'), counted('duplicate'), on.told.length]).toEqual([4, words.length - 4, words.length]);
        expect((await eventsOf(id)).map(({ providerStatus }) => providerStatus).toSorted()).toEqual(
          ['queued', 'sending', 'sent', last].sort(),
        );
        expect((await on.reads.findMessage(id)).value?.status).toBe(status);
        await expectConsistent(on, conversationId);
      }),
      { numRuns: 4 },
    );
  });

  it('by SendGrid in batches of any cut count once each', async () => {
    const batches = repeatedly(['processed', 'deferred', 'delivered', 'bounce', 'open']).chain((words) =>
      fc.array(fc.integer({ min: 1, max: 40 }), { minLength: words.length, maxLength: words.length }).map((sizes) => {
        const cut: string[][] = [];
        for (let from = 0; from < words.length; ) {
          const size = sizes[cut.length] ?? 1;
          cut.push(words.slice(from, from + size));
          from += size;
        }
        return cut;
      }),
    );
    await fc.assert(
      fc.asyncProperty(batches, async (cut) => {
        const { id, conversationId } = (await on.cases.send(emailDraft(`ada-${uuidv7()}@example.org`))).message;
        const run = uuidv7();
        on.told.length = 0;
        const contents = cut.map((words) =>
          eventsContent(
            words.map((event) => ({
              sg_event_id: `${run}-${event}`,
              sg_message_id: `${run}.filter0001`,
              event,
              message_id: id,
              message_attempt: '1',
            })),
          ),
        );
        await Promise.all(contents.map(on.ingest));
        expect([counted('applied'), counted('applied') + counted('duplicate')]).toEqual([5, on.told.length]);
        expect(await eventsOf(id)).toHaveLength(5);
        expect((await on.reads.findMessage(id)).value?.status).toBe(MessageStatus.FAILED);
        await expectConsistent(on, conversationId);
      }),
      { numRuns: 5 },
    );
  });
});

describe('inbound messages', () => {
  it('of one sender, each many times at once, are stored once each and counted', async () => {
    const pair = newPair();
    const contents = times(6, (index) =>
      contentOf(twilioPost('twilio_inbound', { MessageSid: `SM${uuidv7()}${index}`, From: pair.theirs, To: pair.ours })),
    );
    const order = fc.sample(shuffled(contents.flatMap((content) => times(15, () => content))), 1).flat();
    await Promise.all(order.map(on.ingest));
    expect([counted('applied'), counted('duplicate')]).toEqual([6, 84]);
    const { items } = await on.reads.listConversations({ participant: pair.theirs, statuses: [], unreadOnly: false }, { size: 5 });
    expect(items).toEqual([expect.objectContaining({ messageCount: 6n, unreadCount: 6n, lastSequence: 6n })]);
    await expectConsistent(on, items[0]?.id ?? '');
  });
});

describe('a batch', () => {
  it('takes no room in the lock table for its events, and gives each its number once', async () => {
    const { id, conversationId } = (await on.cases.send(emailDraft(`ada-${uuidv7()}@example.org`))).message;
    await on.query('create table held (kind text, locks integer)');
    await on.query(`
      create function tell_locks() returns trigger language plpgsql as $$
      begin
        insert into held select locktype, count(*) from pg_locks where pid = pg_backend_pid() group by locktype;
        return new;
      end $$`);
    await on.query('create trigger tell_locks after insert on webhook_requests for each row execute function tell_locks()');
    const events = times(300, (index) => {
      return { sg_event_id: `${id}-${index % 200}`, sg_message_id: `${id}.filter0001`, event: 'open', message_id: id };
    });
    expect((await on.ingest(eventsContent(events))).state).toBe('processed');
    await on.query('drop function tell_locks cascade');
    expect([counted('applied'), counted('duplicate')]).toEqual([200, 100]);
    expect(await on.query("select * from held where kind = 'advisory' or locks > 100")).toEqual([]);
    await expectConsistent(on, conversationId);
    const [row] = await on.query<{ last: string }>('select last_sequence as last from conversations where id = $1', [conversationId]);
    expect(Number(row?.last)).toBe(201);
  });
});

describe('batches about the same conversations in opposite order', () => {
  const CONVERSATIONS = 12;
  let deadlocks = 0;

  async function countDeadlocks(): Promise<number> {
    await on.query('select pg_stat_clear_snapshot()');
    const [row] = await on.query<{ deadlocks: string }>('select deadlocks from pg_stat_database where datname = current_database()');
    return Number(row?.deadlocks);
  }

  it('do not wait for each other in a circle, be their events the same or not', async () => {
    const messages = await Promise.all(times(CONVERSATIONS, (index) => on.cases.send(emailDraft(`ada-${index}-${uuidv7()}@example.org`))));
    const ids = messages.map(({ message }) => message.id);
    deadlocks = await countDeadlocks();
    const batch = (order: readonly string[], run: string): WebhookContent =>
      eventsContent(order.map((id) => ({ sg_event_id: `${run}-${id}`, sg_message_id: `${id}.filter0001`, event: 'open', message_id: id })));
    const rounds = 10;
    for (let round = 0; round < rounds; round += 1) {
      const shared = `${round}-shared`;
      const orders = [ids, ids.toReversed(), ids.toSorted(), ids.slice(4).concat(ids.slice(0, 4))];
      await Promise.all(orders.flatMap((order, index) => [on.ingest(batch(order, shared)), on.ingest(batch(order, `${round}-${index}`))]));
    }
    expect(counted('applied')).toBe(CONVERSATIONS * rounds * 5);
    expect(counted('duplicate')).toBe(CONVERSATIONS * rounds * 3);
    expect((await countDeadlocks()) - deadlocks).toBe(0);
    for (const { message } of messages) await expectConsistent(on, message.conversationId);
  });

  it('are repeated as a whole when PostgreSQL finds a circle after all', async () => {
    const [one, two] = await Promise.all(times(2, () => on.cases.send(emailDraft(`ada-${uuidv7()}@example.org`))));
    if (one === undefined || two === undefined) throw new Error('there are two');
    const [first, second] = [one.message, two.message].toSorted((left, right) => (left.conversationId < right.conversationId ? -1 : 1));
    if (first === undefined || second === undefined) throw new Error('there are two');
    // Somebody who takes the later conversation first, and then waits for what the batch has taken.
    const locked = Promise.withResolvers<void>();
    const waiting = Promise.withResolvers<void>();
    const other = on.store.transaction(async (tx) => {
      await tx.lockConversation(second.conversationId);
      locked.resolve();
      await waiting.promise;
      await tx.lockConversation(first.conversationId);
    });
    await locked.promise;
    const event = (id: string) => ({ sg_event_id: uuidv7(), sg_message_id: `${id}.filter0001`, event: 'delivered', message_id: id });
    on.told.length = 0;
    const ingested = on.ingest(eventsContent([event(first.id), event(second.id)]));
    const blocked = `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`;
    await expect.poll(async () => (await on.query(blocked)).length, { timeout: 20_000 }).toBe(1);
    waiting.resolve();
    expect((await ingested).state).toBe('processed');
    await other;
    expect(on.told).toEqual(['applied', 'applied']);
    for (const { id, conversationId } of [first, second]) {
      expect((await on.reads.findMessage(id)).value?.status).toBe(MessageStatus.DELIVERED);
      await expectConsistent(on, conversationId);
    }
  });
});
