import { v7 as uuidv7 } from 'uuid';
import { describe, expect, it } from 'vitest';
import { Direction, MessageEvent_Type, MessageStatus, MessageType, Provider } from '../../gen/messaging/v1/message_pb.js';
import type { OutboundDraft } from '../../src/services/outbound-draft.ts';
import { openForAll } from '../support/store-and-reads.ts';
import { conversationBetween, draftBetween, inboundBetween, newPair, openStorage, refused, useCases } from '../support/use-cases.ts';

const storage = openForAll(openStorage);
const cases = () => useCases(storage);

const email = { subject: 'Hello', htmlBody: '<p>Hello</p>', replyTo: '', internetMessageId: '' };
const picture = { url: 'https://example.com/a.png', contentType: 'image/png', filename: '', sizeBytes: 0, contentId: '' };
const metadataOfCloud = { ...picture, url: 'https://[::ffff:169.254.169.254]/latest/meta-data' };
const secondUrl = 'message.attachments[1].url';
const emails = { fromAddress: 'support@example.com', toAddress: 'ada@example.org', email };

const fieldRefused = (field: string) => refused('field_invalid', { fields: [expect.objectContaining({ field })] });

describe('SendMessage', () => {
  it.each<readonly [string, Partial<OutboundDraft>, MessageType, Provider]>([
    ['text to a phone is an SMS by Twilio', {}, MessageType.SMS, Provider.TWILIO],
    ['attachments to a phone make an MMS', { attachments: [picture] }, MessageType.MMS, Provider.TWILIO],
    ['an MMS may carry text alone when asked for', { messageType: 'mms' }, MessageType.MMS, Provider.TWILIO],
    ['an email address makes an email by SendGrid', emails, MessageType.EMAIL, Provider.SENDGRID],
    ['an email may have attachments', { ...emails, attachments: [picture] }, MessageType.EMAIL, Provider.SENDGRID],
  ])('%s', async (_what, draft, messageType, provider) => {
    const { message, replayed } = await cases().send(draft);
    expect(replayed).toBe(false);
    expect(message).toMatchObject({ messageType, provider, status: MessageStatus.PENDING, direction: Direction.OUTBOUND });
    expect(message.segmentation !== undefined).toBe(messageType === MessageType.SMS);
    expect((await cases().messages.get(message.id, { conversation: false, events: false })).value.message).toEqual(message);
  });

  it('stores normalized addresses, who asked, when it expires, and how it is encoded', async () => {
    const now = new Date('2026-05-01T12:00:00.000Z');
    const { send } = useCases({ ...storage, clock: { now: () => now } });
    const sendAt = new Date('2026-05-02T00:00:00.000Z');
    const draft = { fromAddress: '+1 (415) 555-2671', toAddress: ' +1 212 555 2672 ', body: 'für \u{1f44b}', sendAt, validityMs: 60_000 };
    const { message } = await send({ ...draft, metaData: { order: 7 } }, undefined, 'billing');
    expect(message).toMatchObject({ fromAddress: '+14155552671', toAddress: '+12125552672', createdBy: 'billing', metaData: { order: 7 } });
    expect(message.segmentation).toMatchObject({ segmentCount: 1, nonGsmCharacters: ['\u{1f44b}'] });
    expect(message.expireAt?.seconds).toBe(BigInt(sendAt.getTime() / 1_000 + 60));
    const byDefault = (await send({})).message;
    expect(byDefault.expireAt?.seconds).toBe(BigInt(now.getTime() / 1_000 + 10 * 3_600));
  });

  it('writes its first event and counts it', async () => {
    const pair = newPair();
    const { message } = await cases().send(draftBetween(pair));
    const { events, conversation } = (await cases().messages.get(message.id, { conversation: true, events: true })).value;
    expect(events).toHaveLength(1);
    expect(events[0]).toMatchObject({ type: MessageEvent_Type.CREATED, sequence: 1n, statusAfter: MessageStatus.PENDING });
    expect(conversation).toMatchObject({ messageCount: 1n, unreadCount: 0n, lastSequence: 1n, lastMessageAt: message.createdAt });
    expect(conversation).toMatchObject({ participantFrom: pair.ours, participantTo: pair.theirs });
  });

  it.each<readonly [string, Partial<OutboundDraft>, unknown]>([
    ['an unknown recipient', { toAddress: '12' }, refused('address_invalid', { metadata: { field: 'message.to_address' } })],
    ['a phone for the sender of an email', { ...emails, fromAddress: '+14155552671' }, refused('address_invalid')],
    ['a short code as recipient', { toAddress: '72345' }, refused('address_invalid')],
    ['an SMS to a mailbox', { ...emails, messageType: 'sms' }, fieldRefused('message.message_type')],
    ['an email to a phone', { messageType: 'email', email }, fieldRefused('message.message_type')],
    ['an email without its content', { ...emails, email: undefined }, fieldRefused('message.email')],
    ['email content to a phone', { email }, fieldRefused('message.email')],
    ['text of 1601 characters', { body: 'x'.repeat(1_601) }, fieldRefused('message.body')],
    ['a picture in our own network', { attachments: [picture, { ...picture, url: 'https://0x7f.1/a' }] }, fieldRefused(secondUrl)],
    ['an attachment of the cloud', { ...emails, attachments: [picture, metadataOfCloud] }, fieldRefused(secondUrl)],
    ['too much meta data', { metaData: { much: 'x'.repeat(16_384) } }, fieldRefused('message.meta_data')],
    ['a time in two months', { sendAt: new Date(Date.now() + 60 * 86_400_000) }, fieldRefused('message.send_at')],
    ['a conversation that does not exist', { conversationId: uuidv7() }, refused('conversation_not_found')],
    ['an answer to nothing', { parentId: uuidv7() }, refused('message_not_found')],
  ])('refuses %s and stores nothing', async (_what, draft, error) => {
    const pair = newPair();
    const body = `refused ${uuidv7()}`;
    await expect(cases().send({ ...draftBetween(pair), body, ...draft })).rejects.toEqual(error);
    const { items } = await storage.reads.searchConversations(body, { statuses: [], unreadOnly: false }, { size: 10 });
    expect(items).toEqual([]);
    const left = await storage.reads.listConversations({ participant: pair.theirs, statuses: [], unreadOnly: false }, { size: 1 });
    expect(left.items).toEqual([]);
  });

  it('counts characters, not code units', async () => {
    const { message } = await cases().send({ ...draftBetween(newPair()), body: '\u{1f44b}'.repeat(1_600) });
    expect(message.body).toHaveLength(3_200);
  });

  it('sends from the configured senders only, however they are spelled', async () => {
    const { send } = useCases({ ...storage, senders: ['+1 415 555 2671', 'Support@Example.com'] });
    await expect(send({ fromAddress: '+14155552671' })).resolves.toBeDefined();
    await expect(send({ ...emails, fromAddress: 'support@EXAMPLE.com' })).resolves.toBeDefined();
    await expect(send({ fromAddress: '+14155552679' })).rejects.toEqual(refused('sender_not_allowed'));
  });
});

describe('the conversation of a sent message', () => {
  it('is the open one of its addresses, whatever their case', async () => {
    const first = await cases().send({ ...emails, toAddress: 'grace@example.org' });
    const second = await cases().send({ ...emails, fromAddress: 'SUPPORT@Example.com', toAddress: 'Grace@EXAMPLE.org' });
    expect(second.message.conversationId).toBe(first.message.conversationId);
  });

  it('is the one the recipient wrote to', async () => {
    const pair = newPair();
    const { message } = await cases().receive(inboundBetween(pair));
    const sent = await cases().send(draftBetween(pair));
    expect(sent.message.conversationId).toBe(message.conversationId);
  });

  it('is the named one, also when that is a thread', async () => {
    const pair = newPair();
    const { conversation } = await cases().createConversation(conversationBetween(pair, { newThread: true }), 'test');
    const [named, free] = [
      await cases().send({ ...draftBetween(pair), conversationId: conversation.id }),
      await cases().send(draftBetween(pair)),
    ];
    expect(named.message.conversationId).toBe(conversation.id);
    expect(free.message.conversationId).not.toBe(conversation.id);
  });

  it('is a new one when the open one was closed, and never a closed one', async () => {
    const pair = newPair();
    const { conversationId } = (await cases().send(draftBetween(pair))).message;
    await cases().changeConversation.close(conversationId, '');
    const into = cases().send({ ...draftBetween(pair), conversationId });
    await expect(into).rejects.toEqual(refused('conversation_closed', { metadata: { conversation_id: conversationId } }));
    expect((await cases().send(draftBetween(pair))).message.conversationId).not.toBe(conversationId);
  });

  it('is never one of other addresses', async () => {
    const { conversationId } = (await cases().send(draftBetween(newPair()))).message;
    const into = cases().send({ ...draftBetween(newPair()), conversationId });
    await expect(into).rejects.toEqual(refused('participants_mismatch', { metadata: { conversation_id: conversationId } }));
  });

  it('holds the message that is answered', async () => {
    const pair = newPair();
    const { message: parent } = await cases().send(draftBetween(pair));
    const { message } = await cases().send({ ...draftBetween(pair), parentId: parent.id });
    expect(message.parentId).toBe(parent.id);
    const elsewhere = cases().send({ ...draftBetween(newPair()), parentId: parent.id });
    await expect(elsewhere).rejects.toEqual(refused('participants_mismatch', { metadata: { conversation_id: parent.conversationId } }));
  });
});
