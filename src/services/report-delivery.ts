import type { DeliveryAttempt } from '../domain/delivery-attempt.ts';
import { type ReportedDelivery, statusEventOf } from '../domain/delivery-report.ts';
import { fieldInvalid, messageNotFound } from '../domain/errors.ts';
import type { Message, MessageType } from '../domain/message.ts';
import type { Clock, NewId, Store, Tx } from '../domain/ports.ts';
import { suppressionOf } from '../domain/reported-suppression.ts';
import { participantsOf } from '../domain/suppression.ts';
import { type MessageEventView, type MessageView, toMessageEventView } from '../domain/views.ts';
import { applySuppression } from './apply-suppression.ts';
import { wakeNext } from './dispatch-queue.ts';
import { addEvent, lockForEvent } from './record-event.ts';

export interface RecordedDelivery {
  readonly message: MessageView;
  readonly event: MessageEventView;
  readonly duplicate: boolean;
}

/**
 * The submission that the report is about: the one it names, else the one with the provider's id, else the latest; undefined: there is
 * none, as for messages that were handed over by hand. Asked for under the conversation's lock: a RetryMessage may supersede it before.
 */
async function findAttempt(tx: Tx, messageId: string, report: ReportedDelivery): Promise<DeliveryAttempt | undefined> {
  if (report.attempt !== undefined) return tx.findAttempt(messageId, report.attempt);
  const { provider, providerMessageId } = report;
  const carried = providerMessageId === '' ? undefined : await tx.findAttemptByProviderId(provider, providerMessageId);
  return carried?.messageId === messageId ? carried : tx.findLatestAttempt(messageId);
}

async function findReported(tx: Tx, report: ReportedDelivery): Promise<Pick<Message, 'id' | 'conversationId'>> {
  const { messageId, provider, providerMessageId } = report;
  const carried = providerMessageId === '' ? undefined : await tx.findMessageByProviderId(provider, providerMessageId);
  const attempted =
    providerMessageId === '' || carried !== undefined ? undefined : await tx.findAttemptByProviderId(provider, providerMessageId);
  const named = messageId === undefined ? undefined : await tx.findMessage(messageId);
  if (named !== undefined && carried !== undefined && named.id !== carried.id) {
    throw fieldInvalid('provider_message_id', 'belongs to another message than message_id');
  }
  const byAttempt = attempted && (await tx.findMessage(attempted.messageId));
  const message: Message | undefined = messageId === undefined ? (carried ?? byAttempt) : named;
  if (message === undefined) throw messageNotFound([messageId ?? `known to ${provider} as ${providerMessageId}`]);
  if (message.provider !== provider) throw fieldInvalid('provider', 'does not carry this message');
  return message;
}

export interface ReportParts {
  /** Told how long a message took to be delivered; told again when its transaction is repeated. */
  readonly onDelivered: (messageType: MessageType, ms: number) => void;
  readonly clock: Clock;
  readonly newId: NewId;
}

async function findRecorded(tx: Tx, { provider, providerEventId }: ReportedDelivery): Promise<RecordedDelivery | undefined> {
  const event = await tx.findEventByProviderId(provider, providerEventId);
  return event && { message: await tx.messageView(event.messageId), event: toMessageEventView(event), duplicate: true };
}

/**
 * Records a provider's report and applies it by the transition table: exactly once per (provider, providerEventId), in any order. Of an
 * attempt that a RetryMessage has superseded it is recorded only. Whatever becomes of the message, its recipient is suppressed when the
 * report says so. Throws message_not_found, field_invalid.
 */
export async function applyReport(tx: Tx, report: ReportedDelivery, { clock, newId, onDelivered }: ReportParts): Promise<RecordedDelivery> {
  const { id, conversationId } = await findReported(tx, report);
  // The same event is always about the same conversation, so this is what the same report, told twice at once, waits for.
  await tx.lockConversation(conversationId);
  const recorded = await findRecorded(tx, report);
  if (recorded !== undefined) return recorded;
  const locked = await lockForEvent(tx, id, conversationId);
  const attempt = await findAttempt(tx, id, report);
  const { message } = locked;
  const at = clock.now();
  const statusBefore = message.status;
  const statusEvent = statusEventOf(report);
  if (attempt?.superseded !== true) {
    message.carriedBy(report.provider, report.providerMessageId);
    if (statusEvent !== undefined) {
      attempt?.confirm(report.providerMessageId, at);
      message.apply(statusEvent, at);
    }
  }
  const event = addEvent(tx, locked, {
    id: newId(),
    type: 'provider_status',
    statusBefore,
    provider: report.provider,
    providerStatus: report.providerStatus,
    providerEventId: report.providerEventId,
    failure: statusEvent !== undefined && 'failure' in statusEvent ? statusEvent.failure : null,
    attempt: attempt?.attempt ?? message.attemptCount,
    occurredAt: report.occurredAt ?? null,
    recordedAt: at,
  });
  const change = message.direction === 'outbound' ? suppressionOf(report) : undefined;
  if (change !== undefined) await applySuppression(tx, change, { participants: participantsOf(message), messageId: id, at }, newId);
  if (statusBefore !== 'delivered' && message.status === 'delivered') {
    onDelivered(message.messageType, at.getTime() - (message.sendAt ?? message.createdAt).getTime());
  }
  if (statusBefore === 'pending' && message.status !== 'pending') await wakeNext(tx, message, at);
  return { message: await tx.messageView(id), event: toMessageEventView(event), duplicate: false };
}

/** Throws message_not_found when it names a message that is not stored (yet); the caller should report again later. */
export function createReportDelivery({ store, ...parts }: ReportParts & { readonly store: Store }) {
  return (report: ReportedDelivery): Promise<RecordedDelivery> =>
    store.transaction(async (tx) => {
      // Callers, unlike providers, may name one event for two messages.
      await tx.lockName(`event:${report.provider}:${report.providerEventId}`);
      return (await findRecorded(tx, report)) ?? applyReport(tx, report, parts);
    });
}
