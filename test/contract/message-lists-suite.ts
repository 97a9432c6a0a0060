import fc from 'fast-check';
import { v7 as uuidv7 } from 'uuid';
import { beforeAll, describe, expect, it } from 'vitest';
import { addressKey } from '../../src/domain/address.ts';
import { directions, failureReasons, type MessageFields, messageStatuses, messageTypes } from '../../src/domain/message.ts';
import type { MessageFilter } from '../../src/domain/ports.ts';
import { conversationFields, failureOf, messageFields } from '../support/message-fields.ts';
import { allPages, type Open, openForAll } from '../support/store-and-reads.ts';

const anyMessage: MessageFilter = { conversationIds: [], statuses: [], messageTypes: [], failureReasons: [] };
const START = Date.parse('2026-01-01T00:00:00.000Z');
const moment = (step: number): Date => new Date(START + step);

const ourPhone = '+14155552671';
/** Alone on both sides of one message. */
const lonePhone = '+12125550199';
const addresses = [ourPhone, '+12125550101', lonePhone, 'Ada@Example.com', 'support@example.com'] as const;
const conversationIds = Array.from({ length: 4 }, () => uuidv7());

/** Every mixture of fields, several messages to each millisecond. */
function someMessages(): readonly MessageFields[] {
  const messages: MessageFields[] = [];
  for (let index = 0; index < 72; index += 1) {
    const messageType = messageTypes[Math.trunc(index / 5) % 3] ?? 'sms';
    const direction = directions[Math.trunc(index / 3) % 2] ?? 'inbound';
    const ours = messageType === 'email' ? 'support@example.com' : ourPhone;
    const theirs = messageType === 'email' ? (index % 2 === 0 ? 'Ada@Example.com' : 'ADA@example.com') : '+12125550101';
    const fields = {
      id: uuidv7(),
      conversationId: conversationIds[index % conversationIds.length] ?? '',
      direction,
      messageType,
      status: messageStatuses[Math.trunc(index / 2) % 4] ?? 'pending',
      fromAddress: direction === 'outbound' ? ours : theirs,
      toAddress: direction === 'outbound' ? theirs : ours,
      parentId: index % 9 === 5 ? (messages[index % 2]?.id ?? null) : null,
      provider: messageType === 'email' ? ('sendgrid' as const) : ('twilio' as const),
      providerMessageId: index % 2 === 0 ? `SM${Math.trunc(index / 4)}` : null,
      createdAt: moment(Math.trunc(index / 4)),
    };
    // One in four as retrying leaves it: no list of failures has a message that is not FAILED.
    const hasFailure = fields.status === 'failed' || index % 4 === 1;
    const failure = hasFailure ? failureOf({ reason: failureReasons[Math.trunc(index / 2) % 5] ?? 'rejected' }) : null;
    messages.push(messageFields({ ...fields, failure }));
  }
  const [first, second] = messages;
  if (first !== undefined) Object.assign(first, { fromAddress: lonePhone, toAddress: lonePhone });
  // Unique per provider only: two providers may use the same id.
  const taken = new Set<string>();
  for (const message of messages) {
    const key = `${message.provider}:${message.providerMessageId}`;
    if (taken.has(key)) message.providerMessageId = null;
    taken.add(key);
  }
  if (second === undefined) throw new Error('there are some');
  return messages;
}

function matches(message: MessageFields, filter: MessageFilter): boolean {
  const { direction, address, parentId, createdAfter, createdBefore, providerMessageId } = filter;
  const oneOf = (values: readonly string[], value: string) => values.length === 0 || values.includes(value);
  return (
    oneOf(filter.conversationIds, message.conversationId) &&
    oneOf(filter.statuses, message.status) &&
    oneOf(filter.messageTypes, message.messageType) &&
    (direction === undefined || message.direction === direction) &&
    (address === undefined || [message.fromAddress, message.toAddress].some((text) => addressKey(text) === address)) &&
    (parentId === undefined || message.parentId === parentId) &&
    (createdAfter === undefined || message.createdAt >= createdAfter) &&
    (createdBefore === undefined || message.createdAt < createdBefore) &&
    (providerMessageId === undefined || message.providerMessageId === providerMessageId) &&
    (filter.failureReasons.length === 0 || (message.status === 'failed' && oneOf(filter.failureReasons, message.failure?.reason ?? '')))
  );
}

const newestFirst = (left: MessageFields, right: MessageFields): number =>
  right.createdAt.getTime() - left.createdAt.getTime() || (left.id < right.id ? 1 : -1);

export function describeMessageLists(open: Open): void {
  describe('lists of messages', () => {
    const opened = openForAll(open);
    const messages = someMessages();
    const parents = [messages[0]?.id ?? '', messages[1]?.id ?? ''];
    const expected = (filter: MessageFilter) => messages.filter((message) => matches(message, filter)).toSorted(newestFirst);
    const listed = (filter: MessageFilter, size: number) => allPages((page) => opened.reads.listMessages(filter, page), size);

    beforeAll(() =>
      opened.store.transaction(async (tx) => {
        for (const [index, id] of conversationIds.entries()) tx.addConversation(conversationFields({ id, toKey: String(index) }));
        for (const message of messages) tx.addMessage(message);
      }),
    );

    it('are newest first, equal times by id', async () => {
      for (const size of [1, 7, 72, 200]) {
        const found = await listed(anyMessage, size);
        expect(found.map(({ id }) => id)).toEqual(expected(anyMessage).map(({ id }) => id));
      }
    });

    const fields = {
      conversationIds: fc.subarray([...conversationIds, uuidv7()]),
      statuses: fc.subarray([...messageStatuses]),
      messageTypes: fc.subarray([...messageTypes]),
      direction: fc.constantFrom(...directions),
      address: fc.constantFrom(...addresses.map(addressKey), addressKey('ADA@EXAMPLE.COM'), addressKey('nobody')),
      parentId: fc.constantFrom(...parents, uuidv7()),
      createdAfter: fc.integer({ min: -1, max: 20 }).map(moment),
      createdBefore: fc.integer({ min: -1, max: 20 }).map(moment),
      providerMessageId: fc.constantFrom('SM0', 'SM4', 'SM7', 'no such id'),
      failureReasons: fc.subarray([...failureReasons]),
    };

    it.each(Object.keys(fields) as (keyof typeof fields)[])('hold what the filter by %s lets through', async (name) => {
      const values = fc.sample<unknown>(fields[name], { numRuns: 12, seed: 7 });
      const filters = values.map((value): MessageFilter => ({ ...anyMessage, [name]: value }));
      expect(filters.map((filter) => expected(filter).length)).toContainEqual(
        expect.toSatisfy((count) => count > 0 && count < messages.length),
      );
      for (const filter of filters) {
        const found = await listed(filter, 10);
        expect(
          found.map(({ id }) => id),
          JSON.stringify(filter),
        ).toEqual(expected(filter).map(({ id }) => id));
      }
    });

    const together = fc.record(fields, { requiredKeys: ['conversationIds', 'statuses', 'messageTypes', 'failureReasons'] });
    /** At least one message passes; filters that are made up of anything seldom let one through. */
    const around = fc.tuple(together, fc.constantFrom(...messages)).map(([filter, message]): MessageFilter => {
      const { parentId, providerMessageId, address, direction, createdAfter, createdBefore } = filter;
      const including = <T>(values: readonly T[], value: T) => (values.length === 0 ? values : [...new Set([...values, value])]);
      return {
        conversationIds: including(filter.conversationIds, message.conversationId),
        statuses: including(filter.statuses, message.status),
        messageTypes: including(filter.messageTypes, message.messageType),
        failureReasons: message.status === 'failed' && message.failure ? including(filter.failureReasons, message.failure.reason) : [],
        ...(direction && { direction: message.direction }),
        ...(address && { address: addressKey(message.toAddress) }),
        ...(parentId && message.parentId && { parentId: message.parentId }),
        ...(providerMessageId && message.providerMessageId && { providerMessageId: message.providerMessageId }),
        ...(createdAfter && { createdAfter: message.createdAt }),
        ...(createdBefore && { createdBefore: new Date(message.createdAt.getTime() + 1) }),
      };
    });

    it('hold what filters together let through, whatever the size of a page', async () => {
      await fc.assert(
        fc.asyncProperty(fc.oneof(together, around), fc.constantFrom(1, 3, 20), async (filter, size) => {
          const found = await listed(filter, size);
          expect(found.map(({ id }) => id)).toEqual(expected(filter).map(({ id }) => id));
        }),
        { numRuns: 200 },
      );
    });

    it('show a message to oneself once', async () => {
      expect(await listed({ ...anyMessage, address: lonePhone }, 10)).toHaveLength(1);
    });

    it('have no gap and no repeat while messages are added', async () => {
      const [conversationId = ''] = conversationIds;
      let added = 0;
      const add = () =>
        opened.store.transaction(async (tx) => {
          added += 1;
          // Newer than all, as old as some, older than all.
          for (const step of [1_000, added, -1_000])
            tx.addMessage(messageFields({ id: uuidv7(), conversationId, createdAt: moment(step) }));
        });
      for (const filter of [anyMessage, { ...anyMessage, address: ourPhone }, { ...anyMessage, conversationIds }]) {
        const found = (await allPages((page) => opened.reads.listMessages(filter, page), 5, add)).map(({ id }) => id);
        expect(new Set(found).size).toBe(found.length);
        const before = expected(filter).map(({ id }) => id);
        expect(found.filter((id) => before.includes(id))).toEqual(before);
      }
    });
  });
}
