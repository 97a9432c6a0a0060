import { defineEntity, type InferEntity, p } from '@mikro-orm/core';
import { type Failure, Message, messageStatuses, providers } from './message.ts';

export const eventTypes = [
  'created',
  'received',
  'attempt_started',
  'attempt_failed',
  'accepted',
  'provider_status',
  'canceled',
  'retried',
  'failed',
] as const;
export type EventType = (typeof eventTypes)[number];

const MessageEventSchema = defineEntity({
  name: 'MessageEvent',
  tableName: 'message_events',
  properties: {
    id: p.uuid().primary(),
    messageId: () => p.manyToOne(Message).mapToPk().joinColumn('message_id'),
    conversationId: p.uuid(),
    /** Gapless in the conversation, from 1. */
    sequence: p.integer(),
    type: p.enum(eventTypes),
    statusBefore: p.enum(messageStatuses).nullable(),
    statusAfter: p.enum(messageStatuses),
    provider: p.enum(providers).nullable(),
    providerStatus: p.text(),
    /** Unique per provider: an event is recorded once. */
    providerEventId: p.text().nullable(),
    failure: p.json<Failure>().nullable(),
    attempt: p.integer(),
    occurredAt: p.datetime(3).nullable(),
    recordedAt: p.datetime(3),
  },
});

export type MessageEventFields = InferEntity<typeof MessageEventSchema>;

/** One entry of the append-only history of a message. Never changed after it is written. */
export class MessageEvent extends MessageEventSchema.class {}
MessageEventSchema.setClass(MessageEvent);
