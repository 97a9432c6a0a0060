import { expect } from 'vitest';
import { allPages, type StoreAndReads } from '../support/store-and-reads.ts';

/** What the rows themselves say of a conversation, beside what it says of itself. */
async function recount({ reads }: StoreAndReads, conversationId: string) {
  const filter = { conversationIds: [conversationId], statuses: [], messageTypes: [], failureReasons: [] };
  const messages = await allPages((page) => reads.listMessages(filter, page), 200);
  const events = await Promise.all(messages.map(({ id }) => allPages((page) => reads.listMessageEvents(id, page), 200)));
  const firstSequences = new Map(events.flatMap(([first]) => (first === undefined ? [] : [[first.messageId, first.sequence]])));
  const { value: conversation } = await reads.findConversation(conversationId);
  const watermark = firstSequences.get(conversation?.lastReadMessageId ?? '') ?? 0n;
  const statistics = await reads.conversationStatistics(conversationId);
  const inbound = messages.filter(({ createdBy }) => createdBy === '');
  const sequences = events.flat().map(({ sequence }) => Number(sequence));
  return {
    conversation,
    messageCount: BigInt(messages.length),
    unreadCount: BigInt(inbound.filter(({ id }) => (firstSequences.get(id) ?? 0n) > watermark).length),
    sequences: sequences.toSorted((left, right) => left - right),
    statistics,
  };
}

/** Counters and the numbers of events are what counting the rows gives. */
export async function expectConsistent(opened: StoreAndReads, conversationId: string): Promise<void> {
  const { conversation, messageCount, unreadCount, sequences, statistics } = await recount(opened, conversationId);
  expect(conversation).toMatchObject({ messageCount, unreadCount, lastSequence: BigInt(sequences.length) });
  expect(sequences).toEqual(sequences.map((_, index) => index + 1));
  expect(statistics.totalMessages).toBe(messageCount);
}
