import type { DeliveryAttempt } from '../domain/delivery-attempt.ts';
import type { DispatchState } from '../domain/delivery-ports.ts';
import { DomainError } from '../domain/errors.ts';
import type { Failure, Message } from '../domain/message.ts';
import type { EventType } from '../domain/message-event.ts';
import type { Tx } from '../domain/ports.ts';
import type { SubmissionOutcome } from '../domain/provider-client.ts';
import { suppressionOf } from '../domain/reported-suppression.ts';
import { retryDelayMs } from '../domain/retry-schedule.ts';
import { participantsOf } from '../domain/suppression.ts';
import { applySuppression } from './apply-suppression.ts';
import type { DispatchRequest } from './dispatch-message.ts';
import { changeInDispatch, type DispatchParts, unconfirmed } from './dispatch-parts.ts';
import { jobOf } from './dispatch-queue.ts';

/** What was learned about one attempt of a message that is locked. */
interface Learned {
  readonly tx: Tx;
  readonly request: DispatchRequest;
  readonly state: DispatchState;
  readonly attempt: DeliveryAttempt;
  readonly at: Date;
}

const RETRY_MS = 250;

export type RecordOutcome = (request: DispatchRequest, attempt: number, outcome: SubmissionOutcome) => Promise<void>;

/**
 * Writes down what a provider answered and applies it by the transition table. A report may have overtaken the answer, and RetryMessage
 * may have superseded the attempt: then the message is left as it is. While PostgreSQL is away it is tried again, for as long as nobody
 * else takes the attempt for lost; then throws storage_unavailable.
 */
export function createRecordOutcome(parts: DispatchParts): RecordOutcome {
  const { store, clock, newId, random, wait, policy, observer } = parts;

  function change({ tx, state, attempt, at }: Learned, type: EventType, failure: Failure | null, apply: (message: Message) => void) {
    return changeInDispatch(tx, state, { type, at, failure, attempt }, newId, apply);
  }

  async function accepted(learned: Learned, providerMessageId: string): Promise<void> {
    const { state, attempt, at } = learned;
    if (attempt.outcome === 'accepted' && state.message.providerMessageId != null) return;
    attempt.confirm(providerMessageId, at);
    await change(learned, 'accepted', null, (message) => {
      message.carriedBy(attempt.provider, providerMessageId);
      message.apply({ kind: 'accepted' }, at);
    });
  }

  /** Tried again later: it provably was not processed. `counts`: against the number of attempts. */
  async function refused(learned: Learned, failure: Failure, counts: boolean, askedForMs: number | undefined): Promise<void> {
    const { tx, request, state, attempt, at } = learned;
    const { message } = state;
    attempt.settle(counts ? 'transient' : 'credentials', failure, at);
    if (message.status !== 'pending') return tx.writeAttempt(attempt);
    const refusals = counts ? state.refusals + 1 : 1;
    if (counts && refusals >= policy.maxAttempts) {
      observer.deadLetter(attempt.provider, 'attempts_exhausted');
      return fail(learned, unconfirmed('attempts_exhausted', failure));
    }
    const next = new Date(at.getTime() + retryDelayMs(refusals, random(), policy, askedForMs));
    await change(learned, 'attempt_failed', failure, () => message.postpone(next));
    const wakeAt = message.expireAt != null && message.expireAt < next ? message.expireAt : next;
    await tx.scheduleDispatch(jobOf(message, wakeAt, request.traceParent));
  }

  const fail = (learned: Learned, failure: Failure): Promise<void> =>
    change(learned, 'failed', failure, (message) => message.apply({ kind: 'failed', failure }, learned.at));

  async function rejected(learned: Learned, failure: Failure): Promise<void> {
    const { tx, state, attempt, at } = learned;
    attempt.settle('rejected', failure, at);
    const { provider } = attempt;
    const { providerCode, providerMessage } = failure;
    const change = suppressionOf({ provider, providerStatus: 'failed', providerCode, providerMessage });
    const cause = { participants: participantsOf(state.message), messageId: state.message.id, at };
    if (change !== undefined) await applySuppression(tx, change, cause, newId);
    // A report may have come first; it knows better.
    await (state.message.status === 'pending' ? fail(learned, failure) : tx.writeAttempt(attempt));
  }

  async function lost(learned: Learned, failure: Failure): Promise<void> {
    const { tx, request, state, attempt, at } = learned;
    attempt.settle('unknown', failure, at);
    if (state.message.status !== 'pending') return tx.writeAttempt(attempt);
    await change(learned, 'attempt_failed', failure, () => undefined);
    const askAt = new Date(attempt.startedAt.getTime() + policy.callbackWaitMs);
    await tx.scheduleDispatch(jobOf(state.message, askAt > at ? askAt : at, request.traceParent));
  }

  async function apply(learned: Learned, outcome: SubmissionOutcome): Promise<void> {
    // A report came first and knows better, or this very answer did, before the reply to COMMIT was lost.
    if (!learned.attempt.isOpen() && outcome.kind !== 'accepted') return;
    switch (outcome.kind) {
      case 'accepted':
        return accepted(learned, outcome.providerMessageId);
      case 'rejected':
        return rejected(learned, outcome.failure);
      case 'transient':
        return refused(learned, outcome.failure, true, outcome.retryAfterMs);
      case 'credentials':
        return refused(learned, outcome.failure, false, undefined);
      case 'unknown':
        return lost(learned, outcome.failure);
      default:
        return outcome satisfies never;
    }
  }

  const record = (request: DispatchRequest, attemptNumber: number, outcome: SubmissionOutcome) =>
    store.transaction(async (tx) => {
      const at = clock.now();
      const state = await tx.lockForDispatch(request, at, attemptNumber);
      // Deleted in between, with everything about it.
      if (state?.attempt === undefined) return undefined;
      const { message, attempt } = state;
      if (attempt.superseded) {
        // With its id: a report on it must find what it is about.
        if (outcome.kind === 'accepted') attempt.confirm(outcome.providerMessageId, at);
        else attempt.settle(outcome.kind, outcome.failure, at);
        await tx.writeAttempt(attempt);
      } else await apply({ tx, request, state, attempt, at }, outcome);
      return {
        provider: attempt.provider,
        messageType: message.messageType,
        sinceMs: at.getTime() - (message.sendAt ?? message.createdAt).getTime(),
      };
    });

  async function recordPatiently(...what: Parameters<typeof record>): ReturnType<typeof record> {
    const untilMs = clock.now().getTime() + policy.callMs;
    for (;;) {
      try {
        return await record(...what);
      } catch (error) {
        const isAway = error instanceof DomainError && error.code === 'storage_unavailable';
        if (!isAway || clock.now().getTime() >= untilMs) throw error;
        await wait(RETRY_MS);
      }
    }
  }

  return async (request, attemptNumber, outcome) => {
    const recorded = await recordPatiently(request, attemptNumber, outcome);
    if (recorded === undefined) return;
    observer.attempt(recorded.provider, outcome.kind);
    if (outcome.kind === 'accepted') observer.reached('accepted', recorded.messageType, recorded.sinceMs);
  };
}
