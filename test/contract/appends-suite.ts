import { v7 as uuidv7 } from 'uuid';
import { describe, expect, it } from 'vitest';
import { parsePhone } from '../../src/domain/address.ts';
import { newConversation } from '../../src/domain/conversation.ts';
import { type Open, openForAll } from '../support/store-and-reads.ts';
import { conversationBetween, draftBetween, inboundBetween, newPair, type Pair, reportOn, useCases } from '../support/use-cases.ts';
import { expectConsistent } from './recount.ts';

const fresh = ({ ours, theirs }: Pair, thread = false) =>
  newConversation({
    id: uuidv7(),
    title: '',
    metaData: {},
    thread,
    participants: { ours: parsePhone(ours, 'ours'), theirs: parsePhone(theirs, 'theirs') },
    at: new Date(),
  });

const times = <T>(count: number, work: (index: number) => Promise<T>): Promise<readonly T[]> =>
  Promise.all(Array.from({ length: count }, (_, index) => work(index)));

export function describeAppends(open: Open): void {
  describe('messages that join a conversation', () => {
    const opened = openForAll(open);

    it('of the same two addresses join the same one, however many start at once', async () => {
      const pair = newPair();
      const appended = await times(20, () => opened.store.transaction((tx) => tx.appendToOpen(fresh(pair), 'inbound', new Date())));
      expect(new Set(appended.map(({ conversationId }) => conversationId)).size).toBe(1);
      const sequences = appended.map(({ sequence }) => sequence).toSorted((left, right) => left - right);
      expect(sequences).toEqual(Array.from({ length: 20 }, (_, index) => index + 1));
      const { value } = await opened.reads.findConversation(appended[0]?.conversationId ?? '');
      expect(value).toMatchObject({ messageCount: 20n, unreadCount: 20n, lastSequence: 20n });
    });

    it('keep the time of the newest, whatever order they come in', async () => {
      const pair = newPair();
      const at = (day: number) => new Date(`2026-01-0${day}T00:00:00.000Z`);
      let id = '';
      for (const day of [2, 3, 1]) {
        const appended = await opened.store.transaction((tx) => tx.appendToOpen(fresh(pair), 'outbound', at(day)));
        id = appended.conversationId;
      }
      await opened.store.transaction((tx) => tx.appendToExisting(id, 'outbound', at(1)));
      const { value } = await opened.reads.findConversation(id);
      expect(value?.lastMessageAt?.seconds).toBe(BigInt(at(3).getTime() / 1_000));
      expect(value).toMatchObject({ messageCount: 4n, unreadCount: 0n });
    });

    it('make an archived one active, and leave a closed one and threads alone', async () => {
      const { changeConversation, createConversation } = useCases(opened);
      const pair = newPair();
      const append = () => opened.store.transaction((tx) => tx.appendToOpen(fresh(pair), 'outbound', new Date()));
      const { conversation: thread } = await createConversation(conversationBetween(pair, { newThread: true }), 'test');
      const { conversationId } = await append();
      expect(conversationId).not.toBe(thread.id);
      await changeConversation.archive(conversationId, '');
      expect((await append()).conversationId).toBe(conversationId);
      const { value: active } = await opened.reads.findConversation(conversationId);
      await changeConversation.close(conversationId, '');
      const next = await append();
      expect(next).toMatchObject({ sequence: 1 });
      expect(next.conversationId).not.toBe(conversationId);
      const closed = await opened.store.transaction((tx) => tx.appendToExisting(conversationId, 'outbound', new Date()));
      expect(closed).toBeUndefined();
      expect((await opened.reads.findConversation(conversationId)).value?.messageCount).toBe(active?.messageCount);
      const joined = await opened.store.transaction((tx) => tx.appendToExisting(thread.id, 'outbound', new Date()));
      expect(joined).toEqual({ conversationId: thread.id, sequence: 1 });
    });

    it('get or create one conversation, however many ask at once', async () => {
      const pair = newPair();
      const answers = await times(20, () =>
        opened.store.transaction(async (tx) => {
          const { conversation, created } = await tx.getOrCreateConversation(fresh(pair));
          return { id: conversation.id, created };
        }),
      );
      expect(new Set(answers.map(({ id }) => id)).size).toBe(1);
      expect(answers.filter(({ created }) => created)).toHaveLength(1);
    });

    it('are numbered without a gap, however many events are recorded at once and whatever fails', async () => {
      const { send, report } = useCases(opened);
      const pair = newPair();
      const { message } = await send(draftBetween(pair));
      await times(30, async (index) => {
        if (index % 3 === 0) await send(draftBetween(pair));
        else if (index % 3 === 1) await report(reportOn(message.id, { providerStatus: 'sending' }));
        else await expect(send({ ...draftBetween(pair), parentId: uuidv7() })).rejects.toMatchObject({ code: 'message_not_found' });
      });
      await expectConsistent(opened, message.conversationId);
      expect((await opened.reads.findConversation(message.conversationId)).value?.lastSequence).toBe(21n);
    });

    it('stay unread when they arrive while the conversation is marked read', async () => {
      const { receive, changeConversation } = useCases(opened);
      const pair = newPair();
      const { message: first } = await receive(inboundBetween(pair));
      const { conversationId } = first;
      await times(40, async (index) => {
        const { message } = await receive(inboundBetween(pair));
        if (index % 4 === 0) await changeConversation.markRead(conversationId, message.id);
      });
      await expectConsistent(opened, conversationId);
      const before = (await opened.reads.findConversation(conversationId)).value;
      await changeConversation.markRead(conversationId, first.id);
      expect((await opened.reads.findConversation(conversationId)).value).toEqual(before);
    });
  });
}
