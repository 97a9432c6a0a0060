/** Entity -> the protobuf message that is cached, returned and streamed. The one place that knows both shapes. */
import { create, type JsonObject as ProtoJsonObject } from '@bufbuild/protobuf';
import { type Timestamp, timestampFromDate, timestampMs } from '@bufbuild/protobuf/wkt';
import {
  type Conversation as ConversationMessage,
  ConversationSchema,
  type ConversationStatistics,
  ConversationStatisticsSchema,
  ConversationStatus as ConversationStatusProto,
} from '../../gen/messaging/v1/conversation_pb.js';
import {
  AttachmentSchema,
  Direction as DirectionProto,
  EmailContentSchema,
  FailureReason as FailureReasonProto,
  FailureSchema,
  MessageEvent_Type,
  type MessageEvent as MessageEventMessage,
  MessageEventSchema,
  type Message as MessageMessage,
  MessageSchema,
  MessageStatus as MessageStatusProto,
  MessageType as MessageTypeProto,
  Provider as ProviderProto,
  Segmentation_Encoding,
  type Segmentation as SegmentationMessage,
  SegmentationSchema,
} from '../../gen/messaging/v1/message_pb.js';
import {
  type WebhookRequest as WebhookRequestMessage,
  WebhookRequestSchema,
  WebhookRequest_State as WebhookStateProto,
} from '../../gen/messaging/v1/provider_event_service_pb.js';
import {
  type Suppression as SuppressionMessage,
  SuppressionSchema,
  Suppression_Source as SuppressionSourceProto,
} from '../../gen/messaging/v1/suppression_service_pb.js';
import { type ConversationFields, type ConversationStatus, etagOf, versionOfEtag } from './conversation.ts';
import type { Direction, Failure, FailureReason, MessageFields, MessageStatus, MessageType, Provider } from './message.ts';
import type { EventType, MessageEventFields } from './message-event.ts';
import type { Segmentation } from './segments.ts';
import type { SuppressionFields, SuppressionSource } from './suppression.ts';
import type { WebhookRequestFields, WebhookState } from './webhook-request.ts';

export type MessageView = Readonly<MessageMessage>;
export type MessageEventView = Readonly<MessageEventMessage>;
export type ConversationView = Readonly<ConversationMessage>;
export type StatisticsView = Readonly<ConversationStatistics>;
export type SegmentationView = Readonly<SegmentationMessage>;
export type SuppressionView = Readonly<SuppressionMessage>;
export type WebhookRequestView = Readonly<WebhookRequestMessage>;

export const providerProto = { twilio: ProviderProto.TWILIO, sendgrid: ProviderProto.SENDGRID } satisfies Record<Provider, ProviderProto>;
export const directionProto = { inbound: DirectionProto.INBOUND, outbound: DirectionProto.OUTBOUND } satisfies Record<
  Direction,
  DirectionProto
>;
export const typeProto = { sms: MessageTypeProto.SMS, mms: MessageTypeProto.MMS, email: MessageTypeProto.EMAIL } satisfies Record<
  MessageType,
  MessageTypeProto
>;
export const statusProto = {
  pending: MessageStatusProto.PENDING,
  sent: MessageStatusProto.SENT,
  delivered: MessageStatusProto.DELIVERED,
  failed: MessageStatusProto.FAILED,
} satisfies Record<MessageStatus, MessageStatusProto>;
export const conversationStatusProto = {
  active: ConversationStatusProto.ACTIVE,
  archived: ConversationStatusProto.ARCHIVED,
  closed: ConversationStatusProto.CLOSED,
} satisfies Record<ConversationStatus, ConversationStatusProto>;
export const reasonProto = {
  invalid_destination: FailureReasonProto.INVALID_DESTINATION,
  unreachable: FailureReasonProto.UNREACHABLE,
  opted_out: FailureReasonProto.OPTED_OUT,
  filtered: FailureReasonProto.FILTERED,
  rejected: FailureReasonProto.REJECTED,
  expired: FailureReasonProto.EXPIRED,
  canceled: FailureReasonProto.CANCELED,
  attempts_exhausted: FailureReasonProto.ATTEMPTS_EXHAUSTED,
  outcome_unknown: FailureReasonProto.OUTCOME_UNKNOWN,
  bounced_after_delivery: FailureReasonProto.BOUNCED_AFTER_DELIVERY,
} satisfies Record<FailureReason, FailureReasonProto>;
const eventTypeProto = {
  created: MessageEvent_Type.CREATED,
  received: MessageEvent_Type.RECEIVED,
  attempt_started: MessageEvent_Type.ATTEMPT_STARTED,
  attempt_failed: MessageEvent_Type.ATTEMPT_FAILED,
  accepted: MessageEvent_Type.ACCEPTED,
  provider_status: MessageEvent_Type.PROVIDER_STATUS,
  canceled: MessageEvent_Type.CANCELED,
  retried: MessageEvent_Type.RETRIED,
  failed: MessageEvent_Type.FAILED,
} satisfies Record<EventType, MessageEvent_Type>;
const sourceProto = {
  keyword: SuppressionSourceProto.KEYWORD,
  unsubscribe: SuppressionSourceProto.UNSUBSCRIBE,
  group_unsubscribe: SuppressionSourceProto.GROUP_UNSUBSCRIBE,
  spam_report: SuppressionSourceProto.SPAM_REPORT,
  hard_bounce: SuppressionSourceProto.HARD_BOUNCE,
  provider: SuppressionSourceProto.PROVIDER,
  manual: SuppressionSourceProto.MANUAL,
} satisfies Record<SuppressionSource, SuppressionSourceProto>;
const webhookStateProto = {
  received: WebhookStateProto.RECEIVED,
  processed: WebhookStateProto.PROCESSED,
  unmatched: WebhookStateProto.UNMATCHED,
  quarantined: WebhookStateProto.QUARANTINED,
} satisfies Record<WebhookState, WebhookStateProto>;

const optionalTime = <Name extends string>(name: Name, date: Date | null | undefined): { [Key in Name]?: Timestamp } =>
  date == null ? {} : ({ [name]: timestampFromDate(date) } as { [Key in Name]: Timestamp });

/** Version of the row that the view shows. */
export function versionOf(view: { readonly etag: string }): number {
  return versionOfEtag(view.etag);
}

const msOf = (time: Timestamp | undefined): number => (time === undefined ? Number.NaN : timestampMs(time));

/** What lists of messages are ordered by, and filters compare, in ms. */
export function createdAtMsOf({ createdAt }: MessageView): number {
  return msOf(createdAt);
}

/** What lists of conversations are ordered by, and filters compare, in ms. */
export function activeAtMsOf({ lastMessageAt, createdAt }: ConversationView): number {
  return msOf(lastMessageAt ?? createdAt);
}

/** True of a message whose fate is known: hardly anything changes it any more. */
export function isTerminal({ status }: MessageView): boolean {
  return status === MessageStatusProto.DELIVERED || status === MessageStatusProto.FAILED;
}

/** True of a conversation that takes no more messages. */
export function isClosed({ status }: ConversationView): boolean {
  return status === ConversationStatusProto.CLOSED;
}

function failureMessage(failure: Failure) {
  return create(FailureSchema, { ...failure, reason: reasonProto[failure.reason] });
}

export function toSegmentationView(segmentation: Segmentation): SegmentationView {
  return create(SegmentationSchema, {
    encoding: segmentation.encoding === 'gsm7' ? Segmentation_Encoding.GSM7 : Segmentation_Encoding.UCS2,
    segmentCount: segmentation.segmentCount,
    nonGsmCharacters: [...segmentation.nonGsmCharacters],
  });
}

export function toMessageView(fields: MessageFields): MessageView {
  const { segmentation, email, failure } = fields;
  return Object.freeze(
    create(MessageSchema, {
      id: fields.id,
      conversationId: fields.conversationId,
      provider: fields.provider == null ? ProviderProto.UNSPECIFIED : providerProto[fields.provider],
      providerMessageId: fields.providerMessageId ?? '',
      direction: directionProto[fields.direction],
      status: statusProto[fields.status],
      messageType: typeProto[fields.messageType],
      fromAddress: fields.fromAddress,
      toAddress: fields.toAddress,
      body: fields.body,
      attachments: fields.attachments.map((attachment) =>
        create(AttachmentSchema, { ...attachment, sizeBytes: BigInt(attachment.sizeBytes) }),
      ),
      ...optionalTime('sentAt', fields.sentAt),
      ...optionalTime('deliveredAt', fields.deliveredAt),
      createdAt: timestampFromDate(fields.createdAt),
      updatedAt: timestampFromDate(fields.updatedAt),
      metaData: fields.metaData as ProtoJsonObject,
      parentId: fields.parentId ?? '',
      ...(email == null ? {} : { email: create(EmailContentSchema, email) }),
      ...(segmentation == null ? {} : { segmentation: toSegmentationView(segmentation) }),
      ...(failure == null ? {} : { failure: failureMessage(failure) }),
      ...optionalTime('failedAt', fields.failedAt),
      ...optionalTime('sendAt', fields.sendAt),
      ...optionalTime('expireAt', fields.expireAt),
      attemptCount: fields.attemptCount,
      ...optionalTime('nextAttemptAt', fields.nextAttemptAt),
      createdBy: fields.createdBy,
      etag: etagOf(fields),
    }),
  );
}

export function toMessageEventView(fields: MessageEventFields): MessageEventView {
  return Object.freeze(
    create(MessageEventSchema, {
      id: fields.id,
      messageId: fields.messageId,
      sequence: BigInt(fields.sequence),
      type: eventTypeProto[fields.type],
      statusBefore: fields.statusBefore == null ? MessageStatusProto.UNSPECIFIED : statusProto[fields.statusBefore],
      statusAfter: statusProto[fields.statusAfter],
      providerStatus: fields.providerStatus,
      providerEventId: fields.providerEventId ?? '',
      ...optionalTime('occurredAt', fields.occurredAt),
      recordedAt: timestampFromDate(fields.recordedAt),
      ...(fields.failure == null ? {} : { failure: failureMessage(fields.failure) }),
      attempt: fields.attempt,
    }),
  );
}

export function toConversationView(fields: ConversationFields): ConversationView {
  return Object.freeze(
    create(ConversationSchema, {
      id: fields.id,
      participantFrom: fields.participantFrom,
      participantTo: fields.participantTo,
      channelType: typeProto[fields.channelType],
      status: conversationStatusProto[fields.status],
      messageCount: BigInt(fields.messageCount),
      unreadCount: BigInt(fields.unreadCount),
      title: fields.title,
      ...optionalTime('lastMessageAt', fields.lastMessageAt),
      createdAt: timestampFromDate(fields.createdAt),
      updatedAt: timestampFromDate(fields.updatedAt),
      metaData: fields.metaData as ProtoJsonObject,
      etag: etagOf(fields),
      lastReadMessageId: fields.lastReadMessageId ?? '',
      lastSequence: BigInt(fields.lastSequence),
    }),
  );
}

export function toSuppressionView(fields: SuppressionFields): SuppressionView {
  return Object.freeze(
    create(SuppressionSchema, {
      address: fields.address,
      channelType: typeProto[fields.channel],
      fromAddress: fields.fromAddress,
      source: sourceProto[fields.source],
      messageId: fields.messageId ?? '',
      createdAt: timestampFromDate(fields.createdAt),
    }),
  );
}

export interface StatisticsFields {
  readonly conversationId: string;
  readonly inbound: number;
  readonly outboundByStatus: Readonly<Record<string, number>>;
  /** 0 when no message has both times. */
  readonly averageSendLatencyMs: number;
  readonly averageDeliveryLatencyMs: number;
}

export function toStatisticsView(fields: StatisticsFields): StatisticsView {
  const outbound = Object.values(fields.outboundByStatus).reduce((sum, count) => sum + count, 0);
  return Object.freeze(
    create(ConversationStatisticsSchema, {
      conversationId: fields.conversationId,
      totalMessages: BigInt(fields.inbound + outbound),
      inboundMessages: BigInt(fields.inbound),
      outboundMessages: BigInt(outbound),
      outboundByStatus: Object.fromEntries(Object.entries(fields.outboundByStatus).map(([status, count]) => [status, BigInt(count)])),
      averageSendLatencyMs: fields.averageSendLatencyMs,
      averageDeliveryLatencyMs: fields.averageDeliveryLatencyMs,
    }),
  );
}

/** Without the body when the fields have none. */
export function toWebhookRequestView(fields: Omit<WebhookRequestFields, 'body'> & { readonly body?: Uint8Array }): WebhookRequestView {
  const { id, path, contentType, error, receivedAt, body } = fields;
  return Object.freeze(
    create(WebhookRequestSchema, {
      id,
      provider: providerProto[fields.provider],
      path,
      contentType,
      ...(body === undefined ? {} : { body: new Uint8Array(body) }),
      state: webhookStateProto[fields.state],
      error,
      receivedAt: timestampFromDate(receivedAt),
      ...optionalTime('processedAt', fields.processedAt),
    }),
  );
}
