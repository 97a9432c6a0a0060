import { describe, expect, it } from 'vitest';
import { parseEmail, parsePhone } from '../../src/domain/address.ts';
import { etagOf, newConversation } from '../../src/domain/conversation.ts';
import { conversationOf } from '../support/message-fields.ts';

const at = new Date('2026-01-01T10:00:00.000Z');

describe('a new conversation', () => {
  it('is ACTIVE, empty and unread-free, with our side first', () => {
    const participants = { ours: parsePhone('+1 415 555 2671', 'from'), theirs: parsePhone('+1 415 555 2672', 'to') };
    expect(newConversation({ id: 'c', title: 't', metaData: { a: 1 }, thread: false, participants, at })).toMatchObject({
      id: 'c',
      participantFrom: '+14155552671',
      participantTo: '+14155552672',
      channelType: 'sms',
      status: 'active',
      messageCount: 0,
      unreadCount: 0,
      lastSequence: 0,
      lastMessageAt: null,
      createdAt: at,
      updatedAt: at,
      version: 1,
    });
  });

  it('shows addresses as written and matches them by key', () => {
    const participants = { ours: parseEmail('Shop@Example.com', 'from'), theirs: parseEmail('Ann@Example.com', 'to') };
    expect(newConversation({ id: 'c', title: '', metaData: {}, thread: true, participants, at })).toMatchObject({
      channelType: 'email',
      participantTo: 'Ann@example.com',
      toKey: 'ann@example.com',
      fromKey: 'shop@example.com',
      thread: true,
    });
  });
});

describe('an etag', () => {
  it('changes with the version of the row', () => {
    expect(etagOf({ version: 1 })).not.toBe(etagOf({ version: 2 }));
  });

  it('that is empty or current lets a write pass', () => {
    const conversation = conversationOf({ version: 7 });
    conversation.checkEtag('');
    conversation.checkEtag(etagOf({ version: 7 }));
  });

  it('of another version is refused, and the error says which one is current', () => {
    const stale = etagOf({ version: 6 });
    expect(() => conversationOf({ version: 7 }).checkEtag(stale)).toThrow(
      expect.objectContaining({ code: 'etag_mismatch', metadata: { expected: stale, actual: etagOf({ version: 7 }) } }),
    );
  });
});

describe('the status of a conversation', () => {
  it.each([
    ['active', 'archive', 'archived'],
    ['archived', 'archive', 'archived'],
    ['active', 'close', 'closed'],
    ['archived', 'close', 'closed'],
    ['closed', 'close', 'closed'],
    ['active', 'reopen', 'active'],
    ['archived', 'reopen', 'active'],
    ['closed', 'reopen', 'active'],
  ] as const)('%s becomes by %s %s', (status, action, expected) => {
    const conversation = conversationOf({ status });
    conversation[action]();
    expect(conversation.status).toBe(expected);
  });

  it('CLOSED cannot become ARCHIVED', () => {
    const conversation = conversationOf({ status: 'closed' });
    expect(() => conversation.archive()).toThrow(expect.objectContaining({ code: 'status_forbids' }));
    expect(conversation.status).toBe('closed');
  });
});

describe('the read watermark', () => {
  it('moves forward and takes the number of messages still unread', () => {
    const conversation = conversationOf({ unreadCount: 5, lastReadSequence: 3, lastReadMessageId: 'm3' });
    conversation.markRead('m8', 8, 1);
    expect(conversation).toMatchObject({ lastReadSequence: 8, lastReadMessageId: 'm8', unreadCount: 1 });
  });

  it.each([2, 3])('at 3 does not move to %i', (sequence) => {
    const conversation = conversationOf({ unreadCount: 5, lastReadSequence: 3, lastReadMessageId: 'm3' });
    conversation.markRead('other', sequence, 0);
    expect(conversation).toMatchObject({ lastReadSequence: 3, lastReadMessageId: 'm3', unreadCount: 5 });
  });
});
