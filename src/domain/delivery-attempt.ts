import { defineEntity, type InferEntity, p } from '@mikro-orm/core';
import { type Failure, Message, type Provider, providers } from './message.ts';

/**
 * `running`: the provider is being asked, or the process that asked is gone. `transient`, `credentials`: provably not processed.
 * `unknown`: asked, and the answer was never learned. `given_up`: still unknown when its time was over.
 */
export const attemptOutcomes = ['running', 'accepted', 'rejected', 'transient', 'credentials', 'unknown', 'given_up'] as const;
export type AttemptOutcome = (typeof attemptOutcomes)[number];

const DeliveryAttemptSchema = defineEntity({
  name: 'DeliveryAttempt',
  tableName: 'delivery_attempts',
  properties: {
    id: p.uuid().primary(),
    messageId: () => p.manyToOne(Message).mapToPk().joinColumn('message_id'),
    /** From 1; the provider's reports carry it back. */
    attempt: p.integer(),
    provider: p.enum(providers),
    outcome: p.enum(attemptOutcomes),
    providerMessageId: p.text().nullable(),
    failure: p.json<Failure>().nullable(),
    /** A RetryMessage came after it: what its provider still reports no longer touches the message. */
    superseded: p.boolean(),
    /** W3C traceparent of the span in which the provider was asked; empty when the trace is not recorded. */
    traceParent: p.text(),
    startedAt: p.datetime(3),
    /** When the present outcome was learned. */
    settledAt: p.datetime(3).nullable(),
  },
});

export type DeliveryAttemptFields = InferEntity<typeof DeliveryAttemptSchema>;

/** One submission to a provider, written before the provider is asked. */
export class DeliveryAttempt extends DeliveryAttemptSchema.class {
  /** Whether the provider may have the message without our knowing. */
  isOpen(): boolean {
    return !this.superseded && (this.outcome === 'running' || this.outcome === 'unknown');
  }

  /** Records what was learned, unless the provider itself has said more. */
  settle(outcome: Exclude<AttemptOutcome, 'running'>, failure: Failure | null, at: Date): void {
    if (this.outcome === 'accepted' || this.outcome === 'rejected') return;
    this.outcome = outcome;
    this.failure = failure;
    this.settledAt = at;
  }

  /** What a provider says about an attempt holds, whatever we had concluded before. */
  confirm(providerMessageId: string, at: Date): void {
    if (providerMessageId !== '') this.providerMessageId ??= providerMessageId;
    if (this.outcome === 'accepted' || this.outcome === 'rejected') return;
    this.outcome = 'accepted';
    this.settledAt = at;
  }
}
DeliveryAttemptSchema.setClass(DeliveryAttempt);

/** An attempt that begins now. */
export function newAttempt(
  fields: Pick<DeliveryAttemptFields, 'id' | 'messageId' | 'attempt' | 'traceParent' | 'startedAt'> & { readonly provider: Provider },
): DeliveryAttemptFields {
  return { ...fields, outcome: 'running', providerMessageId: null, failure: null, superseded: false, settledAt: null };
}
