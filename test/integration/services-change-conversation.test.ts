import { v7 as uuidv7 } from 'uuid';
import { describe, expect, it } from 'vitest';
import { ConversationStatus } from '../../gen/messaging/v1/conversation_pb.js';
import { openForAll } from '../support/store-and-reads.ts';
import {
  conversationBetween,
  draftBetween,
  inboundBetween,
  newPair,
  openStorage,
  refused,
  reportOn,
  useCases,
} from '../support/use-cases.ts';

const storage = openForAll(openStorage);
const cases = () => useCases(storage);

const created = async (pair = newPair(), newThread = false) =>
  (await cases().createConversation(conversationBetween(pair, { newThread, title: 'old', metaData: { a: 1 } }), 'test')).conversation;
const stored = async (id: string) => (await storage.reads.findConversation(id)).value;

describe('UpdateConversation', () => {
  it('changes what is given and leaves the rest', async () => {
    const { id } = await created();
    const { update } = cases().changeConversation;
    expect(await update(id, { title: 'new', metaData: undefined }, '')).toMatchObject({ title: 'new', metaData: { a: 1 } });
    expect(await update(id, { title: undefined, metaData: { b: [2] } }, '')).toMatchObject({ title: 'new', metaData: { b: [2] } });
    const emptied = await update(id, { title: '', metaData: {} }, '');
    expect(emptied).toMatchObject({ title: '', metaData: {} });
    expect(await stored(id)).toEqual(emptied);
  });

  it('changes nothing, its etag included, when it is told what is there already', async () => {
    const conversation = await created();
    expect(await cases().changeConversation.update(conversation.id, { title: 'old', metaData: { a: 1 } }, '')).toEqual(conversation);
  });

  it('with an etag is done by one of many at once', async () => {
    const { id, etag } = await created();
    const attempts = Array.from({ length: 10 }, (_, index) =>
      cases().changeConversation.update(id, { title: `number ${index}`, metaData: undefined }, etag),
    );
    const outcomes = await Promise.allSettled(attempts);
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    for (const outcome of outcomes) if (outcome.status === 'rejected') expect(outcome.reason).toEqual(refused('etag_mismatch'));
  });

  it('with an etag is refused after anything else changed the conversation', async () => {
    const pair = newPair();
    const { id, etag } = await created(pair);
    const { message } = await cases().receive(inboundBetween(pair));
    expect(message.conversationId).toBe(id);
    const late = cases().changeConversation.update(id, { title: 'new', metaData: undefined }, etag);
    await expect(late).rejects.toEqual(refused('etag_mismatch', { metadata: { expected: etag, actual: 'v2' } }));
    for (const wrong of ['nonsense', 'v0', 'v999']) {
      await expect(cases().changeConversation.archive(id, wrong)).rejects.toEqual(refused('etag_mismatch'));
    }
  });

  it('refuses too much meta data, and what is not there', async () => {
    const { id } = await created();
    const { update } = cases().changeConversation;
    const much = update(id, { title: undefined, metaData: { much: 'x'.repeat(16_384) } }, '');
    await expect(much).rejects.toEqual(
      refused('field_invalid', { fields: [expect.objectContaining({ field: 'conversation.meta_data' })] }),
    );
    await expect(update(uuidv7(), { title: 'new', metaData: undefined }, '')).rejects.toEqual(refused('conversation_not_found'));
  });
});

describe('MarkConversationRead', () => {
  it('leaves unread what came after, and never goes back', async () => {
    const pair = newPair();
    const messages = [];
    for (let round = 0; round < 4; round += 1) {
      messages.push((await cases().receive(inboundBetween(pair))).message);
      messages.push((await cases().send(draftBetween(pair))).message);
    }
    const [first, , third, fourth] = messages;
    const last = messages.at(-1);
    const { markRead } = cases().changeConversation;
    const id = first?.conversationId ?? '';
    expect(await stored(id)).toMatchObject({ unreadCount: 4n, lastReadMessageId: '' });
    expect(await markRead(id, third?.id ?? '')).toMatchObject({ unreadCount: 2n, lastReadMessageId: third?.id });
    // A report on an old message is an event, not a message.
    await cases().report(reportOn(fourth?.id));
    expect(await markRead(id, fourth?.id ?? '')).toMatchObject({ unreadCount: 2n, lastReadMessageId: fourth?.id });
    expect(await markRead(id, first?.id ?? '')).toMatchObject({ unreadCount: 2n, lastReadMessageId: fourth?.id });
    const read = await markRead(id, last?.id ?? '');
    expect(read).toMatchObject({ unreadCount: 0n, lastReadMessageId: last?.id });
    expect(await markRead(id, last?.id ?? '')).toEqual(read);
  });

  it('refuses messages of other conversations', async () => {
    const { id } = await created();
    const { message } = await cases().receive(inboundBetween(newPair()));
    const { markRead } = cases().changeConversation;
    await expect(markRead(id, message.id)).rejects.toEqual(refused('message_not_found', { metadata: { id: message.id } }));
    await expect(markRead(id, uuidv7())).rejects.toEqual(refused('message_not_found'));
    await expect(markRead(uuidv7(), message.id)).rejects.toEqual(refused('conversation_not_found'));
  });
});

describe('the status of a conversation', () => {
  it('goes from active to archived to closed and back, and stays where it is told to stay', async () => {
    const { id } = await created();
    const { archive, close, reopen } = cases().changeConversation;
    for (const [change, status] of [
      [archive, ConversationStatus.ARCHIVED],
      [reopen, ConversationStatus.ACTIVE],
      [close, ConversationStatus.CLOSED],
      [reopen, ConversationStatus.ACTIVE],
    ] as const) {
      const view = await change(id, '');
      expect(view.status).toBe(status);
      expect(await change(id, view.etag)).toEqual(view);
    }
    await close(id, '');
    await expect(archive(id, '')).rejects.toEqual(refused('status_forbids', { metadata: { status: 'closed', allowed: 'active' } }));
    for (const change of [archive, close, reopen]) await expect(change(uuidv7(), '')).rejects.toEqual(refused('conversation_not_found'));
  });

  it('does not become active while another is open between the same addresses', async () => {
    const pair = newPair();
    const { id } = await created(pair);
    const { close, reopen } = cases().changeConversation;
    await close(id, '');
    const other = await created(pair);
    expect(other.id).not.toBe(id);
    await expect(reopen(id, '')).rejects.toEqual(refused('conversation_exists', { metadata: { conversation_id: other.id } }));
    await close(other.id, '');
    expect((await reopen(id, '')).status).toBe(ConversationStatus.ACTIVE);
  });

  it('becomes active for one of several closed ones that are reopened at once', async () => {
    const pair = newPair();
    const { close, reopen } = cases().changeConversation;
    const ids: string[] = [];
    for (let round = 0; round < 6; round += 1) {
      const { id } = await created(pair);
      await close(id, '');
      ids.push(id);
    }
    const outcomes = await Promise.allSettled(ids.map((id) => reopen(id, '')));
    expect(outcomes.filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
    for (const outcome of outcomes) if (outcome.status === 'rejected') expect(outcome.reason).toEqual(refused('conversation_exists'));
  });

  it('of a thread does not depend on others', async () => {
    const pair = newPair();
    const thread = await created(pair, true);
    await created(pair);
    const { close, reopen } = cases().changeConversation;
    await close(thread.id, '');
    expect((await reopen(thread.id, '')).status).toBe(ConversationStatus.ACTIVE);
  });
});

describe('DeleteConversation', () => {
  it('removes its messages and their history, and nothing else', async () => {
    const pair = newPair();
    const { message } = await cases().send(draftBetween(pair));
    const { message: answer } = await cases().receive(inboundBetween(pair));
    await cases().report(reportOn(message.id));
    const { message: other } = await cases().send(draftBetween(newPair()));
    await cases().changeConversation.delete(message.conversationId, '', false);
    expect(await stored(message.conversationId)).toBeUndefined();
    expect((await storage.reads.findMessages([message.id, answer.id, other.id])).value.size).toBe(1);
    expect((await storage.reads.listMessageEvents(message.id, { size: 10 })).items).toEqual([]);
    expect((await storage.reads.listMessageEvents(other.id, { size: 10 })).items).toHaveLength(1);
    expect((await cases().send(draftBetween(pair))).message.conversationId).not.toBe(message.conversationId);
  });

  it('may be asked to succeed when there is nothing to delete, and to delete only what is known', async () => {
    const { id, etag } = await created();
    const remove = cases().changeConversation.delete;
    await cases().changeConversation.archive(id, '');
    await expect(remove(id, etag, true)).rejects.toEqual(refused('etag_mismatch'));
    await remove(id, '', false);
    await expect(remove(id, '', false)).rejects.toEqual(refused('conversation_not_found'));
    await expect(remove(id, '', true)).resolves.toBeUndefined();
  });

  it('while messages arrive leaves either all of a conversation or nothing', async () => {
    const pair = newPair();
    const { message } = await cases().receive(inboundBetween(pair));
    const arriving = Array.from({ length: 15 }, () => cases().receive(inboundBetween(pair)));
    const reports = Array.from({ length: 5 }, () =>
      cases()
        .report(reportOn(message.id, { providerStatus: 'opened' }))
        .catch((error) => error.code),
    );
    await Promise.all([...arriving, ...reports, cases().changeConversation.delete(message.conversationId, '', false)]);
    for (const answer of await Promise.all(reports))
      expect([undefined, 'message_not_found']).toContain(typeof answer === 'string' ? answer : undefined);
    const filter = { conversationIds: [message.conversationId], statuses: [], messageTypes: [], failureReasons: [] };
    expect((await storage.reads.listMessages(filter, { size: 200 })).items).toEqual([]);
    const { items } = await storage.reads.listConversations({ participant: pair.ours, statuses: [], unreadOnly: false }, { size: 10 });
    for (const { id, messageCount } of items) {
      const messages = await storage.reads.listMessages({ ...filter, conversationIds: [id] }, { size: 200 });
      expect(BigInt(messages.items.length)).toBe(messageCount);
    }
  });
});
