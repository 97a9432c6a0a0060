import { type DeliveryReport, statusEventOf } from '../domain/delivery-report.ts';
import { fieldInvalid, messageNotFound } from '../domain/errors.ts';
import type { Message } from '../domain/message.ts';
import type { Clock, NewId, Store, Tx } from '../domain/ports.ts';
import { type MessageEventView, type MessageView, toMessageEventView } from '../domain/views.ts';

export interface ReportedDelivery extends DeliveryReport {
  /** Unique per provider. */
  readonly providerEventId: string;
  /** Our id, when the provider echoes it. */
  readonly messageId: string | undefined;
  /** The provider's message id; empty when not reported. */
  readonly providerMessageId: string;
  readonly occurredAt: Date | undefined;
}

export interface RecordedDelivery {
  readonly message: MessageView;
  readonly event: MessageEventView;
  readonly duplicate: boolean;
}

async function findReported(tx: Tx, report: ReportedDelivery): Promise<Message> {
  const { messageId, provider, providerMessageId } = report;
  const carried = providerMessageId === '' ? undefined : await tx.findMessageByProviderId(provider, providerMessageId);
  const named = messageId === undefined ? undefined : await tx.findMessage(messageId);
  if (named !== undefined && carried !== undefined && named.id !== carried.id) {
    throw fieldInvalid('provider_message_id', 'belongs to another message than message_id');
  }
  const message = named ?? (messageId === undefined ? carried : undefined);
  if (message === undefined) throw messageNotFound([messageId ?? `known to ${provider} as ${providerMessageId}`]);
  if (message.provider !== provider) throw fieldInvalid('provider', 'does not carry this message');
  return message;
}

/**
 * Records a provider's report and applies it by the transition table: exactly once per (provider, providerEventId), in any order.
 * Throws message_not_found when it names a message that is not stored (yet); the caller should report again later.
 */
export function createReportDelivery({ store, clock, newId }: { readonly store: Store; readonly clock: Clock; readonly newId: NewId }) {
  return (report: ReportedDelivery): Promise<RecordedDelivery> =>
    store.transaction(async (tx) => {
      await tx.lockName(`event:${report.provider}:${report.providerEventId}`);
      const known = await tx.findEventByProviderId(report.provider, report.providerEventId);
      if (known !== undefined) {
        return { message: await tx.messageView(known.messageId), event: toMessageEventView(known), duplicate: true };
      }
      const { id, conversationId } = await findReported(tx, report);
      const sequence = await tx.nextSequence(conversationId);
      const message = await tx.lockMessage(id);
      if (sequence === undefined || message === undefined) throw messageNotFound([id]);
      const at = clock.now();
      const statusBefore = message.status;
      const statusEvent = statusEventOf(report);
      message.carriedBy(report.provider, report.providerMessageId);
      if (statusEvent !== undefined) message.apply(statusEvent, at);
      const event = tx.addEvent({
        id: newId(),
        messageId: id,
        conversationId,
        sequence,
        type: 'provider_status',
        statusBefore,
        statusAfter: message.status,
        provider: report.provider,
        providerStatus: report.providerStatus,
        providerEventId: report.providerEventId,
        failure: statusEvent !== undefined && 'failure' in statusEvent ? statusEvent.failure : null,
        attempt: message.attemptCount,
        occurredAt: report.occurredAt ?? null,
        recordedAt: at,
      });
      return { message: await tx.messageView(id), event: toMessageEventView(event), duplicate: false };
    });
}
