import { parseCorrespondent, parseSender } from '../domain/address.ts';
import { newConversation } from '../domain/conversation.ts';
import { fieldInvalid } from '../domain/errors.ts';
import type { InboundMessage } from '../domain/inbound-message.ts';
import type { MessageFields } from '../domain/message.ts';
import { suppressionByKeyword } from '../domain/opt-out-keywords.ts';
import type { Clock, NewId, Store, Tx } from '../domain/ports.ts';
import { type MessageView, toMessageView } from '../domain/views.ts';
import { applySuppression } from './apply-suppression.ts';
import { checkMetaData } from './outbound-draft.ts';

function checkShape({ provider, messageType, email, attachments, metaData }: InboundMessage): void {
  if ((provider === 'sendgrid') !== (messageType === 'email')) throw fieldInvalid('message_type', `is not carried by ${provider}`);
  if (email !== undefined && messageType !== 'email') throw fieldInvalid('email', 'is only for an email');
  if (attachments.length > 0 && messageType === 'sms') throw fieldInvalid('attachments', 'make it an MMS, not an SMS');
  checkMetaData(metaData, 'meta_data');
}

export interface ReceivedMessage {
  readonly message: MessageView;
  readonly duplicate: boolean;
}

export interface ReceiveParts {
  readonly clock: Clock;
  readonly newId: NewId;
}

/**
 * Stores an inbound message as DELIVERED in the conversation of its addresses: exactly once per (provider, providerMessageId). One that
 * is an opt-out keyword is obeyed, just as once. Throws address_invalid, field_invalid.
 */
export async function storeInbound(tx: Tx, inbound: InboundMessage, { clock, newId }: ReceiveParts): Promise<ReceivedMessage> {
  checkShape(inbound);
  const channel = inbound.messageType === 'email' ? 'email' : 'sms';
  const theirs = parseCorrespondent(inbound.fromAddress, channel, 'from_address');
  const ours = parseSender(inbound.toAddress, channel, 'to_address');
  const at = clock.now();
  await tx.lockName(`inbound:${inbound.provider}:${inbound.providerMessageId}`);
  const known = await tx.findMessageByProviderId(inbound.provider, inbound.providerMessageId);
  if (known !== undefined) return { message: toMessageView(known), duplicate: true };
  const participants = { ours, theirs };
  const fresh = newConversation({ id: newId(), title: '', metaData: {}, thread: false, participants, at });
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
  const change = suppressionByKeyword(inbound);
  if (change !== undefined) await applySuppression(tx, change, { participants, messageId: message.id, at }, newId);
  return { message: toMessageView(message), duplicate: false };
}

export function createReceiveMessage({ store, ...parts }: ReceiveParts & { readonly store: Store }) {
  return (inbound: InboundMessage): Promise<ReceivedMessage> => store.transaction((tx) => storeInbound(tx, inbound, parts));
}
