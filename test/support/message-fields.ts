import { Conversation, type ConversationFields } from '../../src/domain/conversation.ts';
import { type Failure, Message, type MessageFields } from '../../src/domain/message.ts';

const at = new Date('2026-01-01T00:00:00.000Z');

/** An outbound SMS that was just stored; a test names only what it is about. */
export function messageFields(fields: Partial<MessageFields> = {}): MessageFields {
  return {
    id: '01900000-0000-7000-8000-000000000001',
    conversationId: '01900000-0000-7000-8000-00000000000c',
    provider: null,
    providerMessageId: null,
    direction: 'outbound',
    status: 'pending',
    messageType: 'sms',
    fromAddress: '+14155552671',
    toAddress: '+14155552672',
    body: 'hello',
    attachments: [],
    email: null,
    segmentation: null,
    failure: null,
    metaData: {},
    parentId: null,
    createdBy: '',
    sequence: 1,
    attemptCount: 0,
    sentAt: null,
    deliveredAt: null,
    failedAt: null,
    sendAt: null,
    expireAt: null,
    nextAttemptAt: null,
    createdAt: at,
    updatedAt: at,
    version: 1,
    ...fields,
  };
}

/** The entity, outside of any transaction. */
export function messageOf(fields: Partial<MessageFields> = {}): Message {
  return Object.assign(new Message(), messageFields(fields));
}

/** A provider's final refusal unless told otherwise. */
export function failureOf(fields: Partial<Failure> = {}): Failure {
  return { reason: 'rejected', providerCode: '', providerMessage: '', retryable: false, ...fields };
}

/** An ACTIVE phone conversation without messages. */
export function conversationFields(fields: Partial<ConversationFields> = {}): ConversationFields {
  return {
    id: '01900000-0000-7000-8000-00000000000c',
    participantFrom: '+14155552671',
    participantTo: '+14155552672',
    fromKey: '+14155552671',
    toKey: '+14155552672',
    channelType: 'sms',
    status: 'active',
    thread: false,
    messageCount: 0,
    unreadCount: 0,
    lastSequence: 0,
    title: '',
    metaData: {},
    lastReadMessageId: null,
    lastReadSequence: 0,
    lastMessageAt: null,
    createdAt: at,
    updatedAt: at,
    version: 1,
    ...fields,
  };
}

/** The entity, outside of any transaction. */
export function conversationOf(fields: Partial<ConversationFields> = {}): Conversation {
  return Object.assign(new Conversation(), conversationFields(fields));
}
