/** Contract -> domain for what several handlers read. Requests are validated already; this only translates. */
import { type Duration, durationMs, type Timestamp, timestampDate } from '@bufbuild/protobuf/wkt';
import { ConversationStatus as ConversationStatusProto } from '../../gen/messaging/v1/conversation_pb.js';
import type { ConversationFilter as ConversationFilterMessage } from '../../gen/messaging/v1/conversation_service_pb.js';
import {
  type Attachment as AttachmentMessage,
  Direction as DirectionProto,
  type EmailContent as EmailContentMessage,
  type FailureReason as FailureReasonProto,
  MessageStatus as MessageStatusProto,
  MessageType as MessageTypeProto,
  Provider as ProviderProto,
} from '../../gen/messaging/v1/message_pb.js';
import type { MessageFilter as MessageFilterMessage, OutboundMessage } from '../../gen/messaging/v1/message_service_pb.js';
import { type ListWebhookRequestsRequest, WebhookRequest_State } from '../../gen/messaging/v1/provider_event_service_pb.js';
import { addressKey, type Channel } from '../domain/address.ts';
import type { ConversationStatus } from '../domain/conversation.ts';
import { fieldInvalid } from '../domain/errors.ts';
import type { JsonObject } from '../domain/json.ts';
import {
  type Attachment,
  type Direction,
  type EmailContent,
  type FailureReason,
  failureReasons,
  type MessageStatus,
  type MessageType,
  type Provider,
} from '../domain/message.ts';
import type { ConversationFilter, MessageFilter, ReadOptions } from '../domain/ports.ts';
import { reasonProto } from '../domain/views.ts';
import type { WebhookFilter } from '../domain/webhook-ports.ts';
import type { WebhookState } from '../domain/webhook-request.ts';
import type { OutboundDraft } from '../services/outbound-draft.ts';

const TYPES: Partial<Record<MessageTypeProto, MessageType>> = {
  [MessageTypeProto.SMS]: 'sms',
  [MessageTypeProto.MMS]: 'mms',
  [MessageTypeProto.EMAIL]: 'email',
};
const STATUSES: Partial<Record<MessageStatusProto, MessageStatus>> = {
  [MessageStatusProto.PENDING]: 'pending',
  [MessageStatusProto.SENT]: 'sent',
  [MessageStatusProto.DELIVERED]: 'delivered',
  [MessageStatusProto.FAILED]: 'failed',
};
const REASONS: Partial<Record<FailureReasonProto, FailureReason>> = Object.fromEntries(
  failureReasons.map((reason) => [reasonProto[reason], reason]),
);
const DIRECTIONS: Partial<Record<DirectionProto, Direction>> = {
  [DirectionProto.INBOUND]: 'inbound',
  [DirectionProto.OUTBOUND]: 'outbound',
};
const CONVERSATION_STATUSES: Partial<Record<ConversationStatusProto, ConversationStatus>> = {
  [ConversationStatusProto.ACTIVE]: 'active',
  [ConversationStatusProto.ARCHIVED]: 'archived',
  [ConversationStatusProto.CLOSED]: 'closed',
};
const PROVIDERS: Partial<Record<ProviderProto, Provider>> = {
  [ProviderProto.TWILIO]: 'twilio',
  [ProviderProto.SENDGRID]: 'sendgrid',
};
const WEBHOOK_STATES: Partial<Record<WebhookRequest_State, WebhookState>> = {
  [WebhookRequest_State.RECEIVED]: 'received',
  [WebhookRequest_State.PROCESSED]: 'processed',
  [WebhookRequest_State.UNMATCHED]: 'unmatched',
  [WebhookRequest_State.QUARANTINED]: 'quarantined',
};

function known<T>(value: T | undefined, field: string): T {
  if (value === undefined) throw fieldInvalid(field, 'is not a value of this enum');
  return value;
}

export const messageTypeOf = (type: MessageTypeProto, field: string): MessageType => known(TYPES[type], field);
export const providerOf = (provider: ProviderProto, field: string): Provider => known(PROVIDERS[provider], field);
/** SMS and MMS are one channel. */
export const channelOf = (type: MessageTypeProto, field: string): Channel => (messageTypeOf(type, field) === 'email' ? 'email' : 'sms');

/** Ids are compared and cached in lower case. */
export const idOf = (text: string): string => text.toLowerCase();
export const optionalId = (text: string): string | undefined => (text === '' ? undefined : idOf(text));
export const stalenessOf = (duration: Duration | undefined): ReadOptions => ({
  maxStalenessMs: duration === undefined ? 0 : durationMs(duration),
});
export const optionalDate = (timestamp: Timestamp | undefined): Date | undefined => timestamp && timestampDate(timestamp);
const optionalMs = (duration: Duration | undefined): number | undefined => duration && durationMs(duration);

/** Throws field_invalid for two spellings of one id, which the contract's rule cannot see. */
export function idsOf(texts: readonly string[], field: string): readonly string[] {
  const ids = texts.map(idOf);
  const seen = new Set<string>();
  const again = ids.findIndex((id) => seen.size === seen.add(id).size);
  if (again >= 0) throw fieldInvalid(`${field}[${again}]`, 'is named twice');
  return ids;
}

export function attachmentsOf(attachments: readonly AttachmentMessage[]): readonly Attachment[] {
  return attachments.map(({ url, contentType, filename, sizeBytes, contentId }) => {
    return { url, contentType, filename, sizeBytes: Number(sizeBytes), contentId };
  });
}

export function emailOf(email: EmailContentMessage | undefined): EmailContent | undefined {
  if (email === undefined) return undefined;
  const { subject, htmlBody, replyTo, internetMessageId } = email;
  return { subject, htmlBody, replyTo, internetMessageId };
}

export function draftOf(message: OutboundMessage, path: string): OutboundDraft {
  const { messageType } = message;
  return {
    fromAddress: message.fromAddress,
    toAddress: message.toAddress,
    messageType: messageType === MessageTypeProto.UNSPECIFIED ? undefined : messageTypeOf(messageType, `${path}.message_type`),
    body: message.body,
    attachments: attachmentsOf(message.attachments),
    email: emailOf(message.email),
    conversationId: optionalId(message.conversationId),
    parentId: optionalId(message.parentId),
    metaData: (message.metaData ?? {}) as JsonObject,
    sendAt: optionalDate(message.sendAt),
    validityMs: optionalMs(message.validityPeriod),
    path,
  };
}

export function messageFilterOf(filter: MessageFilterMessage | undefined): MessageFilter {
  if (filter === undefined) return { conversationIds: [], statuses: [], messageTypes: [], failureReasons: [] };
  const direction = DIRECTIONS[filter.direction];
  const parentId = optionalId(filter.parentId);
  const createdAfter = optionalDate(filter.createdAfter);
  const createdBefore = optionalDate(filter.createdBefore);
  return {
    conversationIds: filter.conversationIds.map(idOf),
    statuses: filter.statuses.map((status) => known(STATUSES[status], 'filter.statuses')),
    messageTypes: filter.messageTypes.map((type) => messageTypeOf(type, 'filter.message_types')),
    failureReasons: filter.failureReasons.map((reason) => known(REASONS[reason], 'filter.failure_reasons')),
    ...(direction === undefined ? {} : { direction }),
    ...(filter.address === '' ? {} : { address: addressKey(filter.address) }),
    ...(parentId === undefined ? {} : { parentId }),
    ...(createdAfter === undefined ? {} : { createdAfter }),
    ...(createdBefore === undefined ? {} : { createdBefore }),
    ...(filter.providerMessageId === '' ? {} : { providerMessageId: filter.providerMessageId }),
  };
}

/** `otherwise`: the statuses when the filter names none. */
export function conversationFilterOf(
  filter: ConversationFilterMessage | undefined,
  otherwise: readonly ConversationStatus[],
): ConversationFilter {
  if (filter === undefined) return { statuses: otherwise, unreadOnly: false };
  const statuses = filter.statuses.map((status) => known(CONVERSATION_STATUSES[status], 'filter.statuses'));
  const activeAfter = optionalDate(filter.activeAfter);
  return {
    statuses: statuses.length > 0 ? statuses : otherwise,
    unreadOnly: filter.unreadOnly,
    ...(filter.participant === '' ? {} : { participant: addressKey(filter.participant) }),
    ...(filter.channelType === MessageTypeProto.UNSPECIFIED ? {} : { channelType: channelOf(filter.channelType, 'filter.channel_type') }),
    ...(activeAfter === undefined ? {} : { activeAfter }),
  };
}

export function webhookFilterOf({ provider, state }: ListWebhookRequestsRequest): WebhookFilter {
  return {
    ...(provider === ProviderProto.UNSPECIFIED ? {} : { provider: providerOf(provider, 'provider') }),
    ...(state === WebhookRequest_State.UNSPECIFIED ? {} : { state: known(WEBHOOK_STATES[state], 'state') }),
  };
}
