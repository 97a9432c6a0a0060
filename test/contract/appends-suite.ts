import { v7 as uuidv7 } from 'uuid';
import { describe, expect, it } from 'vitest';
import { parsePhone } from '../../src/domain/address.ts';
import { newConversation } from '../../src/domain/conversation.ts';
import { allPages, type Open, openForAll, type StoreAndReads } from '../support/store-and-reads.ts';
import { conversationBetween, draftBetween, inboundBetween, newPair, type Pair, reportOn, useCases } from '../support/use-cases.ts';

const fresh = ({ ours, theirs }: Pair, thread = false) =>
  newConversation({
    id: uuidv7(),
    title: '',
    metaData: {},
    thread,
    participants: { ours: parsePhone(ours, 'ours'), theirs: parsePhone(theirs, 'theirs') },
    at: new Date(),
  });

/** What the rows themselves say of a conversation, beside what it says of itself. */
async function recount({ reads }: StoreAndReads, conversationId: string) {
  const filter = { conversationIds: [conversationId], statuses: [], messageTypes: [] };
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

async function expectConsistent(opened: StoreAndReads, conversationId: string): Promise<void> {
  const { conversation, messageCount, unreadCount, sequences, statistics } = await recount(opened, conversationId);
  expect(conversation).toMatchObject({ messageCount, unreadCount, lastSequence: BigInt(sequences.length) });
  expect(sequences).toEqual(sequences.map((_, index) => index + 1));
  expect(statistics.totalMessages).toBe(messageCount);
}

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

    it('leave counters that equal a recount, whatever happens at once', async () => {
      const { send, receive, report, changeMessage, changeConversation, createConversation } = useCases(opened);
      const pairsOfAll = [newPair(), newPair(), newPair()];
      const known = new Set<string>();
      const messages: string[] = [];
      // Expected refusals: the conversation was closed, the message does not allow it any more, or it was deleted.
      const refusals = ['conversation_closed', 'status_forbids', 'conversation_exists', 'message_not_found', 'conversation_not_found'];
      const allowed = async (work: Promise<unknown>) => {
        const outcome = await work.then(
          () => 'done',
          (error: { code?: string }) => error.code ?? String(error),
        );
        expect(['done', ...refusals]).toContain(outcome);
      };
      const steps = (index: number, pair: Pair) => {
        const conversationId = [...known][index % Math.max(1, known.size)] ?? '';
        const messageId = messages[index % Math.max(1, messages.length)] ?? '';
        const remember = (message: { readonly id: string; readonly conversationId: string }) => {
          known.add(message.conversationId);
          messages.push(message.id);
        };
        return [
          () => receive(inboundBetween(pair)).then(({ message }) => remember(message)),
          () => send(draftBetween(pair)).then(({ message }) => remember(message)),
          () => receive(inboundBetween(pair)).then(({ message }) => remember(message)),
          () => report(reportOn(messageId, { providerStatus: ['sent', 'failed', 'delivered'][index % 3] ?? '' })),
          () => changeMessage.cancel(messageId),
          () => changeConversation.markRead(conversationId, messageId),
          () => changeConversation.archive(conversationId, ''),
          () => changeConversation.close(conversationId, ''),
          () => changeConversation.reopen(conversationId, ''),
          () => createConversation(conversationBetween(pair), 'test').then(({ conversation }) => known.add(conversation.id)),
          () => changeConversation.delete(conversationId, '', true),
        ];
      };
      for (const pair of pairsOfAll) for (const step of steps(0, pair).slice(0, 3)) await step();
      await times(12, async (worker) => {
        for (let round = 0; round < 12; round += 1) {
          const index = worker * 7 + round * 5;
          const pair = pairsOfAll[index % pairsOfAll.length] ?? newPair();
          // Deletions are rarer than the rest, or little would be left to count.
          const all = steps(index, pair);
          const step = all[round === 11 && worker > 9 ? 10 : (index * 3 + worker) % 10];
          await allowed(step?.() ?? Promise.resolve());
        }
      });
      const open = { statuses: ['active', 'archived'] as const, unreadOnly: false };
      for (const { ours } of pairsOfAll) {
        const page = await opened.reads.listConversations({ ...open, participant: ours }, { size: 200 });
        expect(page.items.length).toBeLessThanOrEqual(1);
      }
      const all = (
        await Promise.all(
          pairsOfAll.map(({ ours }) =>
            opened.reads.listConversations({ statuses: [], unreadOnly: false, participant: ours }, { size: 200 }),
          ),
        )
      ).flatMap(({ items }) => items);
      expect(all.length).toBeGreaterThan(3);
      for (const { id } of all) await expectConsistent(opened, id);
    });
  });
}
