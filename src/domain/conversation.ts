import { defineEntity, type InferEntity, p } from '@mikro-orm/core';
import type { Address, Channel } from './address.ts';
import { DomainError } from './errors.ts';
import type { JsonObject } from './json.ts';

export const channels = ['sms', 'email'] as const satisfies readonly Channel[];
export const conversationStatuses = ['active', 'archived', 'closed'] as const;
export type ConversationStatus = (typeof conversationStatuses)[number];

const ConversationSchema = defineEntity({
  name: 'Conversation',
  tableName: 'conversations',
  properties: {
    id: p.uuid().primary(),
    participantFrom: p.text(),
    participantTo: p.text(),
    /** Address keys: what two spellings of one address share. */
    fromKey: p.text(),
    toKey: p.text(),
    channelType: p.enum(channels),
    status: p.enum(conversationStatuses),
    /** Made on purpose beside the one open conversation of its pair; never found by addresses. */
    thread: p.boolean(),
    messageCount: p.integer(),
    unreadCount: p.integer(),
    lastSequence: p.integer(),
    title: p.text(),
    metaData: p.json<JsonObject>(),
    lastReadMessageId: p.uuid().nullable(),
    lastReadSequence: p.integer(),
    lastMessageAt: p.datetime(3).nullable(),
    createdAt: p.datetime(3),
    updatedAt: p.datetime(3),
    /** Raised by a trigger on every UPDATE, hand-typed SQL included. */
    version: p.integer(),
  },
});

/** The data of a conversation, however it was read. */
export type ConversationFields = InferEntity<typeof ConversationSchema>;

/** Our side first, the outside second; for inbound messages that is to, from. */
export interface Participants {
  readonly ours: Address;
  readonly theirs: Address;
}

export class Conversation extends ConversationSchema.class {
  /** Throws etag_mismatch when `etag` is set and names another version. */
  checkEtag(etag: string): void {
    const actual = etagOf(this);
    if (etag === '' || etag === actual) return;
    throw new DomainError('etag_mismatch', `conversation ${this.id} was changed in between; read it again`, {
      metadata: { expected: etag, actual },
    });
  }

  /** ACTIVE -> ARCHIVED. Throws status_forbids when CLOSED. */
  archive(): void {
    if (this.status === 'closed') {
      throw new DomainError('status_forbids', `conversation ${this.id} is closed; reopen it before archiving it`, {
        metadata: { status: this.status, allowed: 'active' },
      });
    }
    this.status = 'archived';
  }

  reopen(): void {
    this.status = 'active';
  }

  close(): void {
    this.status = 'closed';
  }

  /** Moves the read watermark to a message of this conversation; never back. `unread` counts inbound messages after it. */
  markRead(messageId: string, sequence: number, unread: number): void {
    if (sequence <= this.lastReadSequence) return;
    this.lastReadMessageId = messageId;
    this.lastReadSequence = sequence;
    this.unreadCount = unread;
  }
}
ConversationSchema.setClass(Conversation);

/** The opaque version of a row for optimistic concurrency. */
export function etagOf(row: { readonly version: number }): string {
  return `v${row.version}`;
}

/** The way back; for etags that this service made. */
export function versionOfEtag(etag: string): number {
  return Number(etag.slice(1));
}

export type NewConversation = Pick<ConversationFields, 'id' | 'title' | 'metaData' | 'thread'> & {
  readonly participants: Participants;
  readonly at: Date;
};

/** An ACTIVE conversation without messages. */
export function newConversation({ id, title, metaData, thread, participants, at }: NewConversation): ConversationFields {
  return {
    id,
    participantFrom: participants.ours.text,
    participantTo: participants.theirs.text,
    fromKey: participants.ours.key,
    toKey: participants.theirs.key,
    channelType: participants.theirs.channel,
    status: 'active',
    thread,
    messageCount: 0,
    unreadCount: 0,
    lastSequence: 0,
    title,
    metaData,
    lastReadMessageId: null,
    lastReadSequence: 0,
    lastMessageAt: null,
    createdAt: at,
    updatedAt: at,
    version: 1,
  };
}
