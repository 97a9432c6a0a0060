import { v7 as uuidv7 } from 'uuid';
import { describe, expect, it, vi } from 'vitest';
import type { Read } from '../../src/domain/ports.ts';
import { versionOf } from '../../src/domain/views.ts';
import { conversationFields, messageFields } from '../support/message-fields.ts';
import { type Open, openForAll } from '../support/store-and-reads.ts';
import {
  conversationBetween,
  draftBetween,
  inboundBetween,
  newPair,
  type Pair,
  reportOn,
  type UseCases,
  useCases,
} from '../support/use-cases.ts';

type Entity = 'message' | 'conversation';

interface Existing {
  readonly pair: Pair;
  readonly messageId: string;
  readonly conversationId: string;
}

interface Write {
  readonly name: string;
  /** What of the existing message and conversation it changes. */
  readonly changes: readonly Entity[];
  readonly before?: (cases: UseCases, existing: Existing) => Promise<unknown>;
  readonly write: (cases: UseCases, existing: Existing) => Promise<unknown>;
}

const both: readonly Entity[] = ['message', 'conversation'];
const conversationOnly: readonly Entity[] = ['conversation'];

/** Every use case that writes. */
const writes: readonly Write[] = [
  { name: 'SendMessage', changes: conversationOnly, write: ({ send }, { pair }) => send(draftBetween(pair)) },
  {
    name: 'SendMessage into a named conversation',
    changes: conversationOnly,
    write: ({ send }, { pair, conversationId }) => send({ ...draftBetween(pair), conversationId }),
  },
  { name: 'ReceiveMessage', changes: conversationOnly, write: ({ receive }, { pair }) => receive(inboundBetween(pair)) },
  { name: 'ReportDelivery', changes: both, write: ({ report }, { messageId }) => report(reportOn(messageId)) },
  { name: 'CancelMessage', changes: both, write: ({ changeMessage }, { messageId }) => changeMessage.cancel(messageId) },
  {
    name: 'RetryMessage',
    changes: both,
    before: ({ changeMessage }, { messageId }) => changeMessage.cancel(messageId),
    write: ({ changeMessage }, { messageId }) => changeMessage.retry(messageId, false, undefined, 'test'),
  },
  {
    name: 'CreateConversation of the same addresses',
    changes: [],
    write: ({ createConversation }, { pair }) => createConversation(conversationBetween(pair), 'test'),
  },
  {
    name: 'UpdateConversation',
    changes: conversationOnly,
    write: ({ changeConversation }, { conversationId }) =>
      changeConversation.update(conversationId, { title: 'new', metaData: { a: 1 } }, ''),
  },
  {
    name: 'MarkConversationRead',
    changes: conversationOnly,
    write: ({ changeConversation }, { conversationId, messageId }) => changeConversation.markRead(conversationId, messageId),
  },
  {
    name: 'ArchiveConversation',
    changes: conversationOnly,
    write: ({ changeConversation }, { conversationId }) => changeConversation.archive(conversationId, ''),
  },
  {
    name: 'CloseConversation',
    changes: conversationOnly,
    write: ({ changeConversation }, { conversationId }) => changeConversation.close(conversationId, ''),
  },
  {
    name: 'ReopenConversation',
    changes: conversationOnly,
    before: ({ changeConversation }, { conversationId }) => changeConversation.archive(conversationId, ''),
    write: ({ changeConversation }, { conversationId }) => changeConversation.reopen(conversationId, ''),
  },
  {
    name: 'DeleteConversation',
    changes: both,
    write: ({ changeConversation }, { conversationId }) => changeConversation.delete(conversationId, '', false),
  },
];

export function describeVisibility(open: Open): void {
  describe('a read after an acknowledged write shows it', () => {
    const opened = openForAll(open);
    /** As often as it takes until a cache, if there is one, has the answer. */
    const warm = <T>(read: () => Promise<Read<T>>) =>
      vi.waitFor(async () => expect((await read()).source).not.toBe('miss'), { timeout: 30_000 });

    /** Past any cache: only single rows are cached. */
    async function stored({ pair, conversationId, messageId }: Existing) {
      const messages = await opened.reads.listMessages(
        { conversationIds: [conversationId], statuses: [], messageTypes: [], failureReasons: [] },
        { size: 200 },
      );
      const conversations = await opened.reads.listConversations(
        { participant: pair.ours, statuses: [], unreadOnly: false },
        { size: 200 },
      );
      return {
        message: messages.items.find(({ id }) => id === messageId),
        conversation: conversations.items.find(({ id }) => id === conversationId),
      };
    }

    async function read({ conversationId, messageId }: Existing) {
      const [one, many] = [await opened.reads.findMessage(messageId), await opened.reads.findMessages([messageId])];
      expect(many.value.get(messageId)).toEqual(one.value);
      const [alone, among] = [await opened.reads.findConversation(conversationId), await opened.reads.findConversations([conversationId])];
      expect(among.value.get(conversationId)).toEqual(alone.value);
      return { message: one.value, conversation: alone.value };
    }

    it.each(writes)('$name', async ({ changes, before, write }) => {
      const cases = useCases(opened);
      const pair = newPair();
      const { message } = await cases.send(draftBetween(pair));
      const existing = { pair, messageId: message.id, conversationId: message.conversationId };
      await before?.(cases, existing);
      await warm(() => opened.reads.findMessage(existing.messageId));
      await warm(() => opened.reads.findConversation(existing.conversationId));
      const earlier = await read(existing);
      await write(cases, existing);
      const later = await read(existing);
      expect(later).toEqual(await stored(existing));
      for (const entity of changes) expect(later[entity]?.etag).not.toBe(earlier[entity]?.etag);
      // And again, from a cache that was filled after the write.
      if (later.conversation !== undefined) await warm(() => opened.reads.findConversation(existing.conversationId));
      expect(await read(existing)).toEqual(later);
    });

    it('of rows that were asked for before they existed', async () => {
      const conversation = conversationFields({ id: uuidv7(), thread: true });
      const message = messageFields({ id: uuidv7(), conversationId: conversation.id });
      expect((await opened.reads.findMessage(message.id)).value).toBeUndefined();
      expect((await opened.reads.findConversations([conversation.id])).value.size).toBe(0);
      await opened.store.transaction(async (tx) => {
        tx.addConversation(conversation);
        tx.addMessage(message);
      });
      expect((await opened.reads.findMessage(message.id)).value?.id).toBe(message.id);
      expect((await opened.reads.findConversations([conversation.id])).value.size).toBe(1);
    });

    it('to everybody, while others read and write all the time', async () => {
      const { createConversation, changeConversation } = useCases(opened);
      const { conversation } = await createConversation(conversationBetween(newPair()), 'test');
      const { id } = conversation;
      let acknowledged = versionOf(conversation);
      let writing = true;
      const reader = async (many: boolean): Promise<number> => {
        let reads = 0;
        while (writing) {
          const atLeast = acknowledged;
          const value = many ? (await opened.reads.findConversations([id])).value.get(id) : (await opened.reads.findConversation(id)).value;
          expect(versionOf(value ?? { etag: 'v0' })).toBeGreaterThanOrEqual(atLeast);
          reads += 1;
        }
        return reads;
      };
      const writer = async (): Promise<void> => {
        for (let round = 0; round < 60; round += 1) {
          const view = await changeConversation.update(id, { title: `round ${round}`, metaData: undefined }, '');
          acknowledged = versionOf(view);
        }
      };
      const readers = Promise.all(Array.from({ length: 6 }, (_, index) => reader(index % 2 === 0)));
      await writer().finally(() => {
        writing = false;
      });
      expect(Math.min(...(await readers))).toBeGreaterThan(0);
      expect((await opened.reads.findConversation(id)).value?.title).toBe('round 59');
    });
  });
}
