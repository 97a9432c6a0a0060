/** Messages and conversations as cells and fields. Bodies are shown of one message alone, never in lists. */
import { type Timestamp, timestampDate } from '@bufbuild/protobuf/wkt';
import {
  type Conversation,
  ConversationStatus,
  Direction,
  FailureReason,
  type Message,
  type MessageEvent,
  MessageEvent_Type,
  MessageStatus,
  MessageType,
  Provider,
} from '../client/messaging-client.ts';
import type { Column } from './table.ts';

/** `OUTCOME_UNKNOWN` as people write it; empty for what is not set. */
export const words = (name: string | undefined): string =>
  name === undefined || name === 'UNSPECIFIED' ? '' : name.toLowerCase().replaceAll('_', ' ');

/** To the second, in UTC. */
export const moment = (time: Timestamp | undefined): string =>
  time === undefined ? '' : timestampDate(time).toISOString().replace('T', ' ').slice(0, 19).concat('Z');

export const messageColumns: readonly Column[] = [
  { name: 'id' },
  { name: 'status' },
  { name: 'type' },
  { name: 'direction' },
  { name: 'from', cut: true },
  { name: 'to', cut: true },
  { name: 'created' },
  { name: 'failure', cut: true },
];

export const messageCells = (message: Message): readonly string[] => [
  message.id,
  words(MessageStatus[message.status]),
  words(MessageType[message.messageType]),
  words(Direction[message.direction]),
  message.fromAddress,
  message.toAddress,
  moment(message.createdAt),
  words(FailureReason[message.failure?.reason ?? 0]),
];

function failureText({ failure }: Message): string {
  if (failure === undefined) return '';
  const { reason, providerCode, providerMessage, retryable } = failure;
  const said = [providerCode, providerMessage].filter((text) => text !== '').join(' ');
  return `${words(FailureReason[reason])}${said === '' ? '' : `: ${said}`}${retryable ? ' (can be retried)' : ' (only with --force)'}`;
}

export function messageFields(message: Message, source: string): Record<string, string> {
  const { segmentation } = message;
  return {
    id: message.id,
    status: words(MessageStatus[message.status]),
    failure: failureText(message),
    type: words(MessageType[message.messageType]),
    direction: words(Direction[message.direction]),
    from: message.fromAddress,
    to: message.toAddress,
    subject: message.email?.subject ?? '',
    body: message.body,
    attachments: message.attachments.map(({ filename, url }) => filename || url).join(', '),
    segments: segmentation === undefined ? '' : String(segmentation.segmentCount),
    conversation: message.conversationId,
    'answers message': message.parentId,
    provider: words(Provider[message.provider]),
    'id at provider': message.providerMessageId,
    attempts: String(message.attemptCount),
    created: `${moment(message.createdAt)}${message.createdBy === '' ? '' : ` by ${message.createdBy}`}`,
    'send at': moment(message.sendAt),
    'next attempt': moment(message.nextAttemptAt),
    expires: moment(message.expireAt),
    sent: moment(message.sentAt),
    delivered: moment(message.deliveredAt),
    failed: moment(message.failedAt),
    etag: message.etag,
    'answered from': source,
  };
}

export const eventColumns: readonly Column[] = [
  { name: 'recorded' },
  { name: 'event' },
  { name: 'attempt', number: true },
  { name: 'status' },
  { name: 'provider says', cut: true },
  { name: 'failure', cut: true },
];

export const eventCells = (event: MessageEvent): readonly string[] => [
  moment(event.recordedAt),
  words(MessageEvent_Type[event.type]),
  event.attempt === 0 ? '' : String(event.attempt),
  words(MessageStatus[event.statusAfter]),
  event.providerStatus,
  words(FailureReason[event.failure?.reason ?? 0]),
];

export const conversationColumns: readonly Column[] = [
  { name: 'id' },
  { name: 'status' },
  { name: 'channel' },
  { name: 'ours', cut: true },
  { name: 'theirs', cut: true },
  { name: 'messages', number: true },
  { name: 'unread', number: true },
  { name: 'last message' },
  { name: 'title', cut: true },
];

export const conversationCells = (conversation: Conversation): readonly string[] => [
  conversation.id,
  words(ConversationStatus[conversation.status]),
  words(MessageType[conversation.channelType]),
  conversation.participantFrom,
  conversation.participantTo,
  String(conversation.messageCount),
  String(conversation.unreadCount),
  moment(conversation.lastMessageAt),
  conversation.title,
];

export const conversationFields = (conversation: Conversation): Record<string, string> => ({
  id: conversation.id,
  status: words(ConversationStatus[conversation.status]),
  title: conversation.title,
  channel: words(MessageType[conversation.channelType]),
  ours: conversation.participantFrom,
  theirs: conversation.participantTo,
  messages: String(conversation.messageCount),
  unread: String(conversation.unreadCount),
  created: moment(conversation.createdAt),
  'last message': moment(conversation.lastMessageAt),
  etag: conversation.etag,
});
