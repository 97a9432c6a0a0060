/** What delivery needs of a transaction, beside what every use case needs. */
import type { Participants } from './conversation.ts';
import type { DeliveryAttempt, DeliveryAttemptFields } from './delivery-attempt.ts';
import type { Message, Provider } from './message.ts';
import type { MessageEventFields } from './message-event.ts';

/** A wake-up for one message. There is at most one that has not begun; a later one takes its place. */
export interface DispatchJob {
  readonly messageId: string;
  readonly conversationId: string;
  readonly provider: Provider;
  readonly runAt: Date;
  /** W3C traceparent that the dispatch continues; empty: none. */
  readonly traceParent: string;
}

/** What goes out. */
export interface Outgoing {
  readonly job: DispatchJob;
  readonly participants: Participants;
}

/** One message on its way, locked after its conversation. Changed in place, and written by writeDispatch. */
export interface DispatchState {
  readonly message: Message;
  /** The one that was asked for, or the latest; undefined: there is none. */
  readonly attempt: DeliveryAttempt | undefined;
  /** The recipient has opted out. */
  readonly isSuppressed: boolean;
  /** An earlier message of the conversation is PENDING and due. */
  readonly isBlocked: boolean;
  /** The first PENDING message behind this one that is due. */
  readonly nextPendingId: string | undefined;
  /** Attempts, superseded ones aside, that the provider provably did not process. */
  readonly refusals: number;
}

/** What dispatch has learned or decided. */
export interface DispatchChange {
  readonly message: Message;
  /** New or changed; undefined: it is about none. */
  readonly attempt: DeliveryAttemptFields | undefined;
  readonly event: Omit<MessageEventFields, 'sequence'>;
}

/** The dispatcher's own way through a transaction: few statements, since each prolongs the lock. */
export interface DispatchTx {
  /** undefined: it was deleted. `attempt`: its number. */
  lockForDispatch(
    ids: { readonly conversationId: string; readonly messageId: string },
    at: Date,
    attempt?: number,
  ): Promise<DispatchState | undefined>;
  /** Writes message, attempt and event, and gives the event its place in the conversation. */
  writeDispatch(change: DispatchChange): Promise<void>;
  /** Of an attempt that no longer touches its message. */
  writeAttempt(attempt: DeliveryAttemptFields): Promise<void>;
}

export interface DeliveryTx extends DispatchTx {
  /** In force when the transaction commits. */
  scheduleDispatch(job: DispatchJob): Promise<void>;
  /** Lets the job of a message that waits begin at `at`, when there is one that has not begun. */
  wakeDispatch(messageId: string, at: Date): Promise<void>;
  /** As it is now, also when this transaction has read it before; so are the next two. */
  findAttempt(messageId: string, attempt: number): Promise<DeliveryAttempt | undefined>;
  /** The one with the highest number. */
  findLatestAttempt(messageId: string): Promise<DeliveryAttempt | undefined>;
  findAttemptByProviderId(provider: Provider, providerMessageId: string): Promise<DeliveryAttempt | undefined>;
  /** The first of these ids that belongs to no message or attempt; undefined: there is none. */
  findUnclaimed(provider: Provider, providerMessageIds: readonly string[]): Promise<string | undefined>;
  /** Whether another message with the same content between the same addresses has an attempt whose outcome is open. */
  hasOpenTwin(messageId: string): Promise<boolean>;
  supersedeAttempts(messageId: string): Promise<void>;
  /** Id of the first PENDING message behind this one that is due at `at`. */
  findNextPending(conversationId: string, sequence: number, at: Date): Promise<string | undefined>;
}

/** What waits for one provider. */
export interface QueueBacklog {
  readonly provider: Provider;
  /** Messages that are PENDING and due. */
  readonly depth: number;
  /** How long the one that waits longest has been due; 0 when none is. */
  readonly oldestMs: number;
}

/** What keeps delivery and its tables in order. Every method throws storage_unavailable. */
export interface Upkeep {
  /** One entry for each provider. */
  backlog(): Promise<readonly QueueBacklog[]>;
  /** Adds the job of messages that are PENDING and have lost theirs. Returns how many. */
  requeueLost(limit: number): Promise<number>;
  /** Removes jobs that failed too often and of which nothing more will come. Returns how many. */
  removeSpentJobs(limit: number): Promise<number>;
  /** Forgets keys of idempotent requests. Returns how many. */
  pruneRequestIds(before: Date, limit: number): Promise<number>;
}
