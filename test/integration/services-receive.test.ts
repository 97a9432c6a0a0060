import { v7 as uuidv7 } from 'uuid';
import { describe, expect, it } from 'vitest';
import { ConversationStatus } from '../../gen/messaging/v1/conversation_pb.js';
import { Direction, MessageEvent_Type, MessageStatus, MessageType } from '../../gen/messaging/v1/message_pb.js';
import { createManageSuppressions } from '../../src/services/manage-suppressions.ts';
import { openForAll } from '../support/store-and-reads.ts';
import { conversationBetween, draftBetween, inboundBetween, newPair, openStorage, useCases } from '../support/use-cases.ts';

const storage = openForAll(openStorage);
const cases = () => useCases(storage);
const conversation = async (id: string) => (await storage.reads.findConversation(id)).value;
const email = { subject: '', htmlBody: '', replyTo: '', internetMessageId: '<1@example.org>' };

describe('ReceiveMessage', () => {
  it('stores the message as delivered, with its event, unread', async () => {
    const pair = newPair();
    const occurredAt = new Date('2026-05-01T12:00:00.000Z');
    const { message, duplicate } = await cases().receive(inboundBetween(pair, { occurredAt, metaData: { carrier: 'x' } }));
    expect(duplicate).toBe(false);
    expect(message).toMatchObject({
      status: MessageStatus.DELIVERED,
      direction: Direction.INBOUND,
      createdBy: '',
      metaData: { carrier: 'x' },
    });
    expect(message).toMatchObject({ fromAddress: pair.theirs, toAddress: pair.ours, sentAt: { seconds: 1_777_636_800n } });
    const read = (await cases().messages.get(message.id, { conversation: true, events: true })).value;
    expect(read.message).toEqual(message);
    expect(read.events).toEqual([expect.objectContaining({ type: MessageEvent_Type.RECEIVED, sequence: 1n })]);
    expect(read.conversation).toMatchObject({ participantFrom: pair.ours, participantTo: pair.theirs, messageCount: 1n, unreadCount: 1n });
  });

  it('stores it exactly once, however often and however much at once it comes', async () => {
    const pair = newPair();
    const inbound = inboundBetween(pair);
    const answers = await Promise.all(Array.from({ length: 30 }, () => cases().receive(inbound)));
    expect(answers.filter(({ duplicate }) => !duplicate)).toHaveLength(1);
    expect(new Set(answers.map(({ message }) => message.id)).size).toBe(1);
    expect(await cases().receive({ ...inbound, body: 'told again in other words' })).toMatchObject({
      duplicate: true,
      message: { body: 'hi' },
    });
    expect(await conversation(answers[0]?.message.conversationId ?? '')).toMatchObject({
      messageCount: 1n,
      unreadCount: 1n,
      lastSequence: 1n,
    });
  });

  it('takes one id of two providers for two messages', async () => {
    const providerMessageId = `SM${uuidv7()}`;
    const emails = {
      provider: 'sendgrid',
      messageType: 'email',
      fromAddress: 'ada@example.org',
      toAddress: 'support@example.com',
    } as const;
    const phone = await cases().receive(inboundBetween(newPair(), { providerMessageId }));
    const mail = await cases().receive(inboundBetween(newPair(), { ...emails, providerMessageId, email }));
    expect([phone.duplicate, mail.duplicate]).toEqual([false, false]);
    expect(mail.message).toMatchObject({ messageType: MessageType.EMAIL, email: { internetMessageId: '<1@example.org>' } });
  });

  it('puts many messages of one sender into one conversation, whatever comes first', async () => {
    const pair = newPair();
    const answers = await Promise.all([
      ...Array.from({ length: 10 }, () => cases().receive(inboundBetween(pair))),
      ...Array.from({ length: 10 }, () => cases().send(draftBetween(pair))),
    ]);
    const ids = new Set(answers.map(({ message }) => message.conversationId));
    expect(ids.size).toBe(1);
    expect(await conversation([...ids].join())).toMatchObject({ messageCount: 20n, unreadCount: 10n, lastSequence: 20n });
  });

  it('makes an archived conversation active again', async () => {
    const pair = newPair();
    const { message } = await cases().receive(inboundBetween(pair));
    await cases().changeConversation.archive(message.conversationId, '');
    const later = await cases().receive(inboundBetween(pair));
    expect(later.message.conversationId).toBe(message.conversationId);
    expect(await conversation(message.conversationId)).toMatchObject({ status: ConversationStatus.ACTIVE, unreadCount: 2n });
  });

  it('starts a new conversation after the old one was closed', async () => {
    const pair = newPair();
    const { message } = await cases().receive(inboundBetween(pair));
    await cases().changeConversation.close(message.conversationId, '');
    const closed = await conversation(message.conversationId);
    const later = await cases().receive(inboundBetween(pair));
    expect(later.message.conversationId).not.toBe(message.conversationId);
    expect(await conversation(message.conversationId)).toEqual(closed);
  });

  it('leaves threads alone', async () => {
    const pair = newPair();
    const thread = await cases().createConversation(conversationBetween(pair, { newThread: true }), 'test');
    expect((await cases().receive(inboundBetween(pair))).message.conversationId).not.toBe(thread.conversation.id);
  });

  it('takes a number that is newer than what is known about numbers, whose STOP counts and can be lifted', async () => {
    const pair = { ...newPair(), theirs: '+15551234567' };
    const { message } = await cases().receive(inboundBetween(pair, { body: 'STOP' }));
    expect(message.fromAddress).toBe(pair.theirs);
    const suppressions = createManageSuppressions({ ...storage, clock: { now: () => new Date() }, newId: uuidv7 });
    expect(await suppressions.of(pair.theirs)).toMatchObject([{ address: pair.theirs, fromAddress: pair.ours }]);
    await suppressions.delete({ channel: 'sms', address: pair.theirs, fromAddress: pair.ours });
    expect(await suppressions.of(pair.theirs)).toEqual([]);
  });

  it('takes no message of WhatsApp for an SMS', async () => {
    const { ours, theirs } = newPair();
    const whatsapp = inboundBetween({ ours: `whatsapp:${ours}`, theirs: `whatsapp:${theirs}` });
    await expect(cases().receive(whatsapp)).rejects.toMatchObject({ code: 'address_invalid' });
  });

  it('takes short codes and names as senders', async () => {
    for (const fromAddress of ['72345', 'ACME Bank']) {
      const { message } = await cases().receive(inboundBetween(newPair(), { fromAddress }));
      expect(message.fromAddress).toBe(fromAddress);
    }
  });

  it.each([
    ['an email by Twilio', { messageType: 'email' }, 'field_invalid'],
    ['an SMS by SendGrid', { provider: 'sendgrid' }, 'field_invalid'],
    ['an SMS with email content', { email }, 'field_invalid'],
    [
      'an SMS with media',
      { attachments: [{ url: 'https://example.com', contentType: '', filename: '', sizeBytes: 0, contentId: '' }] },
      'field_invalid',
    ],
    ['a sender that is no address', { fromAddress: '@' }, 'address_invalid'],
    ['too much meta data', { metaData: { much: 'x'.repeat(16_384) } }, 'field_invalid'],
  ] as const)('refuses %s', async (_what, inbound, code) => {
    const refusal = cases().receive(inboundBetween(newPair(), { ...inbound }));
    await expect(refusal).rejects.toMatchObject({ name: 'DomainError', code });
  });
});
