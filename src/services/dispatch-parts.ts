/** What the steps of a dispatch share. */
import type { AttemptOutcome, DeliveryAttempt } from '../domain/delivery-attempt.ts';
import type { DispatchState } from '../domain/delivery-ports.ts';
import type { Failure, FailureReason, Message, MessageType, Provider } from '../domain/message.ts';
import type { EventType } from '../domain/message-event.ts';
import type { Clock, NewId, Store, Tx } from '../domain/ports.ts';
import type { RetryPolicy } from '../domain/retry-schedule.ts';

export interface DispatchPolicy extends RetryPolicy {
  /** Refusals that may pass by themselves before a message is given up. */
  readonly maxAttempts: number;
  /** After this a process that asked a provider, and is still there, has its answer or its time-out, in ms. */
  readonly callMs: number;
  /** After an answer was lost: how long to wait for a report before the provider is asked, in ms. */
  readonly callbackWaitMs: number;
  /** After an answer was lost: when to give up finding out, in ms. */
  readonly unknownWindowMs: number;
}

/** Told what happens, for metrics; told again when a transaction is repeated. */
export interface DeliveryObserver {
  attempt(provider: Provider, outcome: Exclude<AttemptOutcome, 'running'>): void;
  reached(stage: 'accepted' | 'delivered', messageType: MessageType, ms: number): void;
  suppressed(): void;
  /** Given up without a verdict of the provider. */
  deadLetter(provider: Provider, reason: OwnVerdict): void;
}

export interface DispatchParts {
  readonly store: Store;
  readonly clock: Clock;
  readonly newId: NewId;
  /** 0 to 1. */
  readonly random: () => number;
  readonly wait: (ms: number) => Promise<void>;
  readonly policy: DispatchPolicy;
  readonly observer: DeliveryObserver;
}

/** What people have to decide about: the view `dead_letters` shows them. */
export type OwnVerdict = Extract<FailureReason, 'expired' | 'attempts_exhausted' | 'outcome_unknown'>;

/** A verdict of ours: it yields to what the provider says. */
export function unconfirmed(reason: OwnVerdict, cause?: Failure | null): Failure {
  const { providerCode = '', providerMessage = '' } = cause ?? {};
  return { reason, providerCode, providerMessage, retryable: reason !== 'outcome_unknown' };
}

export interface DispatchEvent {
  readonly type: EventType;
  readonly at: Date;
  readonly failure?: Failure | null;
  /** The attempt that it is about, when it has begun or something was learned of it. */
  readonly attempt?: DeliveryAttempt | undefined;
}

/** Changes the message and writes it with its attempt and the event. When it is no longer PENDING the next of the conversation has its turn. */
export async function changeInDispatch(
  tx: Tx,
  { message, nextPendingId }: Pick<DispatchState, 'message' | 'nextPendingId'>,
  { type, at, failure = null, attempt }: DispatchEvent,
  newId: NewId,
  apply: (message: Message) => void,
): Promise<void> {
  const statusBefore = message.status;
  apply(message);
  const event = {
    id: newId(),
    messageId: message.id,
    conversationId: message.conversationId,
    type,
    statusBefore,
    statusAfter: message.status,
    provider: attempt?.provider ?? null,
    providerStatus: '',
    providerEventId: null,
    failure,
    attempt: attempt?.attempt ?? message.attemptCount,
    occurredAt: null,
    recordedAt: at,
  };
  await tx.writeDispatch({ message, attempt, event });
  if (statusBefore === 'pending' && message.status !== 'pending' && nextPendingId !== undefined) await tx.wakeDispatch(nextPendingId, at);
}
