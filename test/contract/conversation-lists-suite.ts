import fc from 'fast-check';
import { v7 as uuidv7 } from 'uuid';
import { beforeAll, describe, expect, it } from 'vitest';
import { addressKey } from '../../src/domain/address.ts';
import { type ConversationFields, channels, conversationStatuses } from '../../src/domain/conversation.ts';
import type { ConversationFilter } from '../../src/domain/ports.ts';
import { conversationFields } from '../support/message-fields.ts';
import { allPages, type Open, openForAll } from '../support/store-and-reads.ts';

const anyConversation: ConversationFilter = { statuses: [], unreadOnly: false };
const START = Date.parse('2026-01-01T00:00:00.000Z');
const moment = (step: number): Date => new Date(START + step);

const ourPhone = '+14155552671';
const phone = (number: number): string => `+1212555${1_000 + number}`;

/** Every mixture of fields; some without messages, several active in the same millisecond. */
function someConversations(): readonly ConversationFields[] {
  return Array.from({ length: 60 }, (_, index) => {
    const channelType = channels[index % 5 === 0 ? 1 : 0];
    const [from, to] = channelType === 'email' ? ['support@example.com', `Ada${index % 3}@Example.com`] : [ourPhone, phone(index % 7)];
    // Our own number is the other side of one: a filter by address has two sides.
    const [ours, theirs] = index === 31 ? [phone(3), ourPhone] : index === 32 ? [ourPhone, ourPhone] : [from, to];
    return conversationFields({
      id: uuidv7(),
      channelType,
      participantFrom: ours,
      participantTo: theirs,
      fromKey: addressKey(ours),
      toKey: addressKey(theirs),
      status: conversationStatuses[Math.trunc(index / 2) % 3] ?? 'active',
      thread: true,
      unreadCount: index % 4 === 1 ? index : 0,
      createdAt: moment(Math.trunc(index / 3)),
      lastMessageAt: index % 2 === 0 ? moment(Math.trunc(index / 3) + (index % 8)) : null,
    });
  });
}

const activeAt = ({ lastMessageAt, createdAt }: ConversationFields): number => (lastMessageAt ?? createdAt).getTime();

function matches(conversation: ConversationFields, filter: ConversationFilter): boolean {
  const { participant, channelType, statuses, unreadOnly, activeAfter } = filter;
  return (
    (participant === undefined || [conversation.fromKey, conversation.toKey].includes(participant)) &&
    (channelType === undefined || conversation.channelType === channelType) &&
    (statuses.length === 0 || statuses.includes(conversation.status)) &&
    (!unreadOnly || conversation.unreadCount > 0) &&
    (activeAfter === undefined || activeAt(conversation) >= activeAfter.getTime())
  );
}

const latestFirst = (left: ConversationFields, right: ConversationFields): number =>
  activeAt(right) - activeAt(left) || (left.id < right.id ? 1 : -1);

export function describeConversationLists(open: Open): void {
  describe('lists of conversations', () => {
    const opened = openForAll(open);
    const conversations = someConversations();
    const expected = (filter: ConversationFilter) =>
      conversations.filter((conversation) => matches(conversation, filter)).toSorted(latestFirst);
    const listed = (filter: ConversationFilter, size: number) => allPages((page) => opened.reads.listConversations(filter, page), size);

    beforeAll(() =>
      opened.store.transaction(async (tx) => {
        for (const conversation of conversations) tx.addConversation(conversation);
      }),
    );

    it('are latest active first, by creation when they are empty, equal times by id', async () => {
      for (const size of [1, 7, 60, 200]) {
        const found = await listed(anyConversation, size);
        expect(found.map(({ id }) => id)).toEqual(expected(anyConversation).map(({ id }) => id));
      }
    });

    const fields = {
      participant: fc.constantFrom(ourPhone, phone(3), addressKey('ADA1@example.COM'), addressKey('support@example.com'), 'nobody'),
      channelType: fc.constantFrom(...channels),
      statuses: fc.subarray([...conversationStatuses]),
      unreadOnly: fc.boolean(),
      activeAfter: fc.integer({ min: -1, max: 30 }).map(moment),
    };

    it.each(Object.keys(fields) as (keyof typeof fields)[])('hold what the filter by %s lets through', async (name) => {
      const values = fc.sample<unknown>(fields[name], { numRuns: 12, seed: 7 });
      const filters = values.map((value): ConversationFilter => ({ ...anyConversation, [name]: value }));
      const counts = filters.map((filter) => expected(filter).length);
      expect(counts).toContainEqual(expect.toSatisfy((count) => count > 0 && count < conversations.length));
      for (const filter of filters) {
        const found = await listed(filter, 10);
        expect(
          found.map(({ id }) => id),
          JSON.stringify(filter),
        ).toEqual(expected(filter).map(({ id }) => id));
      }
    });

    it('hold what filters together let through, whatever the size of a page', async () => {
      const filter = fc.record(fields, { requiredKeys: ['statuses', 'unreadOnly'] });
      await fc.assert(
        fc.asyncProperty(filter, fc.constantFrom(1, 3, 20), async (together, size) => {
          const found = await listed(together, size);
          expect(found.map(({ id }) => id)).toEqual(expected(together).map(({ id }) => id));
        }),
        { numRuns: 100 },
      );
    });

    it('show a conversation with oneself once', async () => {
      const withOurselves = conversations[32]?.id;
      const found = await listed({ ...anyConversation, participant: ourPhone }, 10);
      expect(found.filter(({ id }) => id === withOurselves)).toHaveLength(1);
    });

    it('have no gap and no repeat while conversations are added and messages arrive', async () => {
      const arriving = conversationFields({ id: uuidv7(), toKey: 'arriving', createdAt: moment(-1) });
      await opened.store.transaction(async (tx) => void tx.addConversation(arriving));
      let added = 0;
      const change = () =>
        opened.store.transaction(async (tx) => {
          added += 1;
          for (const step of [1_000 + added, added]) {
            tx.addConversation(conversationFields({ id: uuidv7(), thread: true, createdAt: moment(step) }));
          }
          await tx.appendToExisting(arriving.id, 'inbound', moment(2_000 + added));
        });
      for (const filter of [anyConversation, { ...anyConversation, participant: ourPhone }]) {
        const found = (await allPages((page) => opened.reads.listConversations(filter, page), 5, change)).map(({ id }) => id);
        expect(new Set(found).size).toBe(found.length);
        const before = expected(filter).map(({ id }) => id);
        expect(found.filter((id) => before.includes(id))).toEqual(before);
      }
    });
  });
}
