import { describe, expect, it } from 'vitest';
import type { Reads, Store } from '../../src/domain/ports.ts';
import { type Open, openForAll } from '../support/store-and-reads.ts';

const id = '01900000-0000-7000-8000-000000000001';
const page = { size: 10 };
const address = { channel: 'sms', text: '+14155552671', key: '+14155552671' } as const;

/** Every method, so that one that is added must be added here. */
const readsOf: { readonly [Name in keyof Reads]: (reads: Reads) => Promise<unknown> } = {
  findMessage: (reads) => reads.findMessage(id),
  findMessages: (reads) => reads.findMessages([id]),
  findConversation: (reads) => reads.findConversation(id),
  findConversations: (reads) => reads.findConversations([id]),
  listMessages: (reads) => reads.listMessages({ conversationIds: [], statuses: [], messageTypes: [], failureReasons: [] }, page),
  listMessageEvents: (reads) => reads.listMessageEvents(id, page),
  listConversations: (reads) => reads.listConversations({ statuses: [], unreadOnly: false }, page),
  searchConversations: (reads) => reads.searchConversations('word', { statuses: [], unreadOnly: false }, page),
  conversationStatistics: (reads) => reads.conversationStatistics(id),
  findOpenConversationId: (reads) => reads.findOpenConversationId({ ours: address, theirs: address }),
};

/** `open` connects to a PostgreSQL that is not there. */
export function describeUnreachable(open: Open): void {
  describe('without PostgreSQL', () => {
    const opened = openForAll(open);

    it.each(Object.entries(readsOf))('%s throws storage_unavailable, never an empty answer', async (_name, read) => {
      await expect(read(opened.reads)).rejects.toMatchObject({ name: 'DomainError', code: 'storage_unavailable' });
    });

    it('a transaction throws storage_unavailable', async () => {
      const transaction: Promise<unknown> = (opened.store satisfies Store).transaction((tx) => tx.findMessage(id));
      await expect(transaction).rejects.toMatchObject({ name: 'DomainError', code: 'storage_unavailable' });
    });
  });
}
