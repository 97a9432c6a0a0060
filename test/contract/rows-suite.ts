import { v7 as uuidv7 } from 'uuid';
import { describe, expect, it } from 'vitest';
import { toConversationView, toMessageView } from '../../src/domain/views.ts';
import { conversationFields, failureOf, messageFields } from '../support/message-fields.ts';
import { allPages, type Open, openForAll } from '../support/store-and-reads.ts';
import { draftBetween, inboundBetween, newPair, reportOn, useCases } from '../support/use-cases.ts';

const UNKNOWN = '01900000-0000-7000-8000-0000000000ff';

export function describeRows(open: Open): void {
  describe('rows by id', () => {
    const opened = openForAll(open);

    it('come back with every field as it was stored', async () => {
      const at = new Date('2026-03-04T05:06:07.089Z');
      const conversation = conversationFields({
        id: uuidv7(),
        ...{ participantFrom: 'Support@example.com', fromKey: 'support@example.com', channelType: 'email' },
        ...{ participantTo: 'Ada@example.org', toKey: 'ada@example.org', status: 'archived', thread: true },
        ...{ messageCount: 3, unreadCount: 2, lastSequence: 5, title: 'Größe "L" \u{1f44b}', lastReadSequence: 1 },
        ...{ metaData: { nested: [{ deep: null }, 1.5, true], ключ: 'значение' }, lastReadMessageId: uuidv7() },
        ...{ lastMessageAt: at, createdAt: new Date('0001-01-01T00:00:00.000Z'), updatedAt: at },
      });
      const message = messageFields({
        id: uuidv7(),
        conversationId: conversation.id,
        ...{ provider: 'sendgrid', providerMessageId: 'id.with.dots', status: 'failed', messageType: 'email', sequence: 5 },
        ...{ fromAddress: 'Support@example.com', toAddress: 'Ada@example.org', body: 'line one\nline two \u{1f44b} \\ %s $1 ?' },
        attachments: [
          { url: 'https://example.com/a?b=c', contentType: 'image/png', filename: 'a.png', sizeBytes: 5_000_000_000, contentId: 'x' },
        ],
        email: { subject: 'Hello', htmlBody: '<p>hi</p>', replyTo: 'reply@example.com', internetMessageId: '<1@example.com>' },
        segmentation: { encoding: 'ucs2', segmentCount: 2, nonGsmCharacters: ['\u{1f44b}'] },
        failure: failureOf({ reason: 'bounced_after_delivery', providerCode: '5.1.1', providerMessage: 'no such user' }),
        ...{ metaData: { order: 7 }, parentId: uuidv7(), createdBy: 'billing', attemptCount: 2 },
        ...{ sentAt: at, deliveredAt: at, failedAt: at, sendAt: new Date('9999-12-31T23:59:59.999Z'), expireAt: at, nextAttemptAt: at },
        ...{ createdAt: at, updatedAt: at },
      });
      await opened.store.transaction(async (tx) => {
        tx.addConversation(conversation);
        tx.addMessage(message);
      });
      expect((await opened.reads.findMessage(message.id)).value).toEqual(toMessageView(message));
      expect((await opened.reads.findConversation(conversation.id)).value).toEqual(toConversationView(conversation));
      const filter = { conversationIds: [conversation.id], statuses: [], messageTypes: [], failureReasons: [] };
      expect((await opened.reads.listMessages(filter, { size: 1 })).items).toEqual([toMessageView(message)]);
      await opened.store.transaction(async (tx) => {
        expect(toMessageView((await tx.findMessage(message.id)) ?? messageFields())).toEqual(toMessageView(message));
        expect(toConversationView((await tx.findConversation(conversation.id)) ?? conversationFields())).toEqual(
          toConversationView(conversation),
        );
      });
    });

    it('are undefined when there are none, again and again', async () => {
      for (const _ of [1, 2, 3]) {
        expect((await opened.reads.findMessage(UNKNOWN)).value).toBeUndefined();
        expect((await opened.reads.findConversation(UNKNOWN)).value).toBeUndefined();
      }
      await opened.store.transaction(async (tx) => {
        expect(await tx.findMessage(UNKNOWN)).toBeUndefined();
        expect(await tx.lockMessage(UNKNOWN)).toBeUndefined();
        expect(await tx.findConversation(UNKNOWN)).toBeUndefined();
        expect(await tx.lockConversation(UNKNOWN)).toBeUndefined();
        expect(await tx.appendToExisting(UNKNOWN, 'outbound', new Date())).toBeUndefined();
        expect(await tx.findMessageByProviderId('twilio', 'nobody knows it')).toBeUndefined();
        expect(await tx.findEventByProviderId('twilio', 'nobody knows it')).toBeUndefined();
      });
    });

    it('are found many at once, unknown ids left out', async () => {
      const { send } = useCases(opened);
      const sent = await Promise.all(Array.from({ length: 5 }, () => send(draftBetween(newPair()))));
      const ids = sent.map(({ message }) => message.id);
      // Some of them known to a cache, some not.
      await Promise.all(ids.slice(0, 2).map((id) => opened.reads.findMessage(id)));
      for (const _ of [1, 2]) {
        const { value } = await opened.reads.findMessages([UNKNOWN, ...ids]);
        expect(value).toEqual(new Map(sent.map(({ message }) => [message.id, message])));
      }
      const conversations = await opened.reads.findConversations([...sent.map(({ message }) => message.conversationId), UNKNOWN]);
      expect([...conversations.value.keys()].toSorted()).toEqual(sent.map(({ message }) => message.conversationId).toSorted());
      expect((await opened.reads.findMessages([])).value).toEqual(new Map());
      expect((await opened.reads.findConversations([UNKNOWN])).value).toEqual(new Map());
    });

    it('have their history oldest first, page by page', async () => {
      const { send, report, changeMessage } = useCases(opened);
      const { message } = await send(draftBetween(newPair()));
      const words = ['queued', 'sending', 'sent', 'undelivered'];
      for (const providerStatus of words) await report(reportOn(message.id, { providerStatus, providerCode: '30003' }));
      await changeMessage.retry(message.id, false, undefined, 'test');
      for (const size of [1, 2, 6, 200]) {
        const events = await allPages((page) => opened.reads.listMessageEvents(message.id, page), size);
        expect(events.map(({ sequence }) => Number(sequence))).toEqual([1, 2, 3, 4, 5, 6]);
        expect(events.map(({ providerStatus }) => providerStatus)).toEqual(['', ...words, '']);
      }
      expect(await opened.reads.listMessageEvents(UNKNOWN, { size: 10 })).toEqual({ items: [] });
    });

    it('are counted in the statistics of their conversation', async () => {
      const { send, receive, report, changeMessage } = useCases(opened);
      const pair = newPair();
      const at = new Date('2026-01-01T00:00:00.000Z');
      const later = (ms: number) => new Date(at.getTime() + ms);
      const { message } = await send(draftBetween(pair));
      const failed = await send(draftBetween(pair));
      await receive(inboundBetween(pair, { occurredAt: at }));
      await report(reportOn(failed.message.id, { providerStatus: 'failed' }));
      await changeMessage.cancel((await send(draftBetween(pair))).message.id);
      const timed = { conversationId: message.conversationId, createdAt: at };
      await opened.store.transaction(async (tx) => {
        tx.addMessage(messageFields({ ...timed, id: uuidv7(), status: 'delivered', sentAt: later(100), deliveredAt: later(1_100) }));
        tx.addMessage(messageFields({ ...timed, id: uuidv7(), status: 'sent', sentAt: later(300) }));
      });
      const statistics = await opened.reads.conversationStatistics(message.conversationId);
      expect(statistics).toMatchObject({ totalMessages: 6n, inboundMessages: 1n, outboundMessages: 5n });
      expect(statistics.outboundByStatus).toEqual({ pending: 1n, failed: 2n, delivered: 1n, sent: 1n });
      expect(statistics.averageSendLatencyMs).toBeCloseTo(200);
      expect(statistics.averageDeliveryLatencyMs).toBeCloseTo(1_000);
      const none = await opened.reads.conversationStatistics(UNKNOWN);
      expect(none).toMatchObject({ totalMessages: 0n, outboundByStatus: {}, averageSendLatencyMs: 0, averageDeliveryLatencyMs: 0 });
    });

    it('of the open conversation are found by its addresses, of a closed one or a thread they are not', async () => {
      const { createConversation, changeConversation } = useCases(opened);
      const { ours, theirs } = newPair();
      const participants = {
        ours: { channel: 'sms', text: ours, key: ours },
        theirs: { channel: 'sms', text: theirs, key: theirs },
      } as const;
      const found = () => opened.reads.findOpenConversationId(participants);
      const draft = {
        participantFrom: ours,
        participantTo: theirs,
        channel: 'sms',
        title: '',
        metaData: {},
        requestId: undefined,
      } as const;
      expect(await found()).toBeUndefined();
      await createConversation({ ...draft, newThread: true }, 'test');
      expect(await found()).toBeUndefined();
      const { conversation } = await createConversation({ ...draft, newThread: false }, 'test');
      expect(await found()).toBe(conversation.id);
      await changeConversation.archive(conversation.id, '');
      expect(await found()).toBe(conversation.id);
      await changeConversation.close(conversation.id, '');
      expect(await found()).toBeUndefined();
    });
  });
}
