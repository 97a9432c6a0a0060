import { defineEntity, type InferEntity, p } from '@mikro-orm/core';
import { Conversation } from './conversation.ts';
import { DomainError } from './errors.ts';
import type { JsonObject } from './json.ts';
import type { Segmentation } from './segments.ts';

export const providers = ['twilio', 'sendgrid'] as const;
export type Provider = (typeof providers)[number];
export const directions = ['inbound', 'outbound'] as const;
export type Direction = (typeof directions)[number];
export const messageTypes = ['sms', 'mms', 'email'] as const;
export type MessageType = (typeof messageTypes)[number];
export const messageStatuses = ['pending', 'sent', 'delivered', 'failed'] as const;
export type MessageStatus = (typeof messageStatuses)[number];
export const failureReasons = [
  'invalid_destination',
  'unreachable',
  'opted_out',
  'filtered',
  'rejected',
  'expired',
  'canceled',
  'attempts_exhausted',
  'outcome_unknown',
  'bounced_after_delivery',
] as const;
export type FailureReason = (typeof failureReasons)[number];

/** Who carries messages of a type. */
export const providerOf = (messageType: MessageType): Provider => (messageType === 'email' ? 'sendgrid' : 'twilio');

export interface Attachment {
  readonly url: string;
  readonly contentType: string;
  readonly filename: string;
  readonly sizeBytes: number;
  readonly contentId: string;
}

export interface EmailContent {
  readonly subject: string;
  readonly htmlBody: string;
  readonly replyTo: string;
  readonly internetMessageId: string;
}

export interface Failure {
  readonly reason: FailureReason;
  readonly providerCode: string;
  readonly providerMessage: string;
  readonly retryable: boolean;
}

const MessageSchema = defineEntity({
  name: 'Message',
  tableName: 'messages',
  properties: {
    id: p.uuid().primary(),
    conversationId: () => p.manyToOne(Conversation).mapToPk().joinColumn('conversation_id'),
    provider: p.enum(providers).nullable(),
    providerMessageId: p.text().nullable(),
    direction: p.enum(directions),
    status: p.enum(messageStatuses),
    messageType: p.enum(messageTypes),
    fromAddress: p.text(),
    toAddress: p.text(),
    body: p.text(),
    attachments: p.json<readonly Attachment[]>(),
    email: p.json<EmailContent>().nullable(),
    segmentation: p.json<Segmentation>().nullable(),
    failure: p.json<Failure>().nullable(),
    metaData: p.json<JsonObject>(),
    parentId: p.uuid().nullable(),
    createdBy: p.text(),
    /** Position of its first event in the conversation's log; the read watermark compares it. */
    sequence: p.integer(),
    attemptCount: p.integer(),
    sentAt: p.datetime(3).nullable(),
    deliveredAt: p.datetime(3).nullable(),
    failedAt: p.datetime(3).nullable(),
    sendAt: p.datetime(3).nullable(),
    expireAt: p.datetime(3).nullable(),
    nextAttemptAt: p.datetime(3).nullable(),
    createdAt: p.datetime(3),
    updatedAt: p.datetime(3),
    /** Raised by a trigger on every UPDATE, hand-typed SQL included. */
    version: p.integer(),
  },
});

/** The data of a message, however it was read. */
export type MessageFields = InferEntity<typeof MessageSchema>;

/** What can happen to a message. Providers' words and codes are mapped to these in delivery-report.ts. */
export type StatusEvent =
  | { readonly kind: 'accepted' }
  | { readonly kind: 'delivered' }
  | { readonly kind: 'failed'; readonly failure: Failure }
  /** Refused by the mailbox provider, possibly after it had reported delivery. Email only. */
  | { readonly kind: 'bounced'; readonly failure: Failure }
  | { readonly kind: 'canceled' }
  | { readonly kind: 'retried' };

/** The transition table: a kind of event that a status does not name leaves the message unchanged. */
const NEXT = {
  pending: { accepted: 'sent', delivered: 'delivered', failed: 'failed', bounced: 'failed', canceled: 'failed' },
  sent: { delivered: 'delivered', failed: 'failed', bounced: 'failed' },
  delivered: { bounced: 'failed' },
  failed: { retried: 'pending' },
} satisfies Record<MessageStatus, Partial<Record<StatusEvent['kind'], MessageStatus>>>;

/** Given up without a verdict of the provider, for people to decide about. The view `dead_letters` names them too. */
export const deadLetterReasons = ['expired', 'attempts_exhausted', 'outcome_unknown'] as const satisfies readonly FailureReason[];
/** Verdicts that were ours, not the provider's: given only while nothing is known, and taken back when the provider reports after all. */
const OWN_VERDICTS: ReadonlySet<FailureReason> = new Set(deadLetterReasons);

const isOwnVerdict = (event: StatusEvent): boolean => event.kind === 'failed' && OWN_VERDICTS.has(event.failure.reason);

const CANCELED: Failure = { reason: 'canceled', providerCode: '', providerMessage: '', retryable: true };

// Functions, not private methods: the ORM makes entities without running their class's field initializers.
function isUnconfirmed({ status, failure }: MessageFields): boolean {
  return status === 'failed' && failure != null && OWN_VERDICTS.has(failure.reason);
}

function statusForbids({ id, status, direction }: MessageFields, what: string, allowed: MessageStatus): DomainError {
  return new DomainError('status_forbids', `${direction} message ${id} is ${status}; only ${allowed} outbound messages can be ${what}`, {
    metadata: { status, allowed },
  });
}

export class Message extends MessageSchema.class {
  /** The status after the event; equal to the present one when the event does not apply. Inbound messages never change. */
  statusAfter(event: StatusEvent): MessageStatus {
    if (this.direction === 'inbound') return this.status;
    if (isOwnVerdict(event) && this.status !== 'pending') return this.status;
    if (event.kind === 'bounced' && this.status === 'delivered' && this.messageType !== 'email') return this.status;
    if (isUnconfirmed(this) && event.kind === 'accepted') return 'sent';
    if (isUnconfirmed(this) && event.kind === 'delivered') return 'delivered';
    const row: Partial<Record<StatusEvent['kind'], MessageStatus>> = NEXT[this.status];
    return row[event.kind] ?? this.status;
  }

  /** Applies the event by the transition table. `at` is the time of this service, never the provider's. */
  apply(event: StatusEvent, at: Date): void {
    const before = this.status;
    const next = this.statusAfter(event);
    const failed = event.kind === 'failed' || event.kind === 'bounced';
    // The provider's own words replace a verdict that was only ours, so that a late acceptance no longer undoes it.
    if (failed && isUnconfirmed(this) && !isOwnVerdict(event)) this.failure = event.failure;
    if (next === before) return;
    this.status = next;
    this.failure = null;
    this.failedAt = null;
    this.nextAttemptAt = null;
    if (next === 'pending') {
      // A new attempt has its own id and times; reports that bear the old id no longer find the message.
      this.providerMessageId = null;
      this.sentAt = null;
      this.deliveredAt = null;
    } else if (next === 'sent') this.sentAt = at;
    else if (next === 'delivered') {
      this.sentAt ??= at;
      this.deliveredAt = at;
    } else {
      this.failedAt = at;
      this.failure = failed ? event.failure : CANCELED;
      if (before === 'delivered') this.failure = { ...this.failure, reason: 'bounced_after_delivery', retryable: false };
    }
  }

  /** Records the provider's id the first time it is known. */
  carriedBy(provider: Provider, providerMessageId: string): void {
    this.provider ??= provider;
    if (providerMessageId !== '') this.providerMessageId ??= providerMessageId;
  }

  /** Counts a submission that begins now. */
  beginAttempt(): void {
    this.attemptCount += 1;
    this.nextAttemptAt = null;
  }

  /** Plans the next submission. */
  postpone(until: Date): void {
    this.nextAttemptAt = until;
  }

  /** Throws status_forbids unless it is PENDING. `isOpen`: a provider is being asked to carry it, or may have it without our knowing. */
  cancel(at: Date, isOpen: boolean): void {
    if (isOpen && this.status === 'pending') {
      throw new DomainError('status_forbids', `message ${this.id} is being handed to its provider; it can no longer be canceled`, {
        metadata: { status: this.status, allowed: 'pending' },
      });
    }
    if (this.statusAfter({ kind: 'canceled' }) === this.status) throw statusForbids(this, 'canceled', 'pending');
    this.apply({ kind: 'canceled' }, at);
  }

  /** A fresh start with the validity period it had. Throws status_forbids unless FAILED, not_retryable when only `force` helps. */
  retry(at: Date, force: boolean): void {
    if (this.statusAfter({ kind: 'retried' }) === this.status) throw statusForbids(this, 'retried', 'failed');
    if (!force && this.failure?.retryable !== true) {
      const reason = this.failure?.reason ?? 'unknown';
      throw new DomainError('not_retryable', `message ${this.id} failed with ${reason}; set force to retry all the same`, {
        metadata: { reason },
      });
    }
    const validityMs = (this.expireAt ?? at).getTime() - (this.sendAt ?? this.createdAt).getTime();
    this.apply({ kind: 'retried' }, at);
    // Its time begins anew, for the next retry too.
    this.sendAt = at;
    this.expireAt = new Date(at.getTime() + validityMs);
    this.nextAttemptAt = at;
  }
}
MessageSchema.setClass(Message);
