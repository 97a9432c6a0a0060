import { parseSender } from '../domain/address.ts';
import { newConversation } from '../domain/conversation.ts';
import { fieldInvalid } from '../domain/errors.ts';
import type { JsonObject } from '../domain/json.ts';
import type { Attachment, EmailContent, MessageFields, MessageType, Provider } from '../domain/message.ts';
import type { Clock, NewId, Store } from '../domain/ports.ts';
import { type MessageView, toMessageView } from '../domain/views.ts';
import { checkMetaData } from './outbound-draft.ts';

export interface InboundMessage {
  readonly provider: Provider;
  readonly providerMessageId: string;
  readonly messageType: MessageType;
  /** The outside address. */
  readonly fromAddress: string;
  /** Our address. */
  readonly toAddress: string;
  readonly body: string;
  readonly attachments: readonly Attachment[];
  readonly email: EmailContent | undefined;
  readonly metaData: JsonObject;
  readonly occurredAt: Date | undefined;
}

function checkShape({ provider, messageType, email, attachments, metaData }: InboundMessage): void {
  if ((provider === 'sendgrid') !== (messageType === 'email')) throw fieldInvalid('message_type', `is not carried by ${provider}`);
  if (email !== undefined && messageType !== 'email') throw fieldInvalid('email', 'is only for an email');
  if (attachments.length > 0 && messageType === 'sms') throw fieldInvalid('attachments', 'make it an MMS, not an SMS');
  checkMetaData(metaData, 'meta_data');
}

/** Stores an inbound message as DELIVERED in the conversation of its addresses: exactly once per (provider, providerMessageId). */
export function createReceiveMessage({ store, clock, newId }: { readonly store: Store; readonly clock: Clock; readonly newId: NewId }) {
  return async (inbound: InboundMessage): Promise<{ readonly message: MessageView; readonly duplicate: boolean }> => {
    checkShape(inbound);
    const channel = inbound.messageType === 'email' ? 'email' : 'sms';
    const theirs = parseSender(inbound.fromAddress, channel, 'from_address');
    const ours = parseSender(inbound.toAddress, channel, 'to_address');
    const at = clock.now();
    return store.transaction(async (tx) => {
      await tx.lockName(`inbound:${inbound.provider}:${inbound.providerMessageId}`);
      const known = await tx.findMessageByProviderId(inbound.provider, inbound.providerMessageId);
      if (known !== undefined) return { message: toMessageView(known), duplicate: true };
      const fresh = newConversation({ id: newId(), title: '', metaData: {}, thread: false, participants: { ours, theirs }, at });
      const { conversationId, sequence } = await tx.appendToOpen(fresh, 'inbound', at);
      const message: MessageFields = {
        id: newId(),
        conversationId,
        provider: inbound.provider,
        providerMessageId: inbound.providerMessageId,
        direction: 'inbound',
        status: 'delivered',
        messageType: inbound.messageType,
        fromAddress: theirs.text,
        toAddress: ours.text,
        body: inbound.body,
        attachments: inbound.attachments,
        email: inbound.email ?? null,
        segmentation: null,
        failure: null,
        metaData: inbound.metaData,
        parentId: null,
        createdBy: '',
        sequence,
        attemptCount: 0,
        sentAt: inbound.occurredAt ?? null,
        deliveredAt: at,
        failedAt: null,
        sendAt: null,
        expireAt: null,
        nextAttemptAt: null,
        createdAt: at,
        updatedAt: at,
        version: 1,
      };
      await tx.storeMessage(message, {
        id: newId(),
        messageId: message.id,
        conversationId,
        sequence,
        type: 'received',
        statusBefore: null,
        statusAfter: 'delivered',
        provider: inbound.provider,
        providerStatus: '',
        providerEventId: null,
        failure: null,
        attempt: 0,
        occurredAt: inbound.occurredAt ?? null,
        recordedAt: at,
      });
      return { message: toMessageView(message), duplicate: false };
    });
  };
}
