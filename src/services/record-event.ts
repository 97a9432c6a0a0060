import { messageNotFound } from '../domain/errors.ts';
import type { Message } from '../domain/message.ts';
import type { EventType, MessageEvent, MessageEventFields } from '../domain/message-event.ts';
import type { Tx } from '../domain/ports.ts';

/** A message that is locked, after its conversation, and its conversation's next sequence number. */
export interface LockedMessage {
  readonly message: Message;
  readonly sequence: number;
}

/** Throws message_not_found. The sequence number is taken: an event has to follow. */
export async function lockForEvent(tx: Tx, id: string, conversationId: string): Promise<LockedMessage> {
  const sequence = await tx.nextSequence(conversationId);
  const message = await tx.lockMessage(id);
  if (sequence === undefined || message === undefined) throw messageNotFound([id]);
  return { message, sequence };
}

export interface NewEvent extends Partial<Omit<MessageEventFields, 'id' | 'type' | 'messageId' | 'conversationId' | 'sequence'>> {
  readonly id: string;
  readonly type: EventType;
  readonly statusBefore: Message['status'];
  readonly recordedAt: Date;
}

/** Adds what happened to a message, after it has been applied. What is not given comes from the message. */
export function addEvent(tx: Tx, { message, sequence }: LockedMessage, event: NewEvent): MessageEvent {
  return tx.addEvent({
    messageId: message.id,
    conversationId: message.conversationId,
    sequence,
    statusAfter: message.status,
    provider: null,
    providerStatus: '',
    providerEventId: null,
    failure: null,
    attempt: message.attemptCount,
    occurredAt: null,
    ...event,
  });
}
