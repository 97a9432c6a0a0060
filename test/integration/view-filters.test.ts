/** Filters of watches, which look at one view in memory, against the SQL of the lists: the same rows for any filter. */
import fc from 'fast-check';
import { v7 as uuidv7 } from 'uuid';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Database, openDatabase } from '../../src/db/database.ts';
import { addressKey } from '../../src/domain/address.ts';
import { channels, conversationStatuses } from '../../src/domain/conversation.ts';
import { deadLetterReasons, directions, failureReasons, messageStatuses, messageTypes } from '../../src/domain/message.ts';
import type { ConversationFilter, MessageFilter } from '../../src/domain/ports.ts';
import { conversationMatcher, messageMatcher } from '../../src/domain/view-filters.ts';
import type { ConversationView, MessageView } from '../../src/domain/views.ts';
import { createDatabase } from '../support/database.ts';
import { conversationFields, failureOf, messageFields } from '../support/message-fields.ts';
import { between, pick, seededRandom } from '../support/seeded-random.ts';
import { allPages } from '../support/store-and-reads.ts';

const opened = new AsyncDisposableStack();
let database: Database;
let messages: readonly MessageView[];
let conversations: readonly ConversationView[];

const phones = ['+14155550001', '+14155550002', '12345', 'ACME'];
const emails = ['Us@example.com', 'them@example.com', 'Ü.Ä@example.com'];
const addresses = [...phones, ...emails];
const times = Array.from({ length: 6 }, (_, day) => new Date(Date.UTC(2026, 0, 1 + day)));
const conversationIds = Array.from({ length: 12 }, () => uuidv7());
const parents = Array.from({ length: 3 }, () => uuidv7());
const providerIds = ['SM1', 'SM2', 'SM3'];
const random = seededRandom(7);
const maybe = <Value>(value: Value): Value | null => (random() < 0.4 ? value : null);

beforeAll(async () => {
  const { url } = opened.use(await createDatabase());
  database = opened.use(await openDatabase({ url, poolMax: 2, statementTimeoutMs: 60_000, connectTimeoutMs: 60_000 }));
  await database.store.transaction(async (tx) => {
    for (const id of conversationIds) {
      const [from, to] = random() < 0.5 ? [pick(random, phones), pick(random, phones)] : [pick(random, emails), pick(random, emails)];
      tx.addConversation(
        conversationFields({
          id,
          participantFrom: from,
          participantTo: to,
          fromKey: addressKey(from),
          toKey: addressKey(to),
          channelType: to.includes('@') ? 'email' : 'sms',
          status: pick(random, conversationStatuses),
          thread: true,
          unreadCount: between(random, 0, 1),
          createdAt: pick(random, times),
          lastMessageAt: maybe(pick(random, times)),
        }),
      );
    }
  });
  await database.store.transaction(async (tx) => {
    for (let index = 0; index < 150; index += 1) {
      tx.addMessage(
        messageFields({
          id: uuidv7(),
          conversationId: pick(random, conversationIds),
          direction: pick(random, directions),
          status: pick(random, messageStatuses),
          messageType: pick(random, messageTypes),
          fromAddress: pick(random, addresses),
          toAddress: pick(random, addresses),
          parentId: maybe(pick(random, parents)),
          failure: maybe(failureOf({ reason: pick(random, failureReasons) })),
          provider: 'twilio',
          providerMessageId: index < providerIds.length ? (providerIds[index] ?? null) : null,
          createdAt: pick(random, times),
        }),
      );
    }
  });
  messages = await allPages(
    (page) => database.reads.listMessages({ conversationIds: [], statuses: [], messageTypes: [], failureReasons: [] }, page),
    200,
  );
  conversations = await allPages((page) => database.reads.listConversations({ statuses: [], unreadOnly: false }, page), 200);
});
afterAll(() => opened.disposeAsync());

const ids = (rows: readonly { readonly id: string }[]) => rows.map(({ id }) => id).toSorted();
const some = <Value>(values: readonly Value[]) =>
  fc.oneof({ weight: 2, arbitrary: fc.constant([]) }, { weight: 1, arbitrary: fc.subarray([...values], { maxLength: 3 }) });
/** Seldom set, or no row would match. */
const seldom = <Value>(values: readonly Value[], weight = 4) =>
  fc.oneof({ weight, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: fc.constantFrom(...values) });
const address = seldom(addresses.flatMap((text) => [addressKey(text), addressKey(text.toUpperCase())]));
const time = seldom([...times, new Date(Date.UTC(2026, 0, 3, 12))]);
/** Without the fields that are not set. */
const compact = <Filter>(filter: object): Filter =>
  Object.fromEntries(Object.entries(filter).filter(([, value]) => value !== undefined)) as Filter;

describe('a filter in memory', () => {
  it('takes the messages that the list takes', async () => {
    const filters = fc
      .record({
        conversationIds: some(conversationIds),
        statuses: some(messageStatuses),
        messageTypes: some(messageTypes),
        direction: seldom(directions),
        address,
        parentId: seldom(parents),
        createdAfter: time,
        createdBefore: time,
        providerMessageId: seldom([...providerIds, 'SM9'], 15),
        failureReasons: seldom([[...deadLetterReasons], [...failureReasons]], 9).map((reasons) => reasons ?? []),
      })
      .map((filter) => compact<MessageFilter>(filter));
    let taken = 0;
    await fc.assert(
      fc.asyncProperty(filters, async (filter) => {
        const listed = ids(await allPages((page) => database.reads.listMessages(filter, page), 200));
        expect(ids(messages.filter(messageMatcher(filter)))).toEqual(listed);
        taken += listed.length;
      }),
      { numRuns: 300 },
    );
    expect(taken).toBeGreaterThan(2_000);
  });

  it('takes the conversations that the list takes', async () => {
    const filters = fc
      .record({
        participant: address,
        channelType: seldom(channels),
        statuses: some(conversationStatuses),
        unreadOnly: fc.boolean(),
        activeAfter: time,
      })
      .map((filter) => compact<ConversationFilter>(filter));
    let taken = 0;
    await fc.assert(
      fc.asyncProperty(filters, async (filter) => {
        const listed = ids(await allPages((page) => database.reads.listConversations(filter, page), 200));
        expect(ids(conversations.filter(conversationMatcher(filter)))).toEqual(listed);
        taken += listed.length;
      }),
      { numRuns: 300 },
    );
    expect(taken).toBeGreaterThan(300);
  });
});
